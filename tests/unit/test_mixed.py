"""Nodes of different kinds in one job: what is refused, whose memory counts, and against which peak."""

from dataclasses import replace

import pytest

from sim import frameworks
from sim.plan import Plan
from sim.reports import figures
from sim.training import TrainingReport, simulate_training, summarize
from sim.workload import TrainingStep
from tests.clusters import cluster_of, gpu, node_of
from tests.programs import plan, small, train
from topologies.document import InputError
from topologies.hardware import Cluster
from topologies.quantity import GIB

SLOW = replace(gpu(2.0), memory_nbytes=gpu().memory_nbytes / 100)
MIXED = cluster_of((node_of(num_gpus=4), 1), (node_of(num_gpus=4, gpu=SLOW), 1))


def report(layout: Plan, cluster: Cluster) -> TrainingReport:
    step, framework = TrainingStep(seq_len=1024, precision="bf16"), frameworks.load("megatron-core")
    timeline = simulate_training(small(), cluster, layout, step, framework)
    return summarize(timeline, small(), cluster, layout, step, framework)


def test_a_tp_group_on_unequal_gpus_is_refused_with_its_ranks_and_a_way_out() -> None:
    uneven = cluster_of((node_of(num_gpus=6), 1), (node_of(num_gpus=6, gpu=SLOW), 1))
    with pytest.raises(InputError, match=r"ranks 4 to 7 are one tp group on unequal GPUs, .* use a tp that divides 6"):
        train(plan(4, 1, 3), uneven)
    train(plan(2, 1, 6), uneven)


def test_a_tp_group_may_lie_on_nodes_that_differ_by_their_wires_alone() -> None:
    train(plan(8), cluster_of((node_of(num_gpus=4), 1), (node_of("pcie", 4), 1)))


def test_replicas_wait_for_the_one_on_the_slow_gpus() -> None:
    """Half of the replicas on GPUs of half the rate: the step is that of the slow ones."""
    fast = cluster_of((node_of(num_gpus=4), 2))
    slow = cluster_of((node_of(num_gpus=4, gpu=SLOW), 2))
    layout = plan(4, 1, 2)
    assert train(layout, MIXED).duration == pytest.approx(train(layout, slow).duration)
    assert train(layout, MIXED).duration > 1.2 * train(layout, fast).duration


def test_utilisation_is_against_the_mean_peak() -> None:
    made = report(plan(4, 2), MIXED)
    peak = gpu().peak_flops["bf16"] * (1 + 1 / 2) / 2
    assert made.result["mfu"] == pytest.approx(made.result["model_tflops_per_gpu"] * 1e12 / peak)  # type: ignore[operator]


def test_each_pipeline_rank_must_fit_the_gpu_that_it_stands_on() -> None:
    """The first stage fits its A100s; the second stands on a hundredth of their memory."""
    made = report(plan(4, 2), MIXED)
    assert not made.fits
    assert "Out of memory on pipeline rank 1:" in made.notes[0]
    assert made.memory_capacity_gib == (gpu().memory_nbytes / GIB, SLOW.memory_nbytes / GIB)
    assert [held.fits for held in figures.holdings(made)] == [True, False]
    assert figures.warning(made).startswith(f"Out of memory: {made.result['peak_reserved_gib'][1]:.1f} GiB needed of")  # type: ignore[index]
    assert report(plan(4, 2), cluster_of((node_of(num_gpus=4), 2))).fits


def test_a_precision_that_one_of_the_gpus_lacks_is_refused() -> None:
    old = replace(SLOW, name="old", peak_flops={"fp16": 1e14})
    with pytest.raises(InputError, match="old has no bf16; use fp16"):
        train(plan(4, 2), cluster_of((node_of(num_gpus=4), 1), (node_of(num_gpus=4, gpu=old), 1)))
