"""Lists and sheets can be read in a narrow terminal, cut by awk, and parsed."""

import csv
import io
import json

import pytest

from sim.reports.tables import Row, as_csv, as_json, pairs, table

COLUMNS = ("name", "size", "place")
ROWS = [
    Row(cells=("a", "1 GB", "here"), record={"name": "a", "size": 1, "inside": {"x": 1.5}, "parts": [{"n": 1}]}),
    Row(cells=("long-name", "-", "there"), record={"name": "long-name", "size": None, "inside": None, "parts": []}),
]


def test_columns_stand_under_their_heads() -> None:
    assert table(COLUMNS, ROWS, None) == (
        "name       size  place\n"
        "a          1 GB  here\n"
        "long-name  -     there\n"
    )  # fmt: skip


def test_what_does_not_fit_is_left_out_from_the_right_and_named() -> None:
    """Three columns take 9 + 2 + 4 + 2 + 5 = 22 letters."""
    assert table(COLUMNS, ROWS, 22) == table(COLUMNS, ROWS, None)
    narrow = table(COLUMNS, ROWS, 21).splitlines()
    assert narrow[:3] == ["name       size", "a          1 GB", "long-name  -"]
    assert " ".join(narrow[3:]) == "not shown: place (wider terminal, or --format csv)"
    assert table(COLUMNS, ROWS, 3).startswith("name\na\nlong-name\nnot\n")


@pytest.mark.parametrize("width", [42, 80, 120, 160])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    words = [("a rather long name of a field", "word " * 60), ("b", "x")]
    assert max(map(len, pairs(words, width).splitlines())) <= width
    assert max(map(len, table(COLUMNS, ROWS, width).splitlines())) <= width


def test_a_long_text_goes_on_below_itself() -> None:
    text = "one two three four five six seven"
    assert pairs([("name", text)], 32) == "name  one two three four five\n      six seven\n"
    assert pairs([("name", text)], 24) == "name\n    one two three four\n    five six seven\n"
    assert pairs([("name", text)], None) == f"name  {text}\n"


def test_csv_has_a_column_for_every_field_and_nothing_twice() -> None:
    text = as_csv([row.record for row in ROWS])
    head, first, second = csv.reader(io.StringIO(text))
    assert head == ["name", "size", "inside.x", "parts.0.n"]
    assert (first, second) == (["a", "1", "1.5", "1"], ["long-name", "", "", ""])


def test_csv_quotes_what_holds_commas() -> None:
    (_, row) = csv.reader(io.StringIO(as_csv([{"source": 'a, "b"', "sizes": [4, 2], "is": True}])))
    assert row == ['a, "b"', "4 2", "true"]


def test_json_is_what_was_given() -> None:
    assert json.loads(as_json([row.record for row in ROWS])) == [row.record for row in ROWS]
