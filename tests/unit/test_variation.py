"""GPUs that are not equally fast: who is told apart, what the slowest costs, and what that is on average."""

from dataclasses import replace
from statistics import mean

import pytest

import topologies
from sim import frameworks
from sim.folding import fold
from sim.plan import Plan
from sim.timeline import Timeline, breakdown
from sim.training import simulate_training
from sim.variation import alike_places, expected_slowdown, slowest_that_meet, slowness
from sim.workload import TrainingStep
from tests.programs import plan, small, train
from topologies.hardware import Cluster


def worn(num_gpus: int, degraded: dict[str, float]) -> Cluster:
    return replace(topologies.load("dgx-h100", num_gpus), degraded=degraded)


def one_slow(layout: Plan, rank: int) -> tuple[float, ...]:
    return tuple(1.25 if other == rank else 1.0 for other in range(layout.num_gpus))


def test_equal_gpus_are_not_slowed() -> None:
    assert slowness(plan(8), topologies.load("dgx-h100", 8)) is None


def test_a_slow_gpu_is_told_by_its_number_or_by_its_node() -> None:
    """Four fifths of the speed is a quarter more time; GPUs that the plan does not use do not matter."""
    for name in ("gpu 9", "node 1 gpu 1"):
        found = slowness(plan(8, 2), worn(16, {name: 0.8}))
        assert found == tuple(1.25 if rank == 9 else 1.0 for rank in range(16))
    assert slowness(plan(8), worn(16, {"gpu 9": 0.8})) == (1.0,) * 8


def test_a_gpu_has_its_speed_in_any_plan() -> None:
    cluster = topologies.load("dgx-h100", 16)
    few, many = (slowness(plan(dp=dp), cluster, jitter=0.02, seed=3) for dp in (8, 16))
    assert few is not None
    assert many is not None
    assert few == many[:8]
    assert slowness(plan(dp=8), cluster, jitter=0.02, seed=4) != few


def test_ranks_that_meet_in_every_layer_are_as_slow_as_the_slowest() -> None:
    layout = plan(2, 1, 4)
    assert slowest_that_meet(layout, one_slow(layout, 3)) == (1.0, 1.0, 1.25, 1.25, 1.0, 1.0, 1.0, 1.0)


def test_a_slow_gpu_unfolds_its_own_pipeline_alone() -> None:
    """Rank 19 of TP8 x DP4 x PP2: its tp group, 16 to 23, and the one before or behind it in the pipeline."""
    layout = plan(8, 2, 4)
    slow = slowest_that_meet(layout, one_slow(layout, 19))
    found = fold(layout, topologies.load("dgx-h100", 64), slow)
    assert dict(found.ranks_folded) == {0: 24, 16: 8, 32: 24, 48: 8}


def test_with_shards_of_weights_those_who_gather_with_the_slow_one_are_told_apart() -> None:
    """Of 64 replicas in shards of 8 rank 5 is slow: 7 gather with it; 7 others hold what it holds; 49 neither."""
    layout = plan(1, 1, 64, zero=3, shard=8)
    places = alike_places(layout, one_slow(layout, 5))
    assert sorted(places.count(place) for place in {*places}) == [1, 7, 7, 49]


@pytest.mark.parametrize("zero", [0, 1, 3])
@pytest.mark.parametrize("detail", ["layer", "kernel"])
def test_folded_is_unfolded_where_a_gpu_is_slow(zero: int, detail: str) -> None:
    layout = plan(2, 2, 8, zero=zero)
    cluster = worn(32, {"gpu 5": 0.8})
    folded, whole = (train(layout, cluster, small("gpt-1.7b"), detail=detail, folded=each) for each in (True, False))
    assert len(folded.tracks) < len(whole.tracks)
    assert folded.duration == pytest.approx(whole.duration, rel=1e-9)
    assert breakdown(folded) == pytest.approx(breakdown(whole), abs=1e-9)


def test_a_slow_gpu_holds_up_the_whole_step() -> None:
    layout = plan(1, 1, 8)
    usual, held_up = (train(layout, worn(8, what), small("gpt-1.7b")).duration for what in ({}, {"gpu 5": 0.5}))
    assert 1.4 * usual < held_up < 2 * usual


def test_detail_agrees_about_a_slow_gpu() -> None:
    """Layer and stage detail stretch what computes in a piece and leave what was exposed."""
    layout = plan(8, 2, 2, sp=True)
    kernel, layer, stage = (
        train(layout, worn(32, {"gpu 5": 0.9}), small(), detail=each).duration for each in ("kernel", "layer", "stage")
    )
    assert layer == pytest.approx(kernel, rel=5e-3)
    assert stage == pytest.approx(layer, rel=5e-3)


@pytest.mark.parametrize("layout", [plan(1, 1, 32), plan(4, 4, 2, num_microbatches=16), plan(8, 1, 4)])
def test_the_expected_slowdown_is_the_mean_over_draws(layout: Plan) -> None:
    """Within a fifth of it: a step also has what no kernel's speed changes."""
    cluster, spread = topologies.load("dgx-h100", 32), 0.02
    usual = played(layout, cluster)
    busy = breakdown(usual)
    changed = 1 - sum(part for key, part in busy.items() if key.startswith("exposed") or key == "host")
    drawn = [played(layout, cluster, jitter=spread, seed=seed).duration for seed in range(24)]
    measured = (mean(drawn) / usual.duration - 1) / changed
    assert expected_slowdown(layout, spread) - 1 == pytest.approx(measured, rel=0.2)


def played(layout: Plan, cluster: Cluster, **how: object) -> Timeline:
    """A step whose kernels are long enough for the host, of equally fast GPUs where nothing else is said."""
    step, framework = TrainingStep(seq_len=8192, precision="bf16"), frameworks.load("megatron-core")
    model = small("llama3-8b", 8)
    return simulate_training(model, cluster, layout, step, replace(framework, gpu_spread=0.0), **how)  # type: ignore[arg-type]


def test_more_gpus_wait_longer_for_the_slowest() -> None:
    """Of one GPU the mean is 1 + s^2; of many it grows as the largest of so many normal draws: 2.25 s of 50."""
    found = [expected_slowdown(plan(dp=dp), 0.01) for dp in (1, 8, 50, 4096)]
    assert found == sorted(found)
    assert found[0] == pytest.approx(1.0001, abs=2e-5)
    assert found[2] == pytest.approx(1 / (1 - 0.01 * 2.25), rel=1e-3)
