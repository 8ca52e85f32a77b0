"""Who uses which wires: the groups and the messages of a plan, and the bytes that each puts onto every wire.

Bytes are relative to one byte of the message, or of the pattern in which a group's bytes lie on the wires: how much is
sent, and when, is lowering's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from sim.costs.collectives import footprint
from sim.costs.collectives.all_to_all import all_to_all
from sim.costs.collectives.chain import Load, members
from sim.costs.collectives.exchange import spread
from sim.costs.collectives.point_to_point import exchange, send
from sim.instructions import Pattern
from sim.plan import Axis, Plan, groups, has_two_models, homes
from topologies.hardware import Cluster
from topologies.quantity import GIGA

CHAINED: tuple[Axis, ...] = (
    "tp",
    "cp",
    "dp",
    "ep",
    "etp",
    "experts",
    "edp",
    "shard",
    "replica",
    "eshard",
    "ereplica",
    "pp",
    "embedding",
)
"""Axes on which groups meet in collectives."""
BETWEEN: tuple[Pattern, ...] = ("inside", "pxn", "aligned")
"""Patterns of all-to-all, and of DeepEP's dispatch and combine."""
SIZES = (1.0, GIGA)
"""Bytes at which start-ups are compared: the smallest and the largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What one group does whenever it meets, one rank whenever it sends to another; or what a rank stands on.

    `kinds` are the axes that have this very group, or "send" or "gpu"; `facts` are start-ups in seconds, or what kind
    of GPU it is; `pattern` is that of the activities.
    """

    kinds: tuple[str, ...]
    ranks: tuple[int, ...]
    facts: tuple[float, ...]
    loads: tuple[Load, ...]
    pattern: Pattern = "message"


@lru_cache(maxsize=8)
def uses(plan: Plan, cluster: Cluster) -> tuple[Use, ...]:
    """All that a step of the plan puts onto the wires."""
    return (*_groups(plan, cluster), *_messages(plan, cluster), *_gpus(plan, cluster))


def _groups(plan: Plan, cluster: Cluster) -> Iterator[Use]:
    for axes, found in _different_groups(plan).items():
        for ranks in found:
            for pattern, (facts, loads) in _patterns(plan, cluster, axes, ranks).items():
                yield Use(kinds=axes, ranks=ranks, facts=facts, loads=loads, pattern=pattern)


def _different_groups(plan: Plan) -> dict[tuple[str, ...], list[tuple[int, ...]]]:
    """The groups of several ranks, and the axes that have the very same."""
    axes_of: dict[tuple[int, ...], list[str]] = {}
    found: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for axis in CHAINED:
        own = [ranks for ranks in groups(plan, axis) if len(ranks) > 1]
        if own:
            axes_of.setdefault(own[0], []).append(axis)
            found[own[0]] = own
    if has_two_models(plan):
        mirrored = [ranks for p in range(plan.pp // 2) for ranks in _mirrored(plan, p)]
        axes_of.setdefault(mirrored[0], []).append("mirror")
        found[mirrored[0]] = mirrored
    return {tuple(axes): found[first] for first, axes in axes_of.items()}


def _mirrored(plan: Plan, p: int) -> list[tuple[int, ...]]:
    """Ranks of a pipeline rank, each with the one that holds the same stages of the second model."""
    stride, other = plan.stride, plan.pp - 1 - p
    return [(p * stride + place, other * stride + place) for place in range(stride)]


def _patterns(
    plan: Plan, cluster: Cluster, axes: Sequence[str], ranks: tuple[int, ...]
) -> Mapping[Pattern, tuple[tuple[float, ...], tuple[Load, ...]]]:
    """In which patterns a group may send: its start-ups, and bytes over each wire."""
    starts, chains = footprint(cluster, ranks)
    found: dict[Pattern, tuple[tuple[float, ...], tuple[Load, ...]]] = {}
    found |= {crossing: (starts, loads) for crossing, loads in chains.items()}
    if ("cp" in axes and plan.cp_kind == "ring") or ("tp" in axes and has_user_buffers(plan, cluster)):
        steps = [exchange(cluster, ranks, nbytes) for nbytes in SIZES]
        found["exchange"] = tuple(step.latency for step in steps), exchange(cluster, ranks, 1.0).loads
    if is_exchanged(plan, axes):
        whole = [all_to_all(cluster, ranks, nbytes) for nbytes in SIZES]
        facts = len(members(cluster, ranks)), cluster.pool_of(ranks[0]), *(each.latency for each in whole)
        found |= {pattern: (facts, spread(cluster, ranks, pattern)) for pattern in BETWEEN}
    return found


def has_user_buffers(plan: Plan, cluster: Cluster) -> bool:
    """Whether tp ranks could pass pieces on beside their products: they write into each other's memory over NVLink
    [Transformer Engine, userbuffers]."""
    return plan.sp and all(
        pool.node.layout == "nvswitch" and pool.num_gpus % plan.tp == 0 and pool.node.num_gpus % plan.tp == 0
        for pool in cluster.pools
    )


def is_exchanged(plan: Plan, axes: Sequence[str]) -> bool:
    """Whether groups of these axes send from each to each: tokens to experts, heads for tokens, int8 gradients."""
    compressed = plan.compression == "int8" and bool({"dp", "edp", "shard", "replica"} & {*axes})
    has_spread = plan.ep > 1 or plan.expert_tp != plan.tp
    return (
        (has_spread and bool({"ep", "experts"} & {*axes}))
        or ("cp" in axes and plan.cp_kind == "all-to-all")
        or compressed
    )


def _messages(plan: Plan, cluster: Cluster) -> Iterator[Use]:
    """Both ways between the pipeline ranks that hold neighbouring stages."""
    stride = plan.stride
    for sender, receiver in _pairs(plan):
        for place in range(stride):
            ranks = sender * stride + place, receiver * stride + place
            message = send(cluster, *ranks, 1.0)
            yield Use(kinds=("send",), ranks=ranks, facts=(message.latency,), loads=message.loads)


def _pairs(plan: Plan) -> Sequence[tuple[int, int]]:
    """Sender and receiver: a stage's input comes from the rank of the stage before, its gradient goes back there."""
    ways = [way for pair in pairwise(homes(plan)) for way in (pair, pair[::-1])]
    return [pair for pair in dict.fromkeys(ways) if pair[0] != pair[1]]


def _gpus(plan: Plan, cluster: Cluster) -> Iterator[Use]:
    """Where nodes differ, what kind of GPU each rank stands on."""
    if cluster.is_mixed:
        kinds = [pool.node.gpu for pool in cluster.pools]
        for rank in range(plan.num_gpus):
            yield Use(kinds=("gpu",), ranks=(rank,), facts=(kinds.index(cluster.gpu_at(rank)),), loads=())
