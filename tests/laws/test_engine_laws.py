"""Closed forms of the field, which nobody typed into the simulator: the engine must come to them by playing."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import topologies
from sim.costs.collectives import COLLECTIVES
from sim.critical_path import critical_path
from sim.detail import DETAILS
from sim.engine import Engine
from sim.instructions import Activity
from sim.plan import Plan
from sim.program import Program
from sim.timeline import Timeline, breakdown, breakdown_by_rank
from tests.programs import collective, pipeline, plan, small, spans, toy, train
from topologies.fabric import Wire
from topologies.hardware import Cluster

Size = tuple[str, int, int, int]
SIZES = settings(deadline=None, max_examples=40)
quarters = st.integers(1, 12).map(lambda quarter: quarter / 4)
"""Seconds that add up without rounding, so that equal means equal."""

PLANS: dict[str, Plan] = {
    "tp8": plan(8),
    "tp8 sp selective": plan(8, sp=True, recompute="selective"),
    "pp4 1f1b": plan(8, 4, num_microbatches=8),
    "pp4 gpipe sp full": plan(8, 4, sp=True, schedule="gpipe", recompute="full"),
    "pp2 interleaved dp2 zero": plan(8, 2, 2, vpp=2, schedule="interleaved", zero=1, num_microbatches=8),
    "dp16 zero": plan(1, 1, 16, zero=1),
}
"""tp inside a node, the other axes between nodes: nothing shares a wire with anything else at the same time."""
CONTENDED: dict[str, Plan] = {
    "interleaved in a node": plan(2, 2, vpp=2, schedule="interleaved"),
    "tp over two nodes": plan(16, 2),
    "tp over two nodes, interleaved sp": plan(16, 2, sp=True, vpp=2, schedule="interleaved"),
}


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


def cluster_for(layout: Plan) -> Cluster:
    return topologies.load("dgx-h100", max(8, layout.num_gpus))


def assert_no_stream_overlaps_itself(timeline: Timeline) -> None:
    for track in timeline.tracks:
        for before, after in pairwise(spans(timeline, track.rank, track.stream)):
            assert before[6] <= after[5] + 1e-12 * timeline.duration


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


@given(num_ranks=st.integers(2, 16), nbytes=st.floats(1e6, 1e10))
@SIZES
def test_a_ring_all_reduce_takes_its_closed_form(num_ranks: int, nbytes: float) -> None:
    """2(n-1) a + 2(n-1)/n S/B, played by n ranks of one node after all have met."""
    cluster = toy(16, bandwidth=1e11, latency=1e-6)
    activity = COLLECTIVES["all_reduce"](cluster, range(num_ranks), nbytes)
    arrivals = {rank: rank * 1e-3 for rank in range(num_ranks)}
    timeline = Engine(cluster).play(collective("sum", activity, arrivals))
    alone = 2 * (num_ranks - 1) * 1e-6 + 2 * (num_ranks - 1) / num_ranks * nbytes / 1e11
    assert timeline.duration == pytest.approx((num_ranks - 1) * 1e-3 + alone, rel=1e-12)


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


@pytest.mark.parametrize("name", [*PLANS, *CONTENDED])
@pytest.mark.parametrize("detail", DETAILS)
def test_a_training_step_is_whole_at_every_detail(name: str, detail: str) -> None:
    """No stream overlaps itself, every rank's parts sum to one, the critical path is as long as the step."""
    layout = (PLANS | CONTENDED)[name]
    timeline = train(layout, cluster_for(layout), detail=detail)
    assert_no_stream_overlaps_itself(timeline)
    for parts in breakdown_by_rank(timeline).values():
        assert sum(parts.values()) == pytest.approx(timeline.duration, rel=1e-12)
        assert min(parts.values()) >= 0
    shares = breakdown(timeline)
    assert sum(shares.values()) == pytest.approx(1.0, rel=1e-12)
    assert shares["other"] < 0.02
    assert sum(length for _, length in critical_path(timeline)) == pytest.approx(timeline.duration, rel=1e-9)


@pytest.mark.parametrize("framework", ["megatron-core", "megatron-lm"])
@pytest.mark.parametrize("name", PLANS)
def test_kernel_layer_and_stage_detail_agree_where_wires_are_not_shared(name: str, framework: str) -> None:
    layout = PLANS[name]
    kernel, *coarser = (
        train(layout, cluster_for(layout), detail=detail, framework=framework)
        for detail in ("kernel", "layer", "stage")
    )
    for timeline in coarser:
        assert timeline.duration == pytest.approx(kernel.duration, rel=1e-6)
        assert breakdown(timeline) == pytest.approx(breakdown(kernel), abs=1e-6)


@pytest.mark.parametrize("framework", ["megatron-core", "megatron-lm"])
@pytest.mark.parametrize("name", CONTENDED)
def test_where_wires_are_shared_coarser_detail_is_at_most_one_per_cent_fast(name: str, framework: str) -> None:
    """Pieces are played with their wires to themselves, so they miss what messages take from their collectives."""
    layout = CONTENDED[name]
    kernel, *coarser = (
        train(layout, cluster_for(layout), detail=detail, framework=framework)
        for detail in ("kernel", "layer", "stage")
    )
    for timeline in coarser:
        assert 0.99 * kernel.duration <= timeline.duration <= kernel.duration * (1 + 1e-9)


@pytest.mark.parametrize("name", PLANS)
def test_the_steady_state_agrees_with_playing_every_microbatch(name: str) -> None:
    layout = PLANS[name]
    layout = plan(
        layout.tp, layout.pp, layout.dp, vpp=layout.vpp, schedule=layout.schedule, sp=layout.sp, num_microbatches=64
    )
    skipped, played = (train(layout, cluster_for(layout), steady_state=steady_state) for steady_state in (True, False))
    assert skipped.duration == pytest.approx(played.duration, rel=1e-9)
    assert breakdown(skipped) == pytest.approx(breakdown(played), rel=1e-9, abs=1e-9)
    assert np.array_equal(skipped.microbatch, played.microbatch)
    assert skipped.start == pytest.approx(played.start, abs=1e-9 * played.duration)
    assert skipped.end == pytest.approx(played.end, abs=1e-9 * played.duration)


@pytest.mark.parametrize("detail", DETAILS)
def test_the_same_input_gives_the_same_bytes(detail: str) -> None:
    layout = PLANS["pp2 interleaved dp2 zero"]
    one, other = (train(layout, cluster_for(layout), small(), detail=detail) for _ in range(2))
    assert one.labels == other.labels
    assert one.tracks == other.tracks
    for column in ("track", "label", "kind", "stage", "microbatch", "start", "end"):
        assert getattr(one, column).tobytes() == getattr(other, column).tobytes(), column
