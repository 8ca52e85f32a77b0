"""What a page shows of a step that is too long to show: all of it where the short spans alone are too many."""

from dataclasses import replace

import numpy as np
import pytest

from sim.reports.slices import canvas_data, cut
from sim.timeline import NO_ACTION, Label, Timeline, Track

KERNEL, SEND = range(2)


def alternating(num_pairs: int) -> Timeline:
    """A kernel of 0.99 s, a send of 0.01 s, and so on."""
    start = np.column_stack([np.arange(num_pairs), np.arange(num_pairs) + 0.99]).ravel()
    none = np.full(2 * num_pairs, NO_ACTION)
    return Timeline(
        tracks=(Track(rank=0, stream="compute", ranks_folded=1),),
        labels=(
            Label(name="layer", category="compute"),
            Label(name="send F", category="exposed_pp", operation="send", group="pp", nbytes=3 * 2.0**20),
        ),
        track=np.zeros(2 * num_pairs, np.int32),
        label=np.tile([KERNEL, SEND], num_pairs).astype(np.int32),
        kind=none.astype(np.int8),
        stage=none.astype(np.int32),
        microbatch=none.astype(np.int32),
        start=start,
        end=np.append(start[1:], float(num_pairs)),
        duration=float(num_pairs),
    )


def test_where_short_spans_are_too_many_the_long_ones_of_the_whole_step_are_shown() -> None:
    """The mean is 0.5 s, so spans from 50 ms on are long."""
    shown = cut(alternating(100), most=120)
    assert shown.end == 100
    assert set(shown.timeline.label) == {KERNEL}
    assert len(shown.timeline.start) == 100
    assert shown.said == "Shown are the 100 spans of the compute streams that last 50 ms or more, of 200 spans in all."


def test_where_even_long_spans_are_too_many_the_first_in_time_are_shown_without_holes() -> None:
    shown = cut(alternating(100), most=80)
    assert shown.end == pytest.approx(40)
    assert list(shown.timeline.label) == [KERNEL, SEND] * 40
    assert shown.said.startswith("Shown are the first 80 spans of the compute streams, 40.0 % of the step")


def test_side_streams_are_left_out_before_anything_else() -> None:
    whole = alternating(100)
    tracks = (*whole.tracks, Track(rank=0, stream="send F", ranks_folded=1))
    beside = replace(whole, tracks=tracks, track=(np.arange(200) >= 150).astype(np.int32))
    assert len(cut(beside, most=150).timeline.start) == 150


def test_a_label_of_communication_carries_its_size_and_a_kernel_none() -> None:
    labels = canvas_data(cut(alternating(1)))["labels"]
    assert isinstance(labels, list)
    assert [label["size"] for label in labels] == ["", "3 MiB"]
