"""Closed forms of the field, which nobody typed into the simulator: the engine must come to them by playing."""

from collections import defaultdict, deque
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.costs.collectives import COLLECTIVES
from sim.costs.collectives import alone as seconds_alone
from sim.critical_path import critical_path
from sim.engine import Engine
from sim.instructions import Activity, Compute, Record, Transfer, Wait
from sim.program import Program, Stream
from sim.schedules import SCHEDULES, Action
from sim.timeline import breakdown, breakdown_by_rank
from tests.programs import assert_no_stream_overlaps_itself, beside, collective, halved, pipeline, program, spans, toy
from topologies.fabric import Wire, route

Size = tuple[str, int, int, int]
SIZES = settings(max_examples=40)
quarters = st.integers(1, 12).map(lambda quarter: quarter / 4)
"""Seconds that add up without rounding, so that equal means equal."""


@st.composite
def schedules(draw: st.DrawFn) -> Size:
    """Name, ranks, chunks, microbatches."""
    name, p = draw(st.sampled_from(["gpipe", "1f1b", "interleaved"])), draw(st.integers(1, 5))
    if name == "interleaved":
        return name, p, draw(st.integers(1, 3)), p * draw(st.integers(1, 5))
    return name, p, 1, draw(st.integers(1, 24))


def with_messages(
    size: Size, forward: float, backward: float, seconds: float, sender_waits: bool, on_a_wire: bool
) -> Program:
    """A pipeline whose messages take `seconds`: in latency, or on wires that others may share."""
    return pipeline(
        *size,
        forward=forward,
        backward=backward,
        latency=0.0 if on_a_wire else seconds,
        nbytes=seconds if on_a_wire else 0.0,
        sender_waits=sender_waits,
    )


@SIZES
@given(size=schedules(), forward=quarters, backward=quarters)
def test_without_communication_the_bubble_is_p_less_one_passes_of_one_chunk(
    size: Size, forward: float, backward: float
) -> None:
    """GPipe and 1F1B: (m + p - 1)(F + B), bubble (p - 1)/(m + p - 1). Interleaving, where F and B are those of a chunk:
    (m v + p - 1)(F + B), so the bubble in seconds is that of the whole stage divided by v."""
    name, p, v, m = size
    timeline = Engine(toy()).play(pipeline(name, p, v, m, forward=forward, backward=backward))
    assert timeline.duration == (m * v + p - 1) * (forward + backward)
    for parts in breakdown_by_rank(timeline).values():
        assert parts["bubble"] == pytest.approx((p - 1) * (forward + backward))
    assert breakdown(timeline)["bubble"] == pytest.approx((p - 1) / (m * v + p - 1))


@SIZES
@given(size=schedules(), forward=quarters, backward=quarters, seconds=quarters, waits=st.booleans(), wire=st.booleans())
def test_the_steady_state_changes_no_column_of_the_timeline(
    size: Size, forward: float, backward: float, seconds: float, waits: bool, wire: bool
) -> None:
    """Messages of `seconds`, in latency or on a wire that forwards and backwards may share."""
    what = with_messages(size, forward, backward, seconds, waits, wire)
    skipped, played = (Engine(toy(), steady_state=steady_state).play(what) for steady_state in (True, False))
    assert skipped.duration == played.duration
    for column in ("track", "label", "kind", "stage", "microbatch", "start", "end"):
        assert np.array_equal(getattr(skipped, column), getattr(played, column)), column


@SIZES
@given(size=schedules(), forward=quarters, backward=quarters, seconds=quarters, waits=st.booleans(), wire=st.booleans())
def test_a_pipeline_is_whole_however_long_its_messages_take(
    size: Size, forward: float, backward: float, seconds: float, waits: bool, wire: bool
) -> None:
    """No stream overlaps itself; every rank's parts sum to the step; the critical path is as long as the step; and the
    step is as long as the way of one microbatch there and back, and as the work of one rank."""
    _, p, v, m = size
    timeline = Engine(toy()).play(with_messages(size, forward, backward, seconds, waits, wire))
    assert_no_stream_overlaps_itself(timeline)
    for parts in breakdown_by_rank(timeline).values():
        assert sum(parts.values()) == pytest.approx(timeline.duration)
        assert parts["compute"] == m * v * (forward + backward)
        assert min(parts.values()) >= 0
    assert sum(length for _, length in critical_path(timeline)) == pytest.approx(timeline.duration)
    there_and_back = p * v * (forward + backward) + 2 * (p * v - 1) * seconds
    assert timeline.duration >= max(there_and_back, m * v * (forward + backward)) * (1 - 1e-12)


@SIZES
@given(size=schedules(), forward=quarters, backward=quarters, seconds=quarters, waits=st.booleans(), wire=st.booleans())
def test_a_step_takes_at_least_its_longest_chain_of_dependencies(
    size: Size, forward: float, backward: float, seconds: float, waits: bool, wire: bool
) -> None:
    """And exactly that where no two messages of the chain's solution are on one wire at the same time."""
    timeline = Engine(toy()).play(with_messages(size, forward, backward, seconds, waits, wire))
    longest, messages = longest_chain(size, {"F": forward, "B": backward}, seconds, waits)
    assert timeline.duration >= longest
    if not (wire and is_any_wire_shared(messages)):
        assert timeline.duration == longest


Message = tuple[int, int, float, float]
"""From rank, to rank, start, end."""


def longest_chain(
    size: Size, durations: dict[str, float], seconds: float, sender_waits: bool
) -> tuple[float, list[Message]]:
    """When the last action is done if every message takes `seconds`, and all messages; nothing here is simulated.

    An action starts when its rank has done the one before (and, where senders wait, its message is there) and when its
    input is there. Messages of one rank in one direction go one after the other.
    """
    name, p, v, m = size
    rows = [deque(row) for row in SCHEDULES[name](p, v, m).rows]
    there = {Action("F", 0, microbatch): 0.0 for microbatch in range(m)}
    free, sent = defaultdict[int, float](float), defaultdict[tuple[int, str], float](float)
    done, messages = 0.0, list[Message]()
    while any(rows):
        for rank in (rank for rank in range(p) if rows[rank] and rows[rank][0] in there):
            action = rows[rank].popleft()
            end = free[rank] = max(free[rank], there[action]) + durations[action.kind]
            done = max(done, end)
            stage = action.stage + (1 if action.kind == "F" else -1)
            if 0 <= stage < p * v:
                start = max(end, sent[rank, action.kind])
                sent[rank, action.kind] = there[action._replace(stage=stage)] = start + seconds
                messages.append((rank, stage % p, start, start + seconds))
                free[rank] = start + seconds if sender_waits else end
            elif action.kind == "F":
                there[action._replace(kind="B")] = end
    return done, messages


def is_any_wire_shared(messages: list[Message]) -> bool:
    """Whether two of them leave, or reach, one rank at the same time."""
    for end_of_wire in (0, 1):
        ports = sorted((message[end_of_wire], *message[2:]) for message in messages)
        if any(one[0] == other[0] and other[1] < one[2] for one, other in pairwise(ports)):
            return True
    return False


@given(num_ranks=st.integers(2, 16), nbytes=st.floats(1e6, 1e10))
@SIZES
def test_an_all_reduce_takes_as_long_as_alone_once_all_have_met(num_ranks: int, nbytes: float) -> None:
    """Played by n ranks of one node; the closed form of a ring is a test of its costs."""
    cluster = toy(16, bandwidth=1e11, latency=1e-6)
    activity = COLLECTIVES["all_reduce"](cluster, range(num_ranks), nbytes)
    arrivals = {rank: rank * 1e-3 for rank in range(num_ranks)}
    timeline = Engine(cluster).play(collective("sum", activity, arrivals))
    expected = (num_ranks - 1) * 1e-3 + seconds_alone(cluster, activity)
    assert timeline.duration == pytest.approx(expected, rel=1e-12)


def test_a_program_ends_with_its_last_byte() -> None:
    """Two messages out of rank 0 at 1 B/s: 10 bytes from 0, 1 byte from 1 until 3. The other has 8 left: 11. When the
    small one came, the big one would have ended at 19: that is no longer meant, and nobody waits for it."""
    loads = {nbytes: tuple((wire, nbytes) for wire in route(toy(), 0, 1)) for nbytes in (10.0, 1.0)}
    big, small = (
        Transfer(name=f"{nbytes} bytes", axis="pp", peer=1, flag=f"{nbytes} bytes", nbytes=nbytes) for nbytes in loads
    )
    timeline = Engine(toy()).play(
        program(
            [
                Stream(rank=0, name="compute", steps=[(None, (big,))]),
                Stream(rank=0, name="send", steps=[(None, (Wait("go"), small))]),
                Stream(rank=0, name="clock", steps=[(None, (Compute(name="one second", duration=1.0), Record("go")))]),
                Stream(rank=1, name="compute", steps=[(None, (Wait(small.flag), Wait(big.flag)))]),
            ],
            {(what, 0): Activity(latency=0.0, loads=loads[what.nbytes]) for what in (big, small)},
        )
    )
    assert timeline.duration == timeline.end.max() == 11.0


def test_two_equal_collectives_on_the_same_wires_take_twice_as_long() -> None:
    """Ranks 0 to 3 sum 8 bytes over their ports at 1 B/s, twice at the same time: 16 s instead of 8."""
    loads = tuple((Wire("nvlink", direction, rank), 8.0) for rank in range(4) for direction in ("out", "in"))
    one = collective("one", Activity(latency=0.0, loads=loads), dict.fromkeys(range(4), 0.0))
    assert Engine(toy()).play(one).duration == 8.0
    other = collective("other", Activity(latency=0.0, loads=loads), dict.fromkeys(range(4, 8), 0.0))
    both = Program(
        streams=one.streams + other.streams,
        groups={**one.groups, **other.groups},
        activities={**one.activities, **other.activities},
        ranks_folded=dict.fromkeys(range(8), 1),
    )
    assert Engine(toy()).play(both).duration == 16.0


work = st.lists(quarters, min_size=1, max_size=4)


@SIZES
@given(one=work, other=work, seconds=quarters, start=quarters)
def test_communication_never_speeds_compute_and_no_work_is_lost(
    one: list[float], other: list[float], seconds: float, start: float
) -> None:
    """Two ranks compute while they meet, the second `start` late: a second beside it does half a second of work."""
    activity = Activity(latency=seconds, loads=(), num_sms=1)
    timeline = Engine(halved()).play(beside({0: one, 1: other}, activity, starts={1: start}))
    for rank, alone, held_from in ((0, one, 0.0), (1, other, start)):
        kernels = [part for part in spans(timeline, rank) if part[0].startswith("kernel")]
        slowed = sum(max(0.0, min(end, start + seconds) - max(begin, held_from)) for *_, begin, end in kernels)
        assert all(end - begin >= each for (*_, begin, end), each in zip(kernels, alone, strict=True))
        assert sum(end - begin for *_, begin, end in kernels) == sum(alone) + slowed / 2


@SIZES
@given(one=work, other=work, seconds=quarters, start=quarters)
def test_the_steady_state_changes_nothing_where_communication_slows_compute(
    one: list[float], other: list[float], seconds: float, start: float
) -> None:
    activity = Activity(latency=seconds, loads=(), num_sms=1)
    what = beside({0: one, 1: other}, activity, starts={1: start}, repeats=20)
    skipped, played = (Engine(halved(), steady_state=steady_state).play(what) for steady_state in (True, False))
    assert skipped.duration == pytest.approx(played.duration, rel=1e-9)
    assert np.array_equal(skipped.label, played.label)
    assert np.allclose(skipped.end, played.end, rtol=1e-9)


@SIZES
@given(one=work, seconds=quarters)
def test_equal_ranks_are_slowed_alike(one: list[float], seconds: float) -> None:
    """Four ranks beside their collective are each as one that stands for all."""
    activity = Activity(latency=seconds, loads=(), num_sms=1)
    alone = Engine(halved()).play(beside({0: one}, activity))
    all_ranks = Engine(halved()).play(beside(dict.fromkeys(range(4), one), activity))
    assert all_ranks.duration == alone.duration
    assert all(spans(all_ranks, rank) == spans(alone, 0) for rank in range(4))
