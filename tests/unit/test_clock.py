"""The clock of a step, its power, and that a GPU with less power is never faster."""

from dataclasses import replace

import pytest

import topologies
from sim import frameworks
from sim.clock import clocked, mean_clock, mean_power, sustained
from sim.costs.power import cold_clock, watts
from sim.layers.context import Context
from sim.plan import Plan
from tests.clusters import cluster_of, gpu, node_of
from tests.programs import plan, small, train, with_node
from topologies.hardware import Cluster

A100 = topologies.load("dgx-a100", 16)
PLAN = plan(tp=4, pp=2, dp=2, num_microbatches=8)


def context(cluster: Cluster, layout: Plan) -> Context:
    return Context(
        model=small(),
        gpu=cluster.gpu,
        framework=frameworks.load("megatron-core"),
        tp=layout.tp,
        sp=layout.sp,
        recompute=layout.recompute,
        micro_batch=layout.micro_batch,
        seq_len=2048,
        precision="bf16",
    )


def limited(watts_at_most: float) -> Cluster:
    """A100s with another power limit; their silicon stays what it is."""
    return with_node(A100, gpu=replace(A100.gpu, power_limit=watts_at_most))


@pytest.mark.parametrize("limit", [150.0, 200.0, 250.0, 300.0, 400.0, 600.0])
def test_a_step_draws_no_more_than_its_limit_while_it_works(limit: float) -> None:
    cluster = limited(limit)
    (kind,) = sustained(context(cluster, PLAN), PLAN, cluster)
    assert watts(cluster.gpu, kind.work, kind.clock) <= limit
    assert kind.clock < cold_clock(cluster.gpu) or limit > 300


def test_a_lower_limit_never_speeds_a_step() -> None:
    seconds = [train(PLAN, limited(limit), seq_len=2048).duration for limit in (150.0, 200.0, 250.0, 300.0, 400.0)]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] > 1.2 * seconds[-1]


def test_a_step_at_a_high_limit_is_that_of_cold_kernels() -> None:
    cluster = limited(570.0)
    assert clocked(context(cluster, PLAN), PLAN, cluster) == cluster


def test_a_bubble_lowers_the_mean_power_but_not_the_clock() -> None:
    """Eight microbatches and one: the same clock, but of one a rank of two waits half the time."""
    cluster = limited(250.0)
    few = replace(PLAN, global_batch=PLAN.dp)
    assert mean_clock(context(cluster, few), few, cluster) == mean_clock(context(cluster, PLAN), PLAN, cluster)
    power = [
        mean_power(context(cluster, one), one, cluster, train(one, cluster, seq_len=2048).duration, 0.0)
        for one in (few, PLAN)
    ]
    assert power[0] < power[1] <= 250.0


def test_folded_ranks_have_the_clock_of_all() -> None:
    cluster = limited(250.0)
    folded, unfolded = (train(PLAN, cluster, seq_len=2048, folded=folded).duration for folded in (True, False))
    assert folded == pytest.approx(unfolded, rel=1e-9)


def test_each_kind_of_gpu_has_its_own_clock() -> None:
    """A node with 400 W to a GPU, one with 200 W: the second is slower, and the mean is of both."""
    capped = replace(gpu(), name="capped", power_limit=200.0)
    cluster = cluster_of((node_of(), 1), (node_of(gpu=capped), 1))
    first, second = sustained(context(cluster, PLAN), PLAN, cluster)
    assert (first.num_gpus, second.num_gpus) == (8, 8)
    assert first.clock > second.clock
    assert mean_clock(context(cluster, PLAN), PLAN, cluster) == (first.clock + second.clock) / 2
    slower = clocked(context(cluster, PLAN), PLAN, cluster)
    rates = [pool.node.gpu.peak_flops["bf16"] / gpu().peak_flops["bf16"] for pool in slower.pools]
    assert rates == pytest.approx([first.clock / 0.95, second.clock / 0.95])
