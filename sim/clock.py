"""The clock that each kind of GPU sustains in a step, and the power that it draws.

The power limit is kept over some milliseconds: longer than a kernel, shorter than a pipeline bubble. So what counts is
the mean over the layers that a rank works through, with the communication that they wait for, and not the bubble.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial

from sim.costs.power import Work, at_clock, cold_clock, sustained_clock, watts
from sim.detail import condenser
from sim.instructions import Compute
from sim.layers import stage as stage_of_model
from sim.layers.context import COMPUTE, Context
from sim.lowering import Groups, inner_groups
from sim.plan import Plan
from topologies.hardware import Cluster, Gpu, Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sustained:
    """A kind of GPU in a step: how many of it are used, their clock as a share of the boost clock, and what one
    microbatch is to all stages together at that clock."""

    gpu: Gpu
    num_gpus: int
    clock: float
    work: Work


@lru_cache(maxsize=8)
def sustained(context: Context, plan: Plan, cluster: Cluster) -> tuple[Sustained, ...]:
    """Each kind of GPU that the plan uses at its clock, in the order of the cluster's pools."""
    return tuple(_sustained(context, plan, cluster, pool, first) for pool, first in _used_pools(plan, cluster))


def clocked(context: Context, plan: Plan, cluster: Cluster) -> Cluster:
    """The cluster with its GPUs at the clocks that they sustain; pools that the plan does not use are as they are."""
    used = [_at(pool, kind.clock) for pool, kind in zip(cluster.pools, sustained(context, plan, cluster), strict=False)]
    return replace(cluster, pools=(*used, *cluster.pools[len(used) :]))


def mean_clock(context: Context, plan: Plan, cluster: Cluster) -> float:
    """The mean clock of the GPUs used, as a share of the boost clock."""
    return sum(kind.num_gpus * kind.clock for kind in sustained(context, plan, cluster)) / plan.num_gpus


def is_limited(context: Context, plan: Plan, cluster: Cluster) -> bool:
    """Whether a GPU comes to its power limit: only then are equal GPUs not equally fast, as each has its own clock
    there [Sinha et al. 2022]. One whose clock is held stands for one at its limit."""
    kinds = sustained(context, plan, cluster)
    return any(kind.clock < cold_clock(kind.gpu) or kind.gpu.power_limit == math.inf for kind in kinds)


def mean_power(context: Context, plan: Plan, cluster: Cluster, seconds: float, optimizer: float) -> float:
    """Watts of a GPU in a step of so many seconds, `optimizer` of them in the optimizer, the mean over those used.

    Bytes of the pipeline's messages and of the gradients' sums are left out: they add less than 1 % of the power.
    """
    times = plan.num_microbatches / plan.pp
    total = 0.0
    for kind in sustained(context, plan, cluster):
        memory = kind.work.memory * times + optimizer * kind.gpu.fit["memory_efficiency"]
        step = Work(seconds, kind.work.math * times, memory, kind.work.link * times)
        total += kind.num_gpus * watts(kind.gpu, step, kind.clock)
    return total / plan.num_gpus


def _sustained(context: Context, plan: Plan, cluster: Cluster, pool: Pool, first: int) -> Sustained:
    gpu = pool.node.gpu
    work_at = cache(partial(_work, context, plan, cluster, gpu, inner_groups(plan, first)))
    clock = sustained_clock(gpu, work_at)
    return Sustained(gpu=gpu, num_gpus=min(pool.num_gpus, plan.num_gpus - first), clock=clock, work=work_at(clock))


def _work(context: Context, plan: Plan, cluster: Cluster, gpu: Gpu, groups: Groups, clock: float) -> Work:
    """What one microbatch is to all stages together, on this kind of GPU, in these groups, at a clock."""
    own = replace(context, gpu=at_clock(gpu, clock))
    passes = list(_passes(own, plan, cluster, groups))
    return Work(
        seconds=sum(count * whole.duration for count, whole in passes),
        math=sum(count * whole.duration * whole.load.math for count, whole in passes) * clock / cold_clock(gpu),
        memory=sum(count * whole.duration * whole.load.memory for count, whole in passes),
        link=sum(count * whole.duration * whole.load.link for count, whole in passes),
    )


def _passes(context: Context, plan: Plan, cluster: Cluster, groups: Groups) -> Iterator[tuple[int, Compute]]:
    """The pieces of forward and backward of each different stage, and how many stages there are like it."""
    condense = condenser(cluster, context.framework, "layer")
    for stage, count in Counter(stage_of_model.stages(context, plan)).items():
        for pieces in (stage_of_model.forward, stage_of_model.backward):
            for piece in pieces(context, stage):
                for one in condense.piece(piece.name, piece.work, groups)[COMPUTE]:
                    assert isinstance(one, Compute)
                    yield count, one


def _used_pools(plan: Plan, cluster: Cluster) -> Iterator[tuple[Pool, int]]:
    """The pools that the plan uses, each with its first rank."""
    first = 0
    for pool in cluster.pools:
        if first < plan.num_gpus:
            yield pool, first
        first += pool.num_gpus


def _at(pool: Pool, clock: float) -> Pool:
    return replace(pool, node=replace(pool.node, gpu=at_clock(pool.node.gpu, clock)))
