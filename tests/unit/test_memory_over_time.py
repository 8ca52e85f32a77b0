"""Memory over the step: its highest level is the schedule's peak, its file is bounded, its picture covers the step."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import topologies
from sim import frameworks
from sim.layers.context import Context
from sim.memory import HOLDINGS, MemoryOverTime, memory_csv, memory_over_time, memory_use
from sim.memory.over_time import MOST_LEVELS, _Played, _times, thinned
from sim.plan import Plan
from sim.reports import memory_chart
from sim.schedules import Action
from sim.timeline import Label, Timeline, Track
from sim.training import context_of
from sim.workload import TrainingStep
from tests.programs import plan, small, train
from topologies.quantity import GIB

CLUSTER = topologies.load("dgx-a100", 8)
PLANS = {
    "alone": plan(),
    "1f1b": plan(pp=4, num_microbatches=6),
    "gpipe": plan(pp=2, num_microbatches=3, schedule="gpipe", recompute="full"),
    "interleaved": plan(tp=2, pp=2, vpp=2, schedule="interleaved", num_microbatches=4),
    "zb-h1": plan(pp=4, num_microbatches=6, schedule="zb-h1"),
    "zb-v": plan(pp=2, vpp=2, num_microbatches=6, schedule="zb-v"),
    "dualpipe": plan(pp=4, num_microbatches=8, schedule="dualpipe"),
    "sharded": plan(dp=4, num_microbatches=2, zero=3),
}


def context(layout: Plan) -> Context:
    step = TrainingStep(seq_len=1024, precision="bf16")
    return context_of(small(), CLUSTER, layout, step, frameworks.load("megatron-core"))


@cache
def played(name: str) -> tuple[Timeline, tuple[MemoryOverTime, ...]]:
    timeline = train(PLANS[name], CLUSTER)
    return timeline, memory_over_time(context(PLANS[name]), PLANS[name], timeline)


@pytest.mark.parametrize("name", PLANS)
def test_the_highest_level_is_the_peak_of_the_schedule(name: str) -> None:
    uses = memory_use(context(PLANS[name]), PLANS[name])
    _, over_time = played(name)
    assert [one.rank for one in over_time] == list(range(PLANS[name].pp))
    for one, use in zip(over_time, uses, strict=True):
        highest = one.nbytes[one.totals.argmax()]
        assert one.totals.max() == pytest.approx(use.total, rel=1e-12)
        assert dict(zip(HOLDINGS, highest.tolist(), strict=True)) == pytest.approx(use.by_holding(), rel=1e-12)


@pytest.mark.parametrize("name", PLANS)
def test_levels_go_from_the_beginning_of_the_step_to_its_end(name: str) -> None:
    """At both ends a rank holds what it always holds."""
    timeline, over_time = played(name)
    activations = HOLDINGS.index("activations")
    for one in over_time:
        assert one.times[0] == 0.0
        assert np.all(np.diff(one.times) >= 0)
        assert one.times[-1] <= timeline.duration
        assert one.nbytes[:, activations].min() >= 0
        assert one.nbytes[0] == pytest.approx(one.nbytes[-1])
        assert one.nbytes[0, activations] == 0.0


def test_activations_come_when_their_forward_starts_and_go_when_their_backward_ends() -> None:
    """The second of four ranks in 1F1B keeps three microbatches: as its fourth backward begins there are as many."""
    timeline, over_time = played("1f1b")
    one = over_time[1]
    rows = [row for row in range(len(timeline.track)) if timeline.tracks[timeline.track[row]].rank == 1]
    compute = [row for row in rows if timeline.tracks[timeline.track[row]].stream == "compute"]
    busy = [row for row in compute if not timeline.labels[timeline.label[row]].is_stall and timeline.kind[row] >= 0]
    first = min(timeline.start[row] for row in busy)
    last = max(timeline.end[row] for row in busy)
    held = one.nbytes[:, HOLDINGS.index("activations")]
    assert one.times[np.flatnonzero(held)[0]] == first
    assert one.times[np.flatnonzero(held)[-1] + 1] == pytest.approx(last)


def test_the_forward_of_a_pair_is_over_when_its_backward_begins() -> None:
    """Both run as one: the forward takes its input from 0 s to 1 s and hands its output over from 4 s to 5 s, the
    backward runs from 1 s to 4 s, and what the forward brings is there all the while. An action without a span of its
    own is where the next begins."""
    pair = [Action("F", 0, 1), Action("B", 0, 0), Action("F", 0, 2), Action("B", 0, 1)]
    kinds, microbatches = [0, 1, 0, 1], [1, 0, 1, 1]
    timeline = Timeline(
        tracks=(Track(rank=0, stream="compute", ranks_folded=1),),
        labels=(Label(name="kernel", category="compute"),),
        track=np.zeros(4, np.int32),
        label=np.zeros(4, np.int32),
        kind=np.array(kinds, np.int8),
        stage=np.zeros(4, np.int32),
        microbatch=np.array(microbatches, np.int32),
        start=np.array([0.0, 1.0, 4.0, 5.0]),
        end=np.array([1.0, 4.0, 5.0, 8.0]),
        duration=9.0,
    )
    starts, ends = _times(_Played(timeline), 0, pair)
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == [(0, 1), (1, 4), (5, 5), (5, 8)]


def test_dualpipe_keeps_two_copies_of_the_parameters() -> None:
    """Rank r of 4 has the stages r and 3 - r of the model; so all hold what two ranks of 1F1B do, its mirror's too."""
    double, single = (memory_use(context(PLANS[name]), PLANS[name]) for name in ("dualpipe", "1f1b"))
    expected = [single[rank].weights + single[3 - rank].weights for rank in range(4)]
    assert [use.weights for use in double] == pytest.approx(expected)


def test_thinning_keeps_the_peak_and_the_beginning() -> None:
    count = 1000
    nbytes = np.zeros((count, len(HOLDINGS)))
    nbytes[:, 0] = np.sin(np.arange(count)) + 2
    nbytes[537, 0] = 9.0
    one = MemoryOverTime(rank=0, times=np.arange(count) / 10, nbytes=nbytes)
    few = thinned(one, 7)
    assert len(few.times) == 7
    assert few.times[0] == 0.0
    assert few.totals.max() == 9.0
    assert thinned(one, count) is one


def test_the_file_has_a_line_per_level_and_is_bounded() -> None:
    _, over_time = played("1f1b")
    header, *lines = memory_csv(over_time).splitlines()
    assert header.split(",") == ["rank", "time_s", *(f"{name}_gib" for name in HOLDINGS), "total_gib"]
    assert len(lines) == sum(len(one.times) for one in over_time)
    for line in lines:
        _, _, *amounts, total = map(float, line.split(","))
        assert sum(amounts) == pytest.approx(total, rel=1e-4)
    assert max(float(line.split(",")[-1]) for line in lines) * GIB == pytest.approx(
        max(one.totals.max() for one in over_time), rel=1e-4
    )
    long = [replace_times(one, 5000) for one in over_time]
    assert len(memory_csv(long).splitlines()) <= MOST_LEVELS + 1
    assert memory_csv([]).count("\n") == 1


def replace_times(one: MemoryOverTime, count: int) -> MemoryOverTime:
    return replace(one, times=np.linspace(0, 1, count), nbytes=np.resize(one.nbytes, (count, len(HOLDINGS))))


def test_the_chart_shows_the_first_the_last_and_the_tightest_rank() -> None:
    """Of 4 ranks with room for 40, 30, 20 and 30 GiB, where 10 are taken: rank 2, and 1 or 3, have least to spare."""
    _, over_time = played("1f1b")
    charts = memory_chart.charts(over_time, (40.0, 30.0, 20.0, 30.0), (10.0,) * 4)
    assert [chart.rank for chart in charts] == [0, 1, 2, 3]
    assert len(memory_chart.charts(over_time[:1], (40.0,), (10.0,))) == 1
    assert memory_chart.charts((), (), ()) == ()
    assert [chart.capacity for chart in charts] == [0.0, 25.0, 50.0, 25.0]
    assert {chart.reserved for chart in charts} == {75.0}


def test_areas_of_a_chart_lie_one_on_another_and_cover_the_step() -> None:
    """Paths go from the left edge to the right one; the top of the last is the peak."""
    nbytes = np.zeros((3, len(HOLDINGS)))
    nbytes[:, HOLDINGS.index("weights")] = 10 * GIB
    nbytes[1, HOLDINGS.index("activations")] = 20 * GIB
    one = MemoryOverTime(rank=0, times=np.array([0.0, 2.0, 4.0]), nbytes=nbytes)
    (chart,) = memory_chart.charts((one,), (40.0,), (30.0,))
    weights, activations = chart.areas
    assert weights.path == "M0.0,100.0V75.0H1000.0V100.0H0.0Z"
    assert activations.path == "M0.0,75.0V75.0H500.0V25.0H1000.0V75.0H1000.0V75.0H0.0Z"
    assert chart.peak == 50.0
    assert (weights.letter_at, activations.letter_at) == (87.5, 50.0)
    assert chart.said == "pipeline rank 0: from 10.0 to 30.0 GiB"
