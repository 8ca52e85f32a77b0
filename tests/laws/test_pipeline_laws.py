"""A bare pipeline, played by the engine, idles and holds what is published of its schedule; nobody typed that in."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.pipelines import held, is_pass, measured, play, published
from sim.schedules import SCHEDULES, Action, Schedule
from sim.schedules.closed_forms import CLOSED_FORMS, PassTimes, symbols_of, unmet, value_of
from sim.schedules.dry_run import dry_run
from sim.timeline import KINDS, Timeline, breakdown_by_rank
from tests.schedules import Size, durations, halves, make, sizes

quarters = st.integers(1, 12).map(lambda quarter: quarter / 4)
"""Seconds that add up without rounding."""


@st.composite
def lasting(draw: st.DrawFn) -> PassTimes:
    """As often as not F = I = W, for which half of the schedules are drawn."""
    forward = draw(quarters)
    alike = st.just((forward, forward))
    inputs, weights = draw(alike | st.tuples(quarters, quarters) | st.tuples(st.just(forward), quarters))
    return PassTimes(forward=forward, input_gradient=inputs, weight_gradient=weights)


def scaled(schedule: Schedule, lasts: dict[str, int]) -> PassTimes:
    """Of a rank, where a pass of a chunk takes what `lasts` says."""
    chunks = schedule.model_stages // schedule.num_ranks
    return PassTimes(
        forward=chunks * lasts["F"], input_gradient=chunks * lasts["I"], weight_gradient=chunks * lasts["W"]
    )


def passes(timeline: Timeline, rank: int) -> list[tuple[Action, float, float]]:
    """What a rank does, from when to when."""
    track = [(each.rank, each.stream) for each in timeline.tracks].index((rank, "compute"))
    rows = np.flatnonzero((timeline.track == track) & is_pass(timeline))
    columns = (timeline.kind, timeline.stage, timeline.microbatch, timeline.start, timeline.end)
    spans = zip(*(column[rows].tolist() for column in columns), strict=True)
    return [(Action(KINDS[kind], stage, microbatch), start, end) for kind, stage, microbatch, start, end in spans]


@given(size=sizes(), times=lasting())
def test_what_is_played_idles_as_published_wherever_the_formula_holds(size: Size, times: PassTimes) -> None:
    name, *counts = size
    one = measured(name, make(size), times)
    symbols = symbols_of(*counts, times)
    if not unmet(CLOSED_FORMS[name], symbols):
        assert one.idle == pytest.approx(value_of(CLOSED_FORMS[name].bubble, symbols), abs=1e-9)
        assert published(one, times).why == ""


@given(size=sizes())
def test_a_rank_holds_at_most_what_is_published(size: Size) -> None:
    name, *counts = size
    times = PassTimes(forward=1.0, input_gradient=1.0, weight_gradient=1.0)
    symbols = symbols_of(*counts, times)
    if not unmet(CLOSED_FORMS[name], symbols):
        assert max(held(make(size))) == value_of(CLOSED_FORMS[name].held, symbols)


@given(size=sizes(), lasts=halves)
def test_without_messages_the_engine_plays_the_dry_run(size: Size, lasts: dict[str, int]) -> None:
    """Each pass of each rank begins and ends in the very unit of time; of a pair both end together."""
    schedule, whole = make(size), durations(lasts)
    grid = dry_run(schedule, whole)
    timeline = play(schedule, scaled(schedule, whole))
    assert timeline.duration == len(grid[0])
    for rank, row in enumerate(grid):
        expected = [(action, row.index(action)) for action in dict.fromkeys(row) if action]
        assert [(action, start) for action, start, _ in passes(timeline, rank)] == expected


@given(size=sizes(), times=lasting(), message=quarters)
def test_a_message_comes_between_a_pass_and_the_pass_of_another_rank_that_needs_it(
    size: Size, times: PassTimes, message: float
) -> None:
    """A chunk's pass takes quarters of a second, which are exact in binary."""
    schedule = make(size)
    chunks = schedule.model_stages / schedule.num_ranks
    of_rank = {name: chunks * seconds for name, seconds in fields(times).items()}
    timeline = play(schedule, PassTimes(**of_rank, message=message))
    done = {action: (start, end) for rank in range(schedule.num_ranks) for action, start, end in passes(timeline, rank)}
    for action, (start, _) in done.items():
        source = source_of(schedule, action, done)
        if source is not None:
            apart = schedule.homes[source.stage] != schedule.homes[action.stage]
            assert start >= done[source][1] + apart * message
    for rank, parts in breakdown_by_rank(timeline).items():
        assert sum(parts.values()) == pytest.approx(timeline.duration)
        assert all(before[2] <= after[1] for before, after in pairwise(passes(timeline, rank)))


def fields(times: PassTimes) -> dict[str, float]:
    return {
        "forward": times.forward,
        "input_gradient": times.input_gradient,
        "weight_gradient": times.weight_gradient,
    }


def source_of(schedule: Schedule, action: Action, done: dict[Action, tuple[float, float]]) -> Action | None:
    """The pass of another stage whose output an action needs."""
    kind, stage, microbatch = action
    source = None if kind == "W" else schedule.before(stage) if kind == "F" else schedule.after(stage)
    if source is None:
        return None
    found = (Action(each, source, microbatch) for each in (("F",) if kind == "F" else ("B", "I")))
    return next(each for each in found if each in done)


@given(p=st.integers(1, 6), m=st.integers(1, 6), times=lasting(), message=quarters)
def test_a_naive_pipeline_waits_for_every_message(p: int, m: int, times: PassTimes, message: float) -> None:
    """m times there and back: p(F + B) and 2(p - 1) messages."""
    schedule = SCHEDULES["naive"](p, 1, m)
    timeline = play(schedule, PassTimes(**{**fields(times), "message": message}))
    assert timeline.duration == m * (p * (times.forward + times.backward) + 2 * (p - 1) * message)
