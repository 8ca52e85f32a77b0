"""A table of a stranger's: what is wrong in it is told in one line with file, line and column."""

from pathlib import Path

import pytest

from calibrate.importers.table import MAX_NBYTES, read_text, table_of
from topologies.document import InputError

GOOD = "m,n,time_us\n8,256,2.5\n16,256,3.5\n"


@pytest.mark.parametrize(
    "text",
    [GOOD, GOOD.replace("\n", "\r\n"), "\ufeff" + GOOD, GOOD.rstrip(), GOOD + "\n\n", GOOD.replace(",", " , ")],
    ids=["plain", "CRLF", "BOM", "no last newline", "blank lines", "blanks"],
)
def test_a_table_is_read_however_its_lines_end(text: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    table = table_of(read_text(path), path.name)
    assert table.header == ("m", "n", "time_us")
    assert list(table.numbers("time_us")) == [2.5, 3.5]
    assert list(table.rows) == [2, 3]
    assert list(table.texts("m")) == ["8", "16"]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("nan", "t.csv:3: time_us: nan is not possible; write a number greater than 0"),
        ("inf", "t.csv:3: time_us: inf is not possible"),
        ("-3.5", "t.csv:3: time_us: -3.5 is not possible; write a number greater than 0"),
        ("0", "t.csv:3: time_us: 0 is not possible"),
        ("", "t.csv:3: time_us: empty; write a number"),
        ("3.5 us", "t.csv:3: time_us: '3.5 us' is not a number; write it without a unit"),
        ("1e40", "t.csv:3: time_us: 1e40 is not possible"),
    ],
)
def test_a_cell_that_is_no_time_is_refused_with_its_place(cell: str, said: str) -> None:
    table = table_of(f"m,n,time_us\n8,256,2.5\n16,256,{cell}\n", "t.csv")
    with pytest.raises(InputError, match=_exactly(said)):
        table.numbers("time_us")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "t.csv: empty"),
        ("m,n,time_us\n", "t.csv: a header and no rows"),
        ("m;n;time_us\n8;256;2.5\n", "t.csv:1: one column only, 'm;n;time_us'; separate them by commas"),
        ("m,m,time_us\n8,256,2.5\n", "t.csv:1: two columns are called 'm'; keep one of them"),
        ("m,n,time_us\n8,256,2.5\n16,256\n", "t.csv:3: 2 cells, but the header has 3; is the line cut off?"),
        ("m,n,time_us\n8,256,2.5,7\n", "t.csv:2: 4 cells, but the header has 3; put text with commas into quotes"),
        ('m,n,time_us\n8,"256,2.5\n', "t.csv:2: "),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=_exactly(said)) as refused:
        table_of(text, "t.csv")
    assert "\n" not in str(refused.value)


def test_a_missing_column_is_told_with_those_that_are_there() -> None:
    with pytest.raises(InputError, match=r"t\.csv:1: no column k; the columns are m, n, time_us"):
        table_of(GOOD, "t.csv").numbers("k")


def test_limits_and_empty_cells_are_the_callers_to_say() -> None:
    table = table_of("a,b\n0,1\n5,\n", "t.csv")
    assert list(table.numbers("a", low=0.0)) == [0, 5]
    assert list(table.numbers("b", empty=7.0)) == [1, 7]
    with pytest.raises(InputError, match="write a number from 0 to 4"):
        table.numbers("a", low=0.0, high=4.0)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00m", b"m,n\n\0,1\n", b"m" * (MAX_NBYTES + 1)])
def test_binary_files_and_huge_ones_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"^t\.csv: (not UTF-8|binary|larger)"):
        read_text(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read_text(tmp_path / "none.csv")
    with pytest.raises(InputError, match="not a regular file"):
        read_text(tmp_path)


def _exactly(text: str) -> str:
    import re

    return "^" + re.escape(text)
