"""Collectives as activities: a latency, then bytes over wires, no faster than protocol and channels allow.

Between GPUs they are NCCL's; between processes of one machine those of Gloo (gloo.py).

`nbytes` is the size as nccl-tests defines it: the buffer of an all-reduce or broadcast, the gathered total of an
all-gather, the input of a reduce-scatter. A group of one GPU does nothing and costs nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from sim.costs.collectives import gloo
from sim.costs.collectives.all_to_all import all_to_all
from sim.costs.collectives.chain import Load, members, shares
from sim.costs.collectives.deepep import combine, dispatch
from sim.costs.collectives.group import group_of
from sim.costs.collectives.nccl import chosen, in_common, index_of
from sim.costs.collectives.point_to_point import exchange
from sim.costs.collectives.way import Way, channels, parts
from sim.instructions import Activity, Collective, CollectiveOperation
from topologies.fabric import capacity
from topologies.hardware import Cluster

Collect = Callable[[Cluster, Sequence[int], float], Activity]


def all_reduce(cluster: Cluster, gpus: Sequence[int], nbytes: float) -> Activity:
    """Ring, tree, NVLS, NVLSTree or CollNet, as NCCL's tuner chooses."""
    return collective(cluster, gpus, "all_reduce", nbytes)


def all_gather(cluster: Cluster, gpus: Sequence[int], nbytes: float) -> Activity:
    """A ring, or PAT; `nbytes` is the gathered total."""
    return collective(cluster, gpus, "all_gather", nbytes)


def reduce_scatter(cluster: Cluster, gpus: Sequence[int], nbytes: float) -> Activity:
    """A ring, or PAT, the all-gather backwards; `nbytes` is each rank's input."""
    return collective(cluster, gpus, "reduce_scatter", nbytes)


def broadcast(cluster: Cluster, gpus: Sequence[int], nbytes: float) -> Activity:
    """Once round a ring; `nbytes` is the buffer."""
    return collective(cluster, gpus, "broadcast", nbytes)


COLLECTIVES: Final[Mapping[CollectiveOperation, Collect]] = {
    "all_reduce": all_reduce,
    "all_gather": all_gather,
    "reduce_scatter": reduce_scatter,
    "broadcast": broadcast,
    "all_to_all": all_to_all,
    "exchange": lambda cluster, gpus, nbytes: exchange(cluster, tuple(gpus), nbytes),
}


def activity_of(cluster: Cluster, gpus: Sequence[int], instruction: Collective) -> Activity:
    """What a collective of these GPUs does to the wires."""
    if cluster.library == "gloo" and instruction.operation != "exchange":
        return gloo.collective(cluster, gpus, instruction.operation, instruction.nbytes)
    if instruction.operation == "dispatch" or instruction.operation == "combine":
        assert instruction.tokens is not None
        kernel = dispatch if instruction.operation == "dispatch" else combine
        return kernel(cluster, gpus, instruction.tokens)
    return COLLECTIVES[instruction.operation](cluster, gpus, instruction.nbytes)


def collective(cluster: Cluster, gpus: Sequence[int], operation: CollectiveOperation, nbytes: float) -> Activity:
    """The activity of one of NCCL's operations among these GPUs, or of Gloo's."""
    if cluster.library == "gloo":
        return gloo.collective(cluster, gpus, operation, nbytes)
    return _activity(cluster, tuple(gpus), operation, nbytes)


@lru_cache(maxsize=512)
def _activity(cluster: Cluster, gpus: tuple[int, ...], operation: CollectiveOperation, nbytes: float) -> Activity:
    """Few are kept: among thousands of GPUs each has a load for every wire."""
    if len(gpus) == 1 or nbytes == 0:
        return Activity(latency=0.0, loads=())
    found, lies = _laid(cluster, gpus, operation)
    way = found[index_of(nbytes)]
    latency, data = parts(way, nbytes)
    loads, busiest = lies[way.crossing]
    on_chain = nbytes * way.chain
    return Activity(
        latency=latency,
        loads=tuple([(wire, share * on_chain) for wire, share in loads]),
        patterns=((way.crossing, on_chain),),
        ceiling=busiest * on_chain / data,
        num_sms=channels(way, nbytes),
    )


def alone(cluster: Cluster, activity: Activity) -> float:
    """Seconds of an activity that shares its wires with nobody."""
    wires = max((nbytes / capacity(cluster, wire) for wire, nbytes in activity.loads), default=0.0)
    return activity.latency + max(wires, activity.nbytes / activity.ceiling)


def footprint(cluster: Cluster, gpus: Sequence[int]) -> tuple[tuple[float, ...], Mapping[float, tuple[Load, ...]]]:
    """What all collectives of a group have in common: the figures of every way that NCCL may take, and for
    each `crossing` that they may have, bytes over each wire for each byte of a chain."""
    if cluster.library == "gloo":
        return gloo.footprint(cluster, gpus)
    if len(gpus) == 1:
        return (), {}
    group = tuple(gpus)
    facts, crossings = in_common(group_of(cluster, group))
    return facts, {crossing: _lie(cluster, group, crossing)[0] for crossing in crossings}


Lie = tuple[tuple[Load, ...], float]
"""How chains of a group lie on its nodes: loads for each byte, and that of the busiest wire."""


@lru_cache(maxsize=4096)
def _laid(
    cluster: Cluster, gpus: tuple[int, ...], operation: CollectiveOperation
) -> tuple[tuple[Way, ...], Mapping[float, Lie]]:
    """NCCL's choices by size, and how the chains of each lie."""
    found = chosen(group_of(cluster, gpus), operation)
    return found, {crossing: _lie(cluster, gpus, crossing) for crossing in {way.crossing for way in found}}


@lru_cache(maxsize=1024)
def _lie(cluster: Cluster, gpus: tuple[int, ...], crossing: float) -> Lie:
    loads = shares(cluster, members(cluster, gpus), crossing)
    return loads, max(share for _, share in loads)
