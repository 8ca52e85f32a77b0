"""Skipping what repeats: that it happens, that it changes nothing, and where it must not happen."""

import numpy as np
import pytest

from sim.engine import Engine
from sim.instructions import Activity, Block, Collective, Compute, Record, Transfer, Wait
from sim.program import Program, Step, Stream
from sim.schedules import Action
from sim.steady_state import Leap, SteadyState
from sim.timeline import Timeline
from tests.programs import HALF, beside, halved, pipeline, program, spans, toy
from topologies.hardware import Cluster

SELF: Block = (Record("own"), Wait("own"))
"""Flags that cost nothing: a stream without any tells no microbatches apart, and never leaps."""


def both(what: Program, cluster: Cluster | None = None) -> tuple[Timeline, Timeline]:
    """Played with the steady state and without."""
    with_it, without = (
        Engine(cluster or toy(), steady_state=steady_state).play(what) for steady_state in (True, False)
    )
    return with_it, without


def assert_same(one: Timeline, other: Timeline) -> None:
    assert one.duration == other.duration
    assert one.labels == other.labels
    for column in ("track", "label", "kind", "stage", "microbatch", "start", "end"):
        assert np.array_equal(getattr(one, column), getattr(other, column)), column


def microbatches(rank: int, number: int, seconds: float, *, name: str = "compute") -> Stream:
    block: Block = (Compute(name="kernel", duration=seconds), *SELF)
    return Stream(rank=rank, name=name, steps=[(Action("F", 0, m), block) for m in range(number)])


@pytest.fixture
def leaps(monkeypatch: pytest.MonkeyPatch) -> list[Leap]:
    """The leaps of all runs of a test."""
    found: list[Leap] = []
    original = SteadyState.at_marker

    def spied(self: SteadyState, now: float, flags: set[int], wires: list[tuple[float, float, float]]) -> Leap | None:
        leap = original(self, now, flags, wires)
        found.extend([leap] if leap else [])
        return leap

    monkeypatch.setattr(SteadyState, "at_marker", spied)
    return found


@pytest.mark.parametrize(("name", "num_chunks"), [("gpipe", 1), ("1f1b", 1), ("interleaved", 2)])
def test_a_long_schedule_is_mostly_skipped_and_looks_the_same(name: str, num_chunks: int, leaps: list[Leap]) -> None:
    """4 ranks, 200 microbatches: more than half of the step is leapt over."""
    what = pipeline(name, 4, num_chunks, 200, forward=1.0, backward=2.0, nbytes=0.25)
    with_it, without = both(what)
    assert_same(with_it, without)
    assert sum(leap.times * leap.period for leap in leaps) > 0.5 * with_it.duration


def test_a_deep_interleaved_pipeline_repeats_once_for_every_group_of_microbatches(leaps: list[Leap]) -> None:
    """8 ranks of 2 chunks take groups of 8 microbatches, F and B of each chunk: 16 x 1.5 s. Half of the 20 groups or
    more are leapt over, though ranks go from one chunk to the next at different times."""
    with_it, without = both(pipeline("interleaved", 8, 2, 160, forward=1.0, backward=2.0, nbytes=0.25))
    assert_same(with_it, without)
    assert max(leap.times * leap.period for leap in leaps) > 0.5 * with_it.duration


def test_one_f_one_b_repeats_once_for_every_microbatch(leaps: list[Leap]) -> None:
    """A period is one forward and one backward: 3 s, and one microbatch further."""
    both(pipeline("1f1b", 2, 1, 100, forward=1.0, backward=2.0))
    assert {leap.period for leap in leaps} == {3.0}
    assert sum(leap.times for leap in leaps) > 80


def test_a_message_in_flight_over_a_leap_arrives_on_time(leaps: list[Leap]) -> None:
    """Messages of 2.5 s in passes of 1 and 2 s: there is always one on a wire."""
    assert_same(*both(pipeline("1f1b", 3, 1, 60, forward=1.0, backward=2.0, nbytes=2.5)))
    assert leaps


def test_two_replicas_of_different_speed_are_told_apart_from_one_that_repeats(leaps: list[Leap]) -> None:
    """Passes of 1 + 2 and of 1 + 2.5 s: nothing repeats but after 7 and 6 microbatches, 21 s."""
    fast = pipeline("1f1b", 2, 1, 100, forward=1.0, backward=2.0)
    slow = pipeline("1f1b", 2, 1, 100, forward=1.0, backward=2.5, first_rank=2)
    streams = [*fast.streams, *slow.streams]
    assert_same(*both(program(streams, {**fast.activities, **slow.activities})))
    assert not leaps


def test_a_kernel_longer_than_the_period_is_not_leapt_over() -> None:
    """Rank 0 computes 100 s in one kernel while rank 1 repeats 1 s: its kernel does not repeat, and must not move."""
    for long in (100.0, 300.0):
        with_it, without = both(program([microbatches(0, 1, long), microbatches(1, 200, 1.0)]))
        assert_same(with_it, without)
        assert with_it.duration == max(long, 200.0)


def test_a_message_longer_than_the_period_is_not_leapt_over() -> None:
    send = Transfer(name="send", axis="pp", peer=2, flag="input", nbytes=100.0)
    what = pipeline("1f1b", 2, 1, 2, forward=1.0, backward=1.0, nbytes=100.0)
    assert_same(*both(program([*what.streams, microbatches(2, 900, 1.0)], what.activities)))
    lone = program(
        [Stream(rank=0, name="send", steps=[(None, (send,))]), microbatches(1, 200, 1.0)],
        {(send, 0): next(iter(what.activities.values()))},
    )
    assert_same(*both(lone))


def test_who_has_waited_since_before_the_leap_has_waited_all_the_time(leaps: list[Leap]) -> None:
    """Rank 0 is at the meeting from 2 on, rank 1 comes at 100: the bubble is 98 s long, whatever was skipped."""
    meet = Collective(name="sum", axis="dp", group="dp", operation="all_reduce", nbytes=1.0)
    streams = [
        Stream(rank=stream.rank, name="compute", steps=[*stream.steps, (None, (meet,))])
        for stream in (microbatches(0, 2, 1.0), microbatches(1, 100, 1.0))
    ]
    activities: dict[tuple[Collective | Transfer, int], Activity] = {
        (meet, rank): Activity(latency=1.0, loads=()) for rank in (0, 1)
    }
    with_it, without = both(program(streams, activities, {("dp", rank): (0, 1) for rank in (0, 1)}))
    assert leaps
    assert_same(with_it, without)
    assert spans(with_it, 0)[-2][5:] == (2.0, 100.0)


def test_a_stream_that_waits_for_the_last_flag_wakes_at_the_right_time(leaps: list[Leap]) -> None:
    """As above, but for a flag that rank 1's other stream never sets until the end."""
    steps = [*microbatches(0, 100, 1.0, name="side").steps, (None, (Record("end"),))]
    waits: Block = (Wait("end"), Compute(name="after", duration=1.0))
    what = program([Stream(rank=0, name="side", steps=steps), Stream(rank=0, name="compute", steps=[(None, waits)])])
    with_it, without = both(what)
    assert leaps
    assert_same(with_it, without)
    assert spans(with_it, 0)[0][5:] == (0.0, 100.0)


def test_what_is_set_now_and_waited_for_at_the_end_is_not_leapt_over() -> None:
    """GPipe on one rank by flags: 50 forwards each leave a flag, 50 backwards each take one. Forwards repeat in time,
    but the flags they leave pile up, and a leap that moved them on would lose those in between."""
    forward: Block = (Compute(name="f", duration=1.0), Record("kept"))
    backward: Block = (Wait("kept"), Compute(name="b", duration=2.0))
    steps = [(Action("F", 0, m), forward) for m in range(50)] + [(Action("B", 0, m), backward) for m in range(50)]
    with_it, without = both(program([Stream(rank=0, name="compute", steps=steps)]))
    assert_same(with_it, without)
    assert with_it.duration == 150.0


def test_kernels_slowed_by_communication_repeat_too(leaps: list[Leap]) -> None:
    """Rank 0 has more to do than rank 1, which waits for it in the collective, its SMs held: a period of 3.5 s.

    0.5 s alone, 2 s beside communication, which do 1 s of its work, 1 s alone; rank 1 the same, but for its last.
    """
    activity = Activity(latency=1.5, loads=(), num_sms=1)
    what = beside({0: [1.0, 1.75], 1: [1.0, 0.5]}, activity, starts={0: 0.5}, repeats=100)
    with_it, without = both(what, halved())
    assert_same(with_it, without)
    assert {leap.period for leap in leaps} == {3.5}
    assert sum(leap.times * leap.period for leap in leaps) > 0.5 * with_it.duration


def test_a_slowed_kernel_that_runs_on_over_a_leap_ends_when_it_would(leaps: list[Leap]) -> None:
    """Communication of 0.5 s comes every 1.25 s, from 0.25 on; a kernel of 1 s beside it takes 1.25 s, whatever part
    of it was slowed. At every marker, which are those of the longer stream, some of it remains."""
    meet = Collective(name="sum", axis="tp", group="tp", operation="all_reduce", nbytes=1.0)
    kernel = Compute(name="kernel", duration=1.0, load=HALF)
    late, rest = Compute(name="late", duration=0.25), Compute(name="rest", duration=0.75)
    main: Block = (kernel, *SELF)
    side: Block = (meet, rest, *SELF)
    sides: list[Step] = [(Action("F", 0, m), side) for m in range(200)]
    what = program(
        [
            Stream(rank=0, name="compute", steps=[(Action("F", 0, m), main) for m in range(190)]),
            Stream(rank=0, name="tp", steps=[(None, (late,)), *sides]),
        ],
        {(meet, 0): Activity(latency=0.5, loads=(), num_sms=1)},
        {("tp", 0): (0,)},
    )
    assert_same(*both(what, halved()))
    assert {leap.period for leap in leaps} == {1.25}
