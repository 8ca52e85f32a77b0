"""Collectives as activities: a latency, then bytes over wires. NCCL picks the faster of ring and tree.

`nbytes` is the size as nccl-tests defines it: the buffer of an all-reduce, the gathered total of an all-gather, the
input of a reduce-scatter. A group of one GPU does nothing and costs nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from sim.costs.collectives.chain import Chain, Load, Members, members, seconds_per_byte, shares
from sim.costs.collectives.ring import ring
from sim.costs.collectives.tree import crossings, tree
from sim.instructions import Activity, CollectiveOperation
from topologies.fabric import capacity
from topologies.hardware import Cluster

Collect = Callable[[Cluster, Sequence[int], float], Activity]


def all_reduce(cluster: Cluster, gpus: Sequence[int], nbytes: float) -> Activity:
    """Ring or tree, whichever is faster with the wires to itself, as NCCL's tuner chooses [NCCL, tuning.cc]."""
    return _fastest(cluster, gpus, lambda held: (ring(cluster, held, nbytes, 2), tree(cluster, held, nbytes)))


def all_gather(cluster: Cluster, gpus: Sequence[int], nbytes: float) -> Activity:
    """A ring; `nbytes` is the gathered total."""
    return _fastest(cluster, gpus, lambda held: (ring(cluster, held, nbytes, 1),))


def reduce_scatter(cluster: Cluster, gpus: Sequence[int], nbytes: float) -> Activity:
    """A ring, the all-gather backwards; `nbytes` is each rank's input."""
    return all_gather(cluster, gpus, nbytes)


COLLECTIVES: Final[Mapping[CollectiveOperation, Collect]] = {
    "all_reduce": all_reduce,
    "all_gather": all_gather,
    "reduce_scatter": reduce_scatter,
}


def alone(cluster: Cluster, activity: Activity) -> float:
    """Seconds of an activity that shares its wires with nobody."""
    return activity.latency + max((nbytes / capacity(cluster, wire) for wire, nbytes in activity.loads), default=0.0)


def footprint(cluster: Cluster, gpus: Sequence[int]) -> tuple[tuple[float, float], Mapping[float, tuple[Load, ...]]]:
    """What all collectives of a group have in common: the start-up of one phase of a ring and of a tree in seconds,
    and for each `crossing` that they may have, bytes over each wire for each byte of a chain."""
    if len(gpus) == 1:
        return (0.0, 0.0), {}
    held = _held(cluster, tuple(gpus))
    loads = {crossing: _lie(cluster, tuple(gpus), crossing)[0] for crossing in crossings(held)}
    return (ring(cluster, held, 1.0, 1).latency, tree(cluster, held, 1.0).latency), loads


@lru_cache(maxsize=1024)
def _held(cluster: Cluster, gpus: tuple[int, ...]) -> Members:
    return members(cluster, gpus)


@lru_cache(maxsize=1024)
def _lie(cluster: Cluster, gpus: tuple[int, ...], crossing: float) -> tuple[tuple[Load, ...], float]:
    """How chains of a group lie on its nodes: loads for each byte, seconds for each byte."""
    loads = shares(cluster, _held(cluster, gpus), crossing)
    return loads, seconds_per_byte(cluster, loads)


def _fastest(cluster: Cluster, gpus: Sequence[int], chains: Callable[[Members], Sequence[Chain]]) -> Activity:
    if len(gpus) == 1:
        return Activity(latency=0.0, loads=())
    group = tuple(gpus)

    def seconds(chain: Chain) -> float:
        return chain.latency + chain.nbytes * _lie(cluster, group, chain.crossing)[1]

    best = min(chains(_held(cluster, group)), key=seconds)
    loads, _ = _lie(cluster, group, best.crossing)
    scaled = tuple((wire, share * best.nbytes) for wire, share in loads)
    return Activity(latency=best.latency, loads=scaled, crossing=best.crossing)
