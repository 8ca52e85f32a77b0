"""Schedules of every kind and size, for all tests that say what holds for each of them."""

from collections.abc import Mapping
from itertools import accumulate

from hypothesis import strategies as st

from sim.schedules import SCHEDULES, Action, Kind, Schedule
from sim.schedules.fault import homes_of

Size = tuple[str, int, int, int]

CHUNKS = {
    "interleaved": (1, 4),
    "looped": (1, 4),
    "zb-v": (2, 2),
    "v-half": (2, 2),
    "v-min": (2, 2),
    "dualpipev": (2, 2),
}
PAIRED = ("dualpipe", "dualpipev")
EQUAL: dict[Kind, int] = {"F": 1, "B": 2, "I": 1, "W": 1}
"""F = I = W, for which the zero-bubble schedules were drawn."""


@st.composite
def sizes(draw: st.DrawFn, *names: str) -> Size:
    """Name, p <= 8 ranks, v <= 4 chunks where there are any, m <= 24 microbatches; as each schedule wants them."""
    name = draw(st.sampled_from(names or sorted(SCHEDULES)))
    p = 2 * draw(st.integers(1, 4)) if name == "dualpipe" else draw(st.integers(1, 8))
    v = draw(st.integers(*CHUNKS.get(name, (1, 1))))
    if name == "interleaved":
        return name, p, v, p * draw(st.integers(1, 24 // p))
    if name in PAIRED:
        return name, p, v, 2 * p + 2 * draw(st.integers(0, 4))
    return name, p, v, draw(st.integers(1, 24))


halves = st.fixed_dictionaries({"F": st.integers(1, 4), "I": st.integers(1, 4), "W": st.integers(1, 4)})


def durations(lasting: Mapping[str, int]) -> dict[Kind, int]:
    forward, inputs, weights = lasting["F"], lasting["I"], lasting["W"]
    return {"F": forward, "B": inputs + weights, "I": inputs, "W": weights}


def make(size: Size) -> Schedule:
    name, *counts = size
    return SCHEDULES[name](*counts)


def held(schedule: Schedule) -> list[int]:
    """Per rank, the most (stage, microbatch) whose forward is done and whose weight gradient is not."""
    return [
        max(accumulate(1 if action.kind == "F" else -(action.kind in "BW") for action in row)) for row in schedule.rows
    ]


def schedule(*rows: str) -> Schedule:
    """Actions in order, one text per rank; a stage lives where it is named."""
    parsed = tuple(tuple(map(Action.parse, row.split())) for row in rows)
    return Schedule(parsed, homes_of(parsed))
