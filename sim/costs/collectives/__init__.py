"""Collectives as activities: a latency, then bytes over wires. NCCL picks the faster of ring and tree.

`nbytes` is the size as nccl-tests defines it: the buffer of an all-reduce, the gathered total of an all-gather, the
input of a reduce-scatter. A group of one GPU does nothing and costs nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sim.costs.collectives.chain import Chain, activity, members, seconds
from sim.costs.collectives.ring import ring
from sim.costs.collectives.tree import tree
from sim.instructions import Activity, CollectiveOperation
from topologies.fabric import capacity
from topologies.hardware import Cluster

Collect = Callable[[Cluster, Sequence[int], float], Activity]


def all_reduce(cluster: Cluster, gpus: Sequence[int], nbytes: float) -> Activity:
    """Ring or tree, whichever is faster with the wires to itself, as NCCL's tuner chooses [NCCL, tuning.cc]."""
    held = members(cluster, gpus)
    return _fastest(cluster, gpus, held, (ring(cluster, held, nbytes, 2), tree(cluster, held, nbytes)))


def all_gather(cluster: Cluster, gpus: Sequence[int], nbytes: float) -> Activity:
    """A ring; `nbytes` is the gathered total."""
    held = members(cluster, gpus)
    return _fastest(cluster, gpus, held, (ring(cluster, held, nbytes, 1),))


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


def _fastest(cluster: Cluster, gpus: Sequence[int], held: Mapping[int, int], chains: Sequence[Chain]) -> Activity:
    if len(gpus) == 1:
        return Activity(latency=0.0, loads=())
    return activity(cluster, gpus, held, min(chains, key=lambda chain: seconds(cluster, held, chain)))
