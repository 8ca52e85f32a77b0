"""Who uses which wires: the groups and the messages of a plan, and the bytes that each puts onto every wire.

Bytes are relative to one byte of the message, or of the collective's chain: how much is sent, and when, is lowering's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from sim.costs.collectives import footprint
from sim.costs.collectives.chain import Load
from sim.costs.collectives.point_to_point import send
from sim.plan import Axis, Plan, groups
from topologies.hardware import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What one group does whenever it meets, one rank whenever it sends to another; or what a rank stands on.

    `kind` is the group's axis, "send" or "gpu"; `facts` are start-ups in seconds, or what kind of GPU it is; `crossing`
    is that of the activities.
    """

    kind: str
    ranks: tuple[int, ...]
    facts: tuple[float, ...]
    loads: tuple[Load, ...]
    crossing: float = 1.0


@lru_cache(maxsize=8)
def uses(plan: Plan, cluster: Cluster) -> tuple[Use, ...]:
    """All that a step of the plan puts onto the wires."""
    return (*_groups(plan, cluster), *_messages(plan, cluster), *_gpus(plan, cluster))


def _groups(plan: Plan, cluster: Cluster) -> Iterator[Use]:
    axes: tuple[Axis, ...] = ("tp", "dp", "embedding")
    for axis in axes:
        for ranks in groups(plan, axis):
            if len(ranks) > 1:
                starts, loads_of = footprint(cluster, ranks)
                for crossing, loads in loads_of.items():
                    yield Use(kind=axis, ranks=ranks, facts=starts, loads=loads, crossing=crossing)


def _messages(plan: Plan, cluster: Cluster) -> Iterator[Use]:
    """Both ways between neighbours; where ranks have several chunks, also between the last rank and the first."""
    last = plan.pp - 1
    pairs = [pair for p in range(last) for pair in ((p, p + 1), (p + 1, p))]
    pairs += [(last, 0), (0, last)] if plan.vpp > 1 else []
    stride = plan.tp * plan.dp
    for sender, receiver in dict.fromkeys(pairs):
        for place in range(stride):
            ranks = sender * stride + place, receiver * stride + place
            message = send(cluster, *ranks, 1.0)
            yield Use(kind="send", ranks=ranks, facts=(message.latency,), loads=message.loads)


def _gpus(plan: Plan, cluster: Cluster) -> Iterator[Use]:
    """Where nodes differ, what kind of GPU each rank stands on."""
    if cluster.is_mixed:
        kinds = [pool.node.gpu for pool in cluster.pools]
        for rank in range(plan.num_gpus):
            yield Use(kind="gpu", ranks=(rank,), facts=(kinds.index(cluster.gpu_at(rank)),), loads=())
