"""GPUs that are not equally fast: by chance, or because one of them is worn.

Equal GPUs differ by some per cent, for they reach their power limit at different clocks; a job runs at the pace of the
slowest that it waits for [Sinha et al. 2022, "Not all GPUs are created equal": 8 % on average over five clusters].
Ranks that meet in every layer are together as slow as the slowest of them; ranks of a pipeline wait for one another in
every microbatch, replicas once a step. So the loss grows with the number of GPUs, as the largest of many draws does.
"""

from collections.abc import Iterator
from math import lcm

import numpy as np
from numpy.typing import NDArray

from sim.plan import Plan, spans
from topologies.degraded import slow_gpus
from topologies.hardware import Cluster

Slowness = tuple[float, ...]
"""By rank: how many times as long its kernels take."""
CLIPPED = 3.0
"""Standard deviations beyond which no GPU is drawn: one that is slower than that is worn, and should be named so."""
_GRID = np.linspace(-CLIPPED, CLIPPED, 1201)


def slowness(
    plan: Plan, cluster: Cluster, *, jitter: float = 0.0, seed: int = 0, spread: float = 0.0, together: bool = False
) -> Slowness | None:
    """What the ranks' kernels are slowed by; None where none are.

    `jitter` is the standard deviation of a GPU's speed, as a share; speeds are normal, and a GPU has the same in any
    plan. Without it all ranks are as slow as a `spread` of that size makes them on average (GPUs at their power limit;
    others run at the clock that all have). Slow GPUs are named in
    `Cluster.degraded`. `together`: ranks that meet in every layer are played in one piece, as slow as the slowest.
    """
    worn = slow_gpus(cluster)
    if not (jitter or worn or spread):
        return None
    drawn = np.random.default_rng(seed).standard_normal(plan.num_gpus) if jitter else np.zeros(plan.num_gpus)
    speeds = 1 + jitter * np.clip(drawn, -CLIPPED, CLIPPED)
    for gpu, left in worn.items():
        if gpu < plan.num_gpus:
            speeds[gpu] *= left
    expected = 1.0 if jitter else expected_slowdown(plan, spread)
    found = tuple((expected / speeds).tolist())
    return slowest_that_meet(plan, found) if together else found


def slowest_that_meet(plan: Plan, ranks: Slowness) -> Slowness:
    """Each rank as slow as the slowest of those that it meets in every layer: of its tp, cp and ep groups, and theirs.

    Exact where these groups meet before and after all that differs; else a little too slow.
    """
    block = _block(plan)
    slowest = np.array(ranks).reshape(-1, block).max(axis=1)
    return tuple(np.repeat(slowest, block).tolist())


def expected_slowdown(plan: Plan, spread: float) -> float:
    """How much longer kernels take on average, where the speed of equal GPUs has this standard deviation.

    Of m microbatches on p pipeline ranks a step takes (m - 1) times the slowest of all ranks and once each of them
    [Narayanan et al. 2021, of unequal stages], and replicas wait for the slowest: so a share (m - 1)/(m + p - 1) of the
    slowest of all ranks, and for the rest the slowest of those that meet in every layer.
    """
    if not spread:
        return 1.0
    m, p = plan.num_microbatches, plan.pp
    steady = (m - 1) / (m + p - 1) if p > 1 else 1.0
    of_all, of_block = (_expected_slowest(count, spread) for count in (plan.num_gpus, _block(plan)))
    return steady * of_all + (1 - steady) * of_block


def _block(plan: Plan) -> int:
    """So many consecutive ranks meet in every layer."""
    return lcm(plan.tp * plan.cp, plan.expert_tp * plan.ep)


def _expected_slowest(count: int, spread: float) -> float:
    """The mean of the largest slowness of `count` draws: 1/(1 - s) at each of their quantiles."""
    density = np.exp(-(_GRID**2) / 2)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    chance = np.diff((below / below[-1]) ** count)
    middle = (_GRID[1:] + _GRID[:-1]) / 2
    return float(chance @ (1 / (1 - spread * middle)))


def alike_places(plan: Plan, ranks: Slowness) -> tuple[int, ...]:
    """For each place of a pipeline rank, the first whose ranks are as slow in every pipeline rank, and meet the same.

    Places are told apart until all of one kind meet as many of each kind on every axis [colour refinement; Weisfeiler
    and Leman 1968].
    """
    by_place = np.array(ranks).reshape(plan.pp, plan.stride).T
    kinds = _numbered(by_place)
    while True:
        told = _numbered(np.column_stack([kinds, *_met(plan, kinds)]))
        if told.max() == kinds.max():
            break
        kinds = told
    _, first = np.unique(kinds, return_index=True)
    return tuple(first[kinds].tolist())


def _met(plan: Plan, kinds: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """For each axis, which kinds each place meets there, as one number."""
    for step, count in sorted({*spans(plan).values()}):
        groups = kinds.reshape(-1, count, step).transpose(0, 2, 1)
        numbers = _numbered(np.sort(groups.reshape(-1, count), axis=1))
        yield np.repeat(numbers.reshape(-1, 1, step), count, axis=1).reshape(-1)


def _numbered(rows: NDArray[np.generic]) -> NDArray[np.intp]:
    """Equal rows get equal numbers."""
    _, numbers = np.unique(rows, axis=0, return_inverse=True)
    return np.asarray(numbers.reshape(-1), dtype=np.intp)
