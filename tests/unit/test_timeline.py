"""Reading a timeline: columns, the parts of a rank's time, and the pictures in tests/golden/timelines."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim.engine import Engine
from sim.instructions import Basis, Compute
from sim.program import Stream
from sim.schedules import Action
from sim.timeline import (
    BREAKDOWN,
    BUBBLE_LABEL,
    NO_ACTION,
    Label,
    Repeat,
    Timeline,
    breakdown,
    breakdown_by_rank,
    columns_of,
    picture,
    timeline_of,
)
from tests.programs import pipeline, program, spans, toy

GOLDEN = Path(__file__).parents[1] / "golden" / "timelines"
KERNEL = Label(name="kernel", category="compute")
SIZES = {"gpipe_4x8": ("gpipe", 4, 1, 8), "1f1b_4x8": ("1f1b", 4, 1, 8), "interleaved_4x2x8": ("interleaved", 4, 2, 8)}


def played(name: str, seconds: float, *, sender_waits: bool = False) -> Timeline:
    """F takes 1 s, B 2 s, a message `seconds` on a wire that carries 1 byte/s."""
    return Engine(toy()).play(
        pipeline(*SIZES[name], forward=1.0, backward=2.0, nbytes=seconds, sender_waits=sender_waits)
    )


@pytest.mark.parametrize("name", SIZES)
def test_a_timeline_looks_as_drawn(name: str) -> None:
    """Two characters a second: without messages, with messages of half a second, and with senders that wait for them.

    F forward, B backward, p waiting for bytes on a wire, . waiting for work.
    """
    cases = {
        "no messages": played(name, 0.0),
        "messages of 0.5 s": played(name, 0.5),
        "messages of 0.5 s that the sender waits for": played(name, 0.5, sender_waits=True),
    }
    drawn = "\n".join(
        f"{title}: {timeline.duration} s\n{picture(timeline, width=round(2 * timeline.duration))}\n"
        for title, timeline in cases.items()
    )
    assert drawn == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def microbatches(number: int) -> Stream:
    block = (Compute(name="kernel", duration=1.0),)
    return Stream(rank=0, name="compute", steps=[(Action("F", 0, m), block) for m in range(number)])


def test_what_the_steady_state_only_counted_is_written_out() -> None:
    """Rows 1 and 2 (a kernel, then half a second of bubble) come twice more, 1.5 s and one step later each time."""
    rows = [(1, 0, 0.0, 1.0), (1, 1, 1.0, 2.0), (0, 1, 2.0, 2.5), (1, 4, 5.5, 6.5)]
    repeats = [Repeat(first=1, last=3, times=2, period=1.5, steps=1)]
    stream = microbatches(5)
    actions = columns_of(stream.actions())
    timeline = timeline_of(program([stream]), (BUBBLE_LABEL, KERNEL), [actions], [rows], [repeats], 6.5)
    assert [(part[0], part[4], part[5], part[6]) for part in spans(timeline, 0)] == [
        ("kernel", 0, 0.0, 1.0),
        ("kernel", 1, 1.0, 2.0),
        ("bubble", 1, 2.0, 2.5),
        ("kernel", 2, 2.5, 3.5),
        ("bubble", 2, 3.5, 4.0),
        ("kernel", 3, 4.0, 5.0),
        ("bubble", 3, 5.0, 5.5),
        ("kernel", 4, 5.5, 6.5),
    ]


def test_a_span_that_belongs_to_no_action_says_so() -> None:
    stream = Stream(rank=0, name="compute", steps=[(None, (Compute(name="optimizer", duration=1.0),))])
    timeline = Engine(toy()).play(program([stream]))
    assert (timeline.kind[0], timeline.stage[0], timeline.microbatch[0]) == (NO_ACTION,) * 3


def test_a_ranks_parts_are_what_its_spans_are_called_and_the_rest_is_bubble() -> None:
    """Of 10 s: 4 compute, 3 a piece made of 2 s kernels and 1 s exposed communication, 1 optimizer, 2 nothing."""
    labels = (
        BUBBLE_LABEL,
        KERNEL,
        Label(name="piece", category="compute", parts=(("compute", 2 / 3), ("exposed_tp", 1 / 3))),
        Label(name="optimizer", category="optimizer"),
    )
    rows = [(1, 0, 0.0, 4.0), (2, 1, 4.0, 7.0), (3, 2, 7.0, 8.0)]
    stream = microbatches(3)
    timeline = timeline_of(program([stream]), labels, [columns_of(stream.actions())], [rows], [[]], 10.0)
    parts = breakdown_by_rank(timeline)[0]
    assert tuple(parts) == BREAKDOWN
    assert {key: seconds for key, seconds in parts.items() if seconds} == pytest.approx(
        {"compute": 6.0, "exposed_tp": 1.0, "optimizer": 1.0, "bubble": 2.0}
    )
    assert picture(timeline, width=10) == "rank   0 | FFFFFFFO.."


def test_a_rank_that_stands_for_many_counts_as_many() -> None:
    """Rank 0, alone, computes all 4 s; rank 1, for three, computes 2 s: (4 + 3 x 2) / (4 x 4) of the time."""
    streams = [
        Stream(rank=rank, name="compute", steps=[(None, (Compute(name="a", duration=seconds),))])
        for rank, seconds in ((0, 4.0), (1, 2.0))
    ]
    what = program(streams)
    what = type(what)(streams=what.streams, groups={}, activities={}, ranks_folded={0: 1, 1: 3})
    shares = breakdown(Engine(toy()).play(what))
    assert shares["compute"] == pytest.approx(10 / 16)
    assert shares["bubble"] == pytest.approx(6 / 16)


def test_what_kernels_rest_on_is_added_up_over_steps_and_ranks() -> None:
    """Rank 0 runs 2 s of measured products and 1 s of copies three times, rank 1, for three, one product that is beyond
    what was measured: 6, 3 and 3 x 5 s. However long they took in the end."""
    product, copy = Basis("gemm", "measured", 2.0), Basis("copy", "datasheet", 1.0)
    block = (Compute(name="both", duration=3.0, basis=(product, copy)),)
    large = (Compute(name="large", duration=5.0, basis=(Basis("gemm", "extrapolated", 5.0),)),)
    streams = [
        Stream(rank=0, name="compute", steps=[(Action("F", 0, m), block) for m in range(3)]),
        Stream(rank=1, name="compute", steps=[(None, large)]),
    ]
    what = replace(program(streams), ranks_folded={0: 1, 1: 3})
    assert set(Engine(toy()).play(what).basis) == {
        Basis("gemm", "measured", 6.0),
        Basis("copy", "datasheet", 3.0),
        Basis("gemm", "extrapolated", 15.0),
    }


def test_tracks_are_in_order_and_their_spans_too() -> None:
    timeline = played("1f1b_4x8", 0.5)
    assert (np.diff(timeline.track) >= 0).all()
    assert [track.rank for track in timeline.tracks if track.stream == "compute"] == [0, 1, 2, 3]
    for index in range(len(timeline.tracks)):
        assert (np.diff(timeline.start[timeline.track == index]) >= 0).all()
