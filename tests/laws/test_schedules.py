"""What holds for every schedule of every size: it ends, its bubble, what it holds at once, what a file keeps."""

from itertools import accumulate, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.schedules import SCHEDULES, Deadlock, Kind, Schedule
from sim.schedules.action import Action
from sim.schedules.dry_run import dry_run
from sim.schedules.exchange import load, save

Size = tuple[str, int, int, int]


@st.composite
def sizes(draw: st.DrawFn) -> Size:
    """Name, p <= 16 ranks, v <= 4 chunks (interleaved; else one), m <= 32 microbatches (interleaved: groups of p)."""
    name = draw(st.sampled_from(sorted(SCHEDULES)))
    p = draw(st.integers(1, 16))
    if name != "interleaved":
        return name, p, 1, draw(st.integers(1, 32))
    return name, p, draw(st.integers(1, 4)), p * draw(st.integers(1, 32 // p))


passes = st.fixed_dictionaries({"F": st.integers(1, 3), "B": st.integers(1, 4)})


def durations(lasting: dict[str, int]) -> dict[Kind, int]:
    return {"F": lasting["F"], "B": lasting["B"], "I": 1, "W": 1}


def peak_in_flight(row: tuple[Action, ...]) -> int:
    """The most (chunk, microbatch) pairs whose forward is done and whose backward is not."""
    return max(accumulate(1 if action.kind == "F" else -1 for action in row))


@given(size=sizes(), lasting=passes)
def test_the_bubble_is_p_less_one_passes_of_one_chunk(size: Size, lasting: dict[str, int]) -> None:
    """The step takes (m + (p-1)/v)(F+B), with F and B those of a rank; a chunk's are F/v and B/v.

    In units where a chunk takes f and b: (m v + p - 1)(f + b), of which each rank works m v (f + b) and idles the rest.
    """
    name, p, v, m = size
    lasts = durations(lasting)
    grid = dry_run(SCHEDULES[name](p, v, m), lasts)
    chunk = lasts["F"] + lasts["B"]
    for row in grid:
        assert len(row) == (m * v + p - 1) * chunk
        assert row.count(None) == (p - 1) * chunk


@given(size=sizes(), lasting=passes)
def test_no_pass_starts_before_what_it_needs_has_ended(size: Size, lasting: dict[str, int]) -> None:
    name, p, v, m = size
    lasts = durations(lasting)
    grid = dry_run(SCHEDULES[name](p, v, m), lasts)
    start = {action: row.index(action) for row in grid for action in set(row) if action is not None}
    end = {action: first + lasts[action.kind] for action, first in start.items()}
    for microbatch in range(m):
        way = [Action("F", stage, microbatch) for stage in range(p * v)]
        way += [Action("B", stage, microbatch) for stage in reversed(range(p * v))]
        assert all(end[before] <= start[after] for before, after in pairwise(way))


@given(size=sizes())
def test_every_stage_sees_every_microbatch_forward_and_backward_once(size: Size) -> None:
    name, p, v, m = size
    for rank, row in enumerate(SCHEDULES[name](p, v, m)):
        slots = {(kind, chunk * p + rank, microbatch) for kind in "FB" for chunk in range(v) for microbatch in range(m)}
        assert len(row) == len(slots)
        assert set(row) == slots


@given(size=sizes())
def test_a_rank_holds_at_most_its_warmup_and_one_more(size: Size) -> None:
    """GPipe m; 1F1B min(p - r, m); interleaved 2(p-1-r) + (v-1)p + 1 chunks, or all m v where m = p [Megatron-LM].

    On rank 0 of a long interleaved run that is pv + p - 1 chunks of L/(pv) layers: L(1 + (p-1)/(pv)), as Korthikanti et
    al. 2022, section 4.2.3, state.
    """
    name, p, v, m = size
    for rank, row in enumerate(SCHEDULES[name](p, v, m)):
        expected = {
            "gpipe": m,
            "1f1b": min(p - rank, m),
            "interleaved": m * v if m == p else min(2 * (p - 1 - rank) + (v - 1) * p + 1, m * v),
        }
        assert peak_in_flight(row) == expected[name]


@given(p=st.integers(2, 16), m=st.integers(1, 31))
def test_the_bubble_fraction_shrinks_as_microbatches_grow(p: int, m: int) -> None:
    """(p-1)/(m+p-1) of the step."""
    few, more = (dry_run(SCHEDULES["1f1b"](p, 1, count))[0] for count in (m, m + 1))
    assert few.count(None) / len(few) == (p - 1) / (m + p - 1)
    assert more.count(None) / len(more) < few.count(None) / len(few)


@given(size=sizes())
def test_a_schedule_comes_back_from_its_file(size: Size) -> None:
    name, *counts = size
    schedule = SCHEDULES[name](*counts)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "orders.csv"
        save(schedule, path)
        assert load(path) == schedule


@given(size=sizes(), data=st.data())
def test_a_backward_put_before_its_forward_deadlocks_and_the_circle_goes_through_it(
    size: Size, data: st.DataObject
) -> None:
    """Any circle of waiting must use the order that was changed, so it names that rank."""
    name, p, v, m = size
    rank = data.draw(st.integers(0, p - 1))
    stage = data.draw(st.integers(0, v - 1)) * p + rank
    microbatch = data.draw(st.integers(0, m - 1))
    swapped = swap(SCHEDULES[name](p, v, m), rank, Action("F", stage, microbatch), Action("B", stage, microbatch))
    with pytest.raises(Deadlock) as caught:
        dry_run(swapped)
    assert any(wait.startswith(f"rank {rank} at ") for wait in caught.value.waits)
    assert follows_itself(caught.value.waits)


def swap(schedule: Schedule, rank: int, one: Action, other: Action) -> Schedule:
    turned = {one: other, other: one}
    row = tuple(turned.get(action, action) for action in schedule[rank])
    return (*schedule[:rank], row, *schedule[rank + 1 :])


def follows_itself(waits: tuple[str, ...]) -> bool:
    """Each wait is for the rank that the next one is about, and the last is for the first's."""
    awaited = [wait.rsplit(" of ", 1)[1] for wait in waits]
    waiting = [wait.split(" at ", 1)[0] for wait in waits]
    return awaited == [*waiting[1:], waiting[0]]
