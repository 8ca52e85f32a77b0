"""Schedules as data: their text, what is refused, and the pictures in tests/golden/schedules."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from sim.schedules import SCHEDULES, Action, Deadlock, Kind, Schedule, picture, schedule_of
from sim.schedules.dry_run import dry_run
from tests.schedules import schedule
from topologies.document import InputError

GOLDEN = Path(__file__).parents[1] / "golden" / "schedules"


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
    action = SCHEDULES["1f1b"](2, 1, 2).rows[1][0]
    assert type(action) is Action
    assert action == Action("F", 1, 0)
    assert (action.kind, action.stage, action.microbatch) == ("F", 1, 0)


def test_one_f_one_b_of_three_ranks_reads_as_in_the_paper() -> None:
    assert picture(SCHEDULES["1f1b"](3, 1, 3).rows).splitlines() == [
        "rank 0 | F0 F1 F2 B0 B1 B2",
        "rank 1 | F0 F1 B0 F2 B1 B2",
        "rank 2 | F0 B0 F1 B1 F2 B2",
    ]


def test_gpipe_runs_every_forward_first() -> None:
    assert picture(SCHEDULES["gpipe"](2, 1, 3).rows).splitlines() == [
        "rank 0 | F0 F1 F2 B0 B1 B2",
        "rank 1 | F0 F1 F2 B0 B1 B2",
    ]


def test_interleaving_warms_up_as_megatron_does() -> None:
    """Rank r of p = 4, v = 2 runs 2(p-1-r) + (v-1)p = 10, 8, 6, 4 forwards, and one more before its first backward."""
    orders = SCHEDULES["interleaved"](4, 2, 8).rows
    first_backward = [[action.kind for action in row].index("B") for row in orders]
    assert first_backward == [11, 9, 7, 5]
    assert " ".join(map(str, orders[0][:11])) == "0F0 0F1 0F2 0F3 4F0 4F1 4F2 4F3 0F4 0F5 0F6"
    assert [str(action) for action in orders[0] if action.kind == "B"][:5] == ["4B0", "4B1", "4B2", "4B3", "0B0"]


def test_a_larger_group_passes_a_chunk_before_any_of_it_passes_the_next() -> None:
    """Groups of 3 and of the 2 that are left, p = 2, v = 2: rank 0 warms up with 2 + 3 forwards."""
    order = " ".join(map(str, SCHEDULES["interleaved"](2, 2, 5, 3).rows[0]))  # type: ignore[call-arg]
    assert order.startswith("0F0 0F1 0F2 2F0 2F1 2F2 2B0 0F3 2B1 0F4 2B2 2F3 0B0 2F4 0B1")


def test_one_more_warmup_pairs_each_forward_with_an_earlier_microbatchs_backward() -> None:
    """What is left over is single."""
    schedule = schedule_of("1f1b", 1, 1, 3, overlap_ep=True)
    assert [" ".join(map(str, each)) for each in schedule.passes(0)] == ["0F0", "0F1 0B0", "0F2 0B1", "0B2"]
    with pytest.raises(InputError, match="overlap_ep with pp=2 needs schedule=interleaved and vpp=2 or more, not 1f1b"):
        schedule_of("1f1b", 2, 1, 3, overlap_ep=True)


def test_the_last_forward_of_a_warmup_that_is_all_forwards_is_no_pair_with_the_first_backward() -> None:
    """Rank 0 of 2 warms up with all 4: 2F1 2B0 as a pair would wait for rank 1's 3B0, and that, in a pair, for 2F1."""
    schedule = schedule_of("interleaved", 2, 2, 2, overlap_ep=True)
    assert picture(schedule.rows).splitlines()[0] == "rank 0 | 0F0 0F1 2F0 2F1 2I0 2W0 2B1 0B0 0B1"
    assert all(len(each) == 1 for each in schedule.passes(0))
    assert [" ".join(map(str, each)) for each in schedule.passes(1)][3] == "3F1 3B0"


def test_pairing_is_refused_where_a_schedule_has_no_pairs() -> None:
    with pytest.raises(InputError, match=r"overlap_ep .* schedule gpipe has none; use 1f1b, interleaved, dualpipe"):
        schedule_of("gpipe", 2, 1, 4, overlap_ep=True)
    assert schedule_of("dualpipev", 2, 2, 4, overlap_ep=True).is_paired


def test_a_group_is_refused_where_a_schedule_has_no_groups() -> None:
    with pytest.raises(InputError, match="group=4 is for schedule interleaved, not 1f1b"):
        schedule_of("1f1b", 2, 1, 4, 4)


def test_a_pipeline_of_one_rank_turns_each_forward_around_at_once() -> None:
    assert picture(SCHEDULES["1f1b"](1, 1, 2).rows) == "rank 0 | F0 B0 F1 B1"
    assert picture(SCHEDULES["interleaved"](1, 2, 2).rows) == "rank 0 | 0F0 1F0 1B0 0F1 0B0 1F1 1B1 0B1"


@pytest.mark.parametrize("name", ["gpipe", "1f1b", "naive", "zb-h1", "zb-h2", "dualpipe"])
def test_a_schedule_without_chunks_names_the_one_that_has_them(name: str) -> None:
    with pytest.raises(
        InputError, match=f"schedule {name} holds one chunk per rank, not vpp=2; use vpp=1, or interleaved"
    ):
        SCHEDULES[name](4, 2, 8)


@pytest.mark.parametrize("name", ["zb-v", "v-half", "v-min", "dualpipev"])
def test_a_v_wants_two_chunks(name: str) -> None:
    with pytest.raises(InputError, match=f"schedule {name} holds two chunks per rank, not vpp=1; use vpp=2"):
        SCHEDULES[name](4, 1, 8)


@pytest.mark.parametrize(
    ("num_microbatches", "group", "message"),
    [
        (
            6,
            None,
            r"groups of 4 leave 2 of 6 microbatches, fewer than pp=4; .* make them 4, 8, 12, \.\.\., or use 1f1b",
        ),
        (3, None, r"3 microbatches are fewer than pp=4; .* make them 4, 8, \.\.\., or use 1f1b"),
        (12, 5, r"groups of 5 leave 2 of 12 microbatches, fewer than pp=4; .* make them 10, 15, 20"),
        (12, 3, r"group=3 is not possible; use 4 \(pp\) to 12 \(the microbatches\)"),
        (12, 13, r"group=13 is not possible"),
    ],
)
def test_interleaving_wants_no_group_smaller_than_the_pipeline(
    num_microbatches: int, group: int | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        schedule_of("interleaved", 4, 2, num_microbatches, group)


@pytest.mark.parametrize(
    ("name", "num_ranks", "num_microbatches", "message"),
    [
        ("dualpipe", 3, 8, "needs an even pp, not pp=3; use 4, or dualpipev"),
        ("dualpipe", 4, 9, "of pp=4 needs an even number of microbatches, at least 8, not 9"),
        ("dualpipe", 4, 6, "of pp=4 needs an even number of microbatches, at least 8, not 6"),
        ("dualpipev", 4, 7, "of pp=4 needs microbatches, at least 8, not 7; change the global batch, or use"),
    ],
)
def test_dualpipe_says_which_numbers_it_works_with(
    name: str, num_ranks: int, num_microbatches: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        SCHEDULES[name](num_ranks, 2 if name == "dualpipev" else 1, num_microbatches)


def test_the_second_model_of_dualpipe_takes_the_second_half_from_the_other_end() -> None:
    made = SCHEDULES["dualpipe"](4, 1, 8)
    assert made.homes == (0, 1, 2, 3, 3, 2, 1, 0)
    assert [made.after(stage) for stage in range(8)] == [1, 2, 3, None, 5, 6, 7, None]
    assert {action.microbatch for action in made.rows[0] if action.stage == 0} == {0, 1, 2, 3}
    assert {action.microbatch for action in made.rows[0] if action.stage == 7} == {4, 5, 6, 7}


def pictures() -> dict[str, Schedule]:
    return {
        "gpipe_4x6": SCHEDULES["gpipe"](4, 1, 6),
        "1f1b_4x8": SCHEDULES["1f1b"](4, 1, 8),
        "interleaved_4x2x8": SCHEDULES["interleaved"](4, 2, 8),
        "interleaved_2x3x2": SCHEDULES["interleaved"](2, 3, 2),
        "interleaved_2x2x8_groups_of_4": schedule_of("interleaved", 2, 2, 8, 4),
        "interleaved_2x2x6_paired": schedule_of("interleaved", 2, 2, 6, overlap_ep=True),
        "looped_4x2x4": SCHEDULES["looped"](4, 2, 4),
        "naive_4x3": SCHEDULES["naive"](4, 1, 3),
        "zb-h1_4x8": SCHEDULES["zb-h1"](4, 1, 8),
        "zb-h2_4x8": SCHEDULES["zb-h2"](4, 1, 8),
        "zb-v_4x2x8": SCHEDULES["zb-v"](4, 2, 8),
        "zb-v_4x2x2": SCHEDULES["zb-v"](4, 2, 2),
        "v-half_4x2x8": SCHEDULES["v-half"](4, 2, 8),
        "v-min_4x2x8": SCHEDULES["v-min"](4, 2, 8),
        "dualpipe_4x10": SCHEDULES["dualpipe"](4, 1, 10),
        "dualpipe_8x20": SCHEDULES["dualpipe"](8, 1, 20),
        "dualpipev_4x2x10": SCHEDULES["dualpipev"](4, 2, 10),
    }


@pytest.mark.parametrize("name", pictures())
def test_a_schedule_looks_as_drawn(name: str) -> None:
    """Two pictures per file: each rank's order, and the dry run with F, I, W and B of one unit, a pair of two."""
    orders = pictures()[name]
    drawn = f"order\n{picture(orders.rows)}\n\ntime\n{picture(dry_run(orders))}\n"
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


def test_a_pair_waits_for_both_and_ends_with_both() -> None:
    """Rank 1's pair 1F1 1B0 runs from 2 to 5, or to 4 if pairs last 2; only then can rank 0 start 0I0."""
    made = replace(schedule("0F0 0F1 0I0 0W0 0B1", "1F0 1F1 1B0 1B1"), is_paired=True)
    lasts: dict[Kind, int] = {"F": 1, "B": 2, "I": 1, "W": 1}
    assert picture(dry_run(made, lasts)).splitlines() == [
        "rank 0 | F0 F1          I0 W0 B1 B1",
        "rank 1 |    F0 F1 B0 B0 B1 B1",
    ]
    assert picture(dry_run(made, lasts, paired=2)).splitlines() == [
        "rank 0 | F0 F1       I0 W0 B1 B1",
        "rank 1 |    F0 F1 B0 B1 B1",
    ]


def test_the_forward_of_a_pair_waits_for_what_its_backward_needs() -> None:
    """Rank 1 could do 1F2 at 3, but 2I0 ends at 5."""
    made = schedule(
        "0F0 0F1 0F2 0I0 0W0 0I1 0W1 0I2 0W2",
        "1F0 1F1 1F2 1B0 1I1 1W1 1I2 1W2",
        "2F0 2F1 2I0 2W0 2I1 2W1 2F2 2I2 2W2",
    )
    assert picture(dry_run(replace(made, is_paired=True), {"F": 1, "B": 2, "I": 1, "W": 1})).splitlines() == [
        "rank 0 | F0 F1 F2                I0 W0 I1 W1 I2 W2",
        "rank 1 |    F0 F1       F2 B0 B0 I1 W1 I2 W2",
        "rank 2 |       F0 F1 I0 W0 I1 W1 F2 I2 W2",
    ]


def test_a_pair_that_waits_for_another_rank_which_waits_for_its_forward_is_a_deadlock() -> None:
    made = replace(schedule("0F0 0F1 0B0 0B1", "1F0 1F1 1B0 1B1"), is_paired=True)
    with pytest.raises(Deadlock, match="rank 0 at 0B0 waits for 1B0 of rank 1, rank 1 at 1F1 waits for 0F1 of rank 0"):
        dry_run(made)
    assert dry_run(replace(made, is_paired=False))


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
    made = SCHEDULES["1f1b"](2, 1, 100)
    rows = [list(row) for row in made.rows]
    rows[1][-2:] = rows[1][:-3:-1]
    with pytest.raises(Deadlock) as caught:
        dry_run(replace(made, rows=tuple(map(tuple, rows))))
    assert "the last 24 of 200 steps:" in str(caught.value)
    assert max(map(len, str(caught.value).splitlines())) < 120


def test_a_deadlock_survives_the_way_back_from_a_process_pool() -> None:
    error = Deadlock(("rank 0 at 0B0 waits for 0F0 of rank 0",), "rank 0 |")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_dry_run_refuses_what_is_not_a_whole_step() -> None:
    with pytest.raises(InputError, match="rank 1: 1B0 is missing; with 2 stages and 1 microbatches"):
        dry_run(schedule("0F0 0B0", "1F0"))
    with pytest.raises(InputError, match="rank 0: no actions"):
        dry_run(schedule())
