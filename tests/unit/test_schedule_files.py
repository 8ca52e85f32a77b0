"""Schedules as CSV files: what torch.distributed.pipelining writes and reads, and what is refused."""

import csv
from pathlib import Path

import pytest

from sim.schedules import SCHEDULES, Deadlock, schedule_of
from sim.schedules.exchange import load, save
from tests.schedules import schedule
from topologies.document import InputError


def refusal(tmp_path: Path, content: str | bytes) -> str:
    """The one line with which a file of this content is refused."""
    path = tmp_path / "orders.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        load(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 240
    return str(error.value)


def test_a_saved_schedule_is_the_csv_that_torch_dumps(tmp_path: Path) -> None:
    """csv.writer's rows of str(action), one per rank, with empty cells for steps without an action."""
    save(SCHEDULES["1f1b"](2, 1, 2), tmp_path / "orders.csv")
    assert (tmp_path / "orders.csv").read_bytes() == b"0F0,0F1,,0B0,,0B1\r\n,1F0,1B0,1F1,1B1,\r\n"


def test_no_step_of_a_saved_schedule_needs_a_result_of_the_same_step(tmp_path: Path) -> None:
    """torch posts the receives of a step after its computation, so inputs must come from an earlier column."""
    save(SCHEDULES["interleaved"](4, 2, 8), tmp_path / "orders.csv")
    with (tmp_path / "orders.csv").open(newline="") as file:
        columns = {cell: column for row in csv.reader(file) for column, cell in enumerate(row) if cell}
    assert len(columns) == 2 * 8 * 8
    for stage in range(7):
        for microbatch in range(8):
            assert columns[f"{stage}F{microbatch}"] < columns[f"{stage + 1}F{microbatch}"]
            assert columns[f"{stage}B{microbatch}"] > columns[f"{stage + 1}B{microbatch}"]


def test_torch_files_with_ragged_rows_spaces_and_empty_lines_at_the_end_load(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("\ufeff0F0, 0F1,,0B0,,,0B1\n,1F0,1B0,1F1,1B1\n\n,,\n", encoding="utf-8")
    assert load(path) == SCHEDULES["1f1b"](2, 1, 2)


def test_split_backwards_load(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("0F0,,,0I0,0W0\n,1F0,1B0\n")
    assert load(path) == schedule("0F0 0I0 0W0", "1F0 1B0")


def test_torchs_own_dualpipev_is_ours(tmp_path: Path) -> None:
    """Rank 0 and rank 3 of test/distributed/pipelining/artifacts/dualpipev_4rank_10mb.csv of PyTorch, the turn at 3F4.

    There 3F4 and 4B0 stand in two cells: no pair, so the backward becomes I and W.
    """
    path = tmp_path / "orders.csv"
    save(SCHEDULES["dualpipev"](4, 2, 10), path)
    with path.open(newline="") as file:
        rows = [[cell for cell in row if cell] for row in csv.reader(file)]
    assert rows[0][:19] == [
        *(f"0F{microbatch}" for microbatch in range(7)),
        *("7F0", "7I0", "7W0", "7F1", "7I1", "7W1", "7F2", "7I2", "7W2", "7F3"),
        *("(0F7;7B3)OVERLAP_F_B", "(7F4;0B0)OVERLAP_F_B"),
    ]
    assert rows[0][-9:] == ["7B9", "0I6", "0W6", "0I7", "0W7", "0I8", "0W8", "0I9", "0W9"]
    assert rows[3][8:12] == ["3F4", "4I0", "4W0", "(4F4;3B0)OVERLAP_F_B"]
    assert ",".join(rows[3][-12:]) == "4B6,3B6,4B7,3B7,4I8,3I8,4I9,3I9,4W8,3W8,4W9,3W9"
    path.write_text(path.read_text().replace("4I0,4W0", "4B0"))
    assert load(path) == SCHEDULES["dualpipev"](4, 2, 10)


def test_a_file_says_where_its_stages_live_and_how_many_models_there_are(tmp_path: Path) -> None:
    for name, v, models in (("zb-v", 2, 1), ("v-min", 2, 1), ("dualpipev", 2, 1), ("dualpipe", 1, 2), ("looped", 2, 1)):
        made = SCHEDULES[name](4, v, 8)
        save(made, tmp_path / "orders.csv")
        assert load(tmp_path / "orders.csv") == made
        assert made.num_models == models
    uneven = schedule("0F0 2F0 2B0 0B0", "1F0 1B0")
    save(uneven, tmp_path / "orders.csv")
    assert load(tmp_path / "orders.csv").homes == (0, 1, 0)


def test_a_file_is_a_schedule_by_its_path_and_must_be_of_the_plans_size(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    save(SCHEDULES["zb-v"](4, 2, 8), path)
    assert schedule_of(str(path), 4, 2, 8) == SCHEDULES["zb-v"](4, 2, 8)
    for counts, message in (
        ((2, 2, 8), "orders.csv: a schedule of pp=4, but the plan has pp=2; change either"),
        ((4, 1, 8), "orders.csv: a schedule of vpp=2, but the plan has vpp=1; change either"),
        ((4, 2, 9), "orders.csv: a schedule of microbatches=8, but the plan has microbatches=9; change either"),
    ):
        with pytest.raises(InputError, match=message):
            schedule_of(str(path), *counts)
    save(SCHEDULES["dualpipe"](4, 1, 8), path)
    assert schedule_of(str(path), 4, 1, 8).num_models == 2
    path = path.rename(tmp_path / "ORDERS.CSV")
    assert schedule_of(str(path), 4, 1, 8).num_models == 2
    with pytest.raises(InputError, match="no such file"):
        schedule_of(str(tmp_path / "none.csv"), 4, 1, 8)


def test_a_schedule_that_cannot_be_played_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(Deadlock):
        save(schedule("0B0 0F0"), tmp_path / "orders.csv")
    assert not (tmp_path / "orders.csv").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0F0,0B0\n1F0,1X0\n", "orders.csv:2: column 2: '1X0' is not an action; write stage"),
        ("0F0,0SEND_F0,0B0\n", "orders.csv:1: column 2: '0SEND_F0' is not an action"),
        ("0F0,0B0\n1F0\n", "orders.csv:2: rank 1: 1B0 is missing; with 2 stages and 1 microbatches"),
        ("0F0,0I0\n", "orders.csv:1: rank 0: 0W0 is missing"),
        ("0F0,0W0\n", "orders.csv:1: rank 0: 0I0 is missing"),
        ("0F0,0F1,0B1\n", "orders.csv:1: rank 0: 0B0 is missing"),
        ("0F0,0F0,0B0\n", "orders.csv:1: rank 0: 0F0 comes twice; remove one of them"),
        ("0F0,0B0,0W0\n", "orders.csv:1: rank 0: 0W0 and 0B0: B is I and W in one; write B alone, or I and W"),
        ("0F0,0I0,0W0,0B0\n", "orders.csv:1: rank 0: 0B0 and 0I0: B is I and W in one"),
        ("0F0,0B0\n2F0,2B0\n", "orders.csv:2: rank 1: 2F0 is of stage 2, but no rank has stage 1; leave no stage out"),
        ("0F0,0B0\n\n1F0,1B0\n", "orders.csv:2: rank 1: no actions; write cells such as 0F0, or remove the row"),
        ("0F0,1F0,1B0\n0B0\n", "orders.csv:2: rank 1: 0B0 does not belong here: stage 0 is on rank 0; move it there"),
        ("0F0,0B0,3F1,3B1\n1F0,1B0,1F2,1B2,2F1,2B1\n", "orders.csv:2: rank 1: 1F2: of two models, stage 1's"),
        ("(0F0;0B0)OVERLAP_F_B\n", "orders.csv:1: column 1: (0F0;0B0)OVERLAP_F_B is no pair; write an F and a B of"),
        ("(0F1;0I0)OVERLAP_F_B\n", "orders.csv:1: column 1: (0F1;0I0)OVERLAP_F_B is no pair"),
        ("(0F1;x)OVERLAP_F_B\n", "orders.csv:1: column 1: 'x' is not an action"),
        ('"0F0\n",0B0\n1F0,?\n', "orders.csv:3: column 2: '?' is not an action"),
        ("0F0,0F999999999,0B0\n", "orders.csv:1: rank 0: 0F1 is missing"),
        ("0F0,999999999B0\n", "orders.csv:1: rank 0: 999999999B0 is of stage 999999999, but no rank has stage 1"),
        ("0F" + "9" * 5000 + "\n", "orders.csv:1: column 1: '0F99"),
        ("", "orders.csv:1: rank 0: no actions; write cells such as 0F0"),
        ("\n,,\n", "orders.csv:1: rank 0: no actions"),
        (b"\x89PNG\r\n\x1a\n\0\0", "orders.csv: not UTF-8 text; write CSV"),
        (b"0F0,\0\0\0", "orders.csv: binary data, not text"),
        ("0F0," * 300_000, "orders.csv: larger than 1 MB"),
        ("0" * 200_000, "orders.csv:1: not a CSV: field larger than field limit"),
        ("0F0\n" * 300, "orders.csv: 300 rows; write one row per pipeline rank, at most 256"),
    ],
)
def test_a_malformed_csv_is_refused_with_its_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert refusal(tmp_path, content).startswith(message)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path, tmp_path / ("x" * 300), Path("a\0b")):
        with pytest.raises(InputError, match=r"no such file|a directory|cannot be read"):
            load(path)


@pytest.mark.parametrize("rows", ["0B0,0F0\n1F0,1B0\n", "0F0,0B0\n1B0,1F0\n", "0F0,0I0,0W0\n1F0,1W0,1I0\n"])
def test_an_order_that_comes_to_no_end_is_refused(tmp_path: Path, rows: str) -> None:
    """A backward before its forward, a weight gradient before its input gradient."""
    path = tmp_path / "orders.csv"
    path.write_text(rows)
    with pytest.raises(InputError, match=r"orders\.csv: this order comes to no end: rank [01] at "):
        schedule_of(str(path), 2, 1, 1)
