"""What holds for every schedule of every size: it ends, nothing starts too soon or twice, what a file keeps."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.schedules import Deadlock, Kind, Schedule
from sim.schedules.action import Action
from sim.schedules.dry_run import dry_run
from sim.schedules.exchange import load, save
from sim.schedules.fault import fault
from tests.schedules import EQUAL, PAIRED, Size, durations, halves, make, sizes


@given(size=sizes())
def test_every_stage_sees_every_microbatch_forward_and_backward_once(size: Size) -> None:
    """F, and B or else I and W: counted here without `fault`, which says so too."""
    schedule, (_, p, v, m) = make(size), size
    assert len(schedule.homes) == p * v * schedule.num_models
    whole = {"F": 0.5, "B": 0.5, "I": 0.25, "W": 0.25}
    done = dict[tuple[int, int], float]()
    for rank, row in enumerate(schedule.rows):
        assert len(set(row)) == len(row)
        for kind, stage, microbatch in row:
            assert schedule.homes[stage] == rank
            done[stage, microbatch] = done.get((stage, microbatch), 0) + whole[kind]
    assert len(done) == p * v * m
    assert set(done.values()) == {1.0}
    assert fault(schedule) is None


@given(size=sizes(), lasting=halves)
def test_a_schedule_ends_and_no_pass_starts_before_what_it_needs_has_ended(size: Size, lasting: dict[str, int]) -> None:
    schedule, lasts = make(size), durations(lasting)
    grid = dry_run(schedule, lasts)
    starts = {action: row.index(action) for row in grid for action in set(row) if action is not None}
    ends = {action: place + 1 for row in grid for place, action in enumerate(row) if action is not None}
    for action, start in starts.items():
        for need in needs(schedule, action, starts):
            assert ends[need] <= start


def needs(schedule: Schedule, action: Action, done: Mapping[Action, int]) -> list[Action]:
    kind, stage, microbatch = action
    if kind == "W":
        return [Action("I", stage, microbatch)]
    if kind == "F":
        before = schedule.before(stage)
        return [] if before is None else [Action("F", before, microbatch)]
    after = schedule.after(stage)
    if after is None:
        return [Action("F", stage, microbatch)]
    return [each for each in (Action("I", after, microbatch), Action("B", after, microbatch)) if each in done]


@given(size=sizes(), lasting=halves)
def test_a_rank_never_does_two_things_at_once(size: Size, lasting: dict[str, int]) -> None:
    """Each action has its whole duration, in one piece, in cells of its own."""
    schedule, lasts = make(size), durations(lasting)
    for row, order in zip(dry_run(schedule, lasts), schedule.rows, strict=True):
        cells = [action for action in row if action is not None]
        assert cells == [action for action in order for _ in range(lasts[action.kind])]


@given(size=sizes(*PAIRED), paired=st.integers(2, 9))
def test_a_pair_lasts_as_long_as_it_is_said_to(size: Size, paired: int) -> None:
    schedule = make(size)
    grid = dry_run(schedule, EQUAL, paired=paired)
    for rank, row in enumerate(grid):
        together = sum(paired if len(each) == 2 else EQUAL[each[0].kind] for each in schedule.passes(rank))
        assert len(row) - row.count(None) == together


@given(size=sizes())
def test_a_schedule_comes_back_from_its_file(size: Size) -> None:
    schedule = make(size)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "orders.csv"
        save(schedule, path)
        assert load(path) == schedule


@given(size=sizes(), data=st.data())
def test_a_backward_put_before_its_forward_deadlocks_and_the_circle_goes_through_it(
    size: Size, data: st.DataObject
) -> None:
    """Any circle of waiting must use the order that was changed, so it names that rank."""
    schedule = make(size)
    rank = data.draw(st.integers(0, schedule.num_ranks - 1))
    forward = data.draw(st.sampled_from([action for action in schedule.rows[rank] if action.kind == "F"]))
    kind: Kind = "B" if forward._replace(kind="B") in schedule.rows[rank] else "I"
    swapped = swap(schedule, rank, forward, forward._replace(kind=kind))
    with pytest.raises(Deadlock) as caught:
        dry_run(swapped)
    assert any(wait.startswith(f"rank {rank} at ") for wait in caught.value.waits)
    assert follows_itself(caught.value.waits)


def swap(schedule: Schedule, rank: int, one: Action, other: Action) -> Schedule:
    turned = {one: other, other: one}
    row = tuple(turned.get(action, action) for action in schedule.rows[rank])
    return replace(schedule, rows=(*schedule.rows[:rank], row, *schedule.rows[rank + 1 :]))


def follows_itself(waits: tuple[str, ...]) -> bool:
    """Each wait is for the rank that the next one is about, and the last is for the first's."""
    awaited = [wait.rsplit(" of ", 1)[1] for wait in waits]
    waiting = [wait.split(" at ", 1)[0] for wait in waits]
    return awaited == [*waiting[1:], waiting[0]]
