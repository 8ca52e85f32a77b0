"""Schedules as data: their text, their files, what is refused, and the pictures in tests/golden/schedules."""

import csv
import pickle
from pathlib import Path

import pytest

from sim.schedules import SCHEDULES, Action, Deadlock, Schedule, picture
from sim.schedules.dry_run import dry_run
from sim.schedules.exchange import load, save
from topologies.document import InputError

GOLDEN = Path(__file__).parents[1] / "golden" / "schedules"


def schedule(*rows: str) -> Schedule:
    return tuple(tuple(map(Action.parse, row.split())) for row in rows)


def refusal(tmp_path: Path, content: str | bytes) -> str:
    """The one line with which a file of this content is refused."""
    path = tmp_path / "orders.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        load(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 240
    return str(error.value)


def test_an_action_prints_and_parses_as_torch_writes_it() -> None:
    assert str(Action("F", 2, 0)) == "2F0"
    for text in ("2F0", "0B31", "17I3", "3W12"):
        assert str(Action.parse(text)) == text
    assert Action.parse(" 1I2 ") == Action("I", 1, 2)


@pytest.mark.parametrize(
    "text", ["", "F0", "2F", "2X0", "0SEND_F1", "(0F0;1B0)OVERLAP_F_B", "-1F0", "2f0", "9" * 99 + "F0"]
)
def test_what_is_not_an_action_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="such as 2F0"):
        Action.parse(text)


def test_actions_made_in_bulk_are_as_good_as_any() -> None:
    action = SCHEDULES["1f1b"](2, 1, 2)[1][0]
    assert type(action) is Action
    assert action == Action("F", 1, 0)
    assert (action.kind, action.stage, action.microbatch) == ("F", 1, 0)


def test_one_f_one_b_of_three_ranks_reads_as_in_the_paper() -> None:
    assert picture(SCHEDULES["1f1b"](3, 1, 3)).splitlines() == [
        "rank 0 | F0 F1 F2 B0 B1 B2",
        "rank 1 | F0 F1 B0 F2 B1 B2",
        "rank 2 | F0 B0 F1 B1 F2 B2",
    ]


def test_gpipe_runs_every_forward_first() -> None:
    assert picture(SCHEDULES["gpipe"](2, 1, 3)).splitlines() == [
        "rank 0 | F0 F1 F2 B0 B1 B2",
        "rank 1 | F0 F1 F2 B0 B1 B2",
    ]


def test_interleaving_warms_up_as_megatron_does() -> None:
    """Rank r of p = 4, v = 2 runs 2(p-1-r) + (v-1)p = 10, 8, 6, 4 forwards, and one more before its first backward."""
    orders = SCHEDULES["interleaved"](4, 2, 8)
    first_backward = [[action.kind for action in row].index("B") for row in orders]
    assert first_backward == [11, 9, 7, 5]
    assert " ".join(map(str, orders[0][:11])) == "0F0 0F1 0F2 0F3 4F0 4F1 4F2 4F3 0F4 0F5 0F6"
    assert [str(action) for action in orders[0] if action.kind == "B"][:5] == ["4B0", "4B1", "4B2", "4B3", "0B0"]


def test_interleaving_a_single_group_of_microbatches_is_all_warmup() -> None:
    for row in SCHEDULES["interleaved"](4, 2, 4):
        assert "".join(action.kind for action in row) == "F" * 8 + "B" * 8


def test_a_pipeline_of_one_rank_turns_each_forward_around_at_once() -> None:
    assert picture(SCHEDULES["1f1b"](1, 1, 2)) == "rank 0 | F0 B0 F1 B1"
    assert picture(SCHEDULES["interleaved"](1, 2, 2)) == "rank 0 | 0F0 1F0 1B0 0F1 0B0 1F1 1B1 0B1"


@pytest.mark.parametrize("name", ["gpipe", "1f1b"])
def test_a_schedule_without_chunks_names_the_one_that_has_them(name: str) -> None:
    with pytest.raises(
        InputError, match=f"schedule {name} holds one chunk per rank, not vpp=2; use vpp=1, or interleaved"
    ):
        SCHEDULES[name](4, 2, 8)


def test_interleaving_wants_whole_groups_of_microbatches() -> None:
    with pytest.raises(InputError, match=r"pp=4 does not divide the 6 microbatches; .* make them 4, 8, 12, \.\.\."):
        SCHEDULES["interleaved"](4, 2, 6)
    with pytest.raises(InputError, match=r"make them 4, 8, \.\.\."):
        SCHEDULES["interleaved"](4, 2, 3)


def pictures() -> dict[str, Schedule]:
    return {
        "gpipe_4x6": SCHEDULES["gpipe"](4, 1, 6),
        "1f1b_4x8": SCHEDULES["1f1b"](4, 1, 8),
        "interleaved_4x2x8": SCHEDULES["interleaved"](4, 2, 8),
        "interleaved_2x3x2": SCHEDULES["interleaved"](2, 3, 2),
    }


@pytest.mark.parametrize("name", pictures())
def test_a_schedule_looks_as_drawn(name: str) -> None:
    """Two pictures per file: each rank's order, and the dry run with F and B of one unit."""
    orders = pictures()[name]
    drawn = f"order\n{picture(orders)}\n\ntime\n{picture(dry_run(orders))}\n"
    assert drawn == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_a_row_of_the_grid_holds_one_cell_per_unit_of_time() -> None:
    """Two ranks, one microbatch, B twice as long as F: F0 F0' B0' B0' B0 B0, 1 + 1 + 2 + 2 = 6 units."""
    grid = dry_run(SCHEDULES["1f1b"](2, 1, 1), {"F": 1, "B": 2, "I": 1, "W": 1})
    assert picture(grid).splitlines() == ["rank 0 | F0          B0 B0", "rank 1 |    F0 B0 B0"]
    assert [len(row) for row in grid] == [6, 6]


def test_nobody_waits_for_a_weight_gradient() -> None:
    """Rank 0 starts 0I0 right after 1I0, in the fourth unit, while rank 1 computes 1W0."""
    grid = dry_run(schedule("0F0 0I0 0W0", "1F0 1I0 1W0"))
    assert picture(grid).splitlines() == ["rank 0 | F0       I0 W0", "rank 1 |    F0 I0 W0"]


def test_a_circle_of_waiting_is_named_and_drawn() -> None:
    """Rank 1 wants the gradient of microbatch 1 from rank 2, which wants to see microbatch 2 first: it never comes.

    2F0 is step 2, so 2B0 is step 3, 1B0 step 4, 0B0 step 5.
    """
    orders = schedule("0F0 0F1 0F2 0B0 0B1 0B2", "1F0 1F1 1B0 1B1 1F2 1B2", "2F0 2B0 2F2 2F1 2B1 2B2")
    with pytest.raises(Deadlock) as caught:
        dry_run(orders)
    assert str(caught.value).splitlines() == [
        "deadlock: rank 1 at 1B1 waits for 2B1 of rank 2, rank 2 at 2F2 waits for 1F2 of rank 1",
        "rank 0 | F0 F1 F2       B0",
        "rank 1 |    F0 F1    B0",
        "rank 2 |       F0 B0",
    ]


def test_a_rank_can_wait_for_itself() -> None:
    with pytest.raises(Deadlock, match="rank 0 at 0B0 waits for 0F0 of rank 0"):
        dry_run(schedule("0B0 0F0"))
    with pytest.raises(Deadlock, match="rank 0 at 0W0 waits for 0I0 of rank 0"):
        dry_run(schedule("0F0 0W0 0I0"))


def test_a_deadlock_late_in_a_long_schedule_shows_how_it_ended() -> None:
    """Rank 1 works from step 1 without a gap and stops after 2 x 99 actions; step 199 is then rank 0's B98."""
    rows = [list(row) for row in SCHEDULES["1f1b"](2, 1, 100)]
    rows[1][-2:] = rows[1][:-3:-1]
    with pytest.raises(Deadlock) as caught:
        dry_run(tuple(map(tuple, rows)))
    assert "the last 24 of 200 steps:" in str(caught.value)
    assert max(map(len, str(caught.value).splitlines())) < 120


def test_a_deadlock_survives_the_way_back_from_a_process_pool() -> None:
    error = Deadlock(("rank 0 at 0B0 waits for 0F0 of rank 0",), "rank 0 |")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_dry_run_refuses_what_is_not_a_whole_step() -> None:
    with pytest.raises(InputError, match="rank 1: 1B0 is missing; with 2 stages and 1 microbatches"):
        dry_run(schedule("0F0 0B0", "1F0"))
    with pytest.raises(InputError, match="rank 0: no actions"):
        dry_run(())


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
        ("0F0,0B0\n2F0,2B0\n", "orders.csv:2: rank 1: 2F0 does not belong here: stage 2 of 2 ranks is on rank 0"),
        ("0F0,0B0\n\n2F0,2B0\n", "orders.csv:2: rank 1: 1F0 is missing"),
        ('"0F0\n",0B0\n1F0,?\n', "orders.csv:3: column 2: '?' is not an action"),
        ("0F0,0F999999999,0B0\n", "orders.csv:1: rank 0: 0F1 is missing"),
        ("0F0,999999999B0\n", "orders.csv:1: rank 0: 0B0 is missing"),
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
