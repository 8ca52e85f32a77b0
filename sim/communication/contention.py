"""What sharing does: equal collectives of several groups on the same wires, each beside what it would take alone.

Wires are shared max-min fairly, as in a step: nobody can go faster but by taking from one who is no faster.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sim.communication.by_size import Operation, activity
from sim.costs.collectives import alone
from sim.instructions import Activity
from sim.messages import play_activities
from topologies.document import InputError
from topologies.fabric import Wire, capacity
from topologies.hardware import Cluster
from topologies.wire_names import describe

MOST_GROUPS: Final = 8

Groups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Busiest:
    """The wire that takes longest to carry what all groups put on it: its name, how many groups use it, bytes, and what
    it carries in a second."""

    name: str
    num_groups: int
    nbytes: float
    bandwidth: float

    @property
    def seconds(self) -> float:
        """No group's play is over before: all bytes at the wire's full rate."""
        return self.nbytes / self.bandwidth


@dataclass(frozen=True, slots=True, kw_only=True)
class Contention:
    """Groups that each do one collective; seconds of each: when it starts, when it is done, what it takes alone."""

    groups: Groups
    starts: tuple[float, ...]
    done: tuple[float, ...]
    alone: tuple[float, ...]
    busiest: Busiest

    @property
    def slowdowns(self) -> tuple[float, ...]:
        """How many times as long each takes as it would alone."""
        spans = zip(self.starts, self.done, self.alone, strict=True)
        return tuple((done - start) / lone for start, done, lone in spans)


def contended(
    cluster: Cluster, groups: Groups, operation: Operation, nbytes: float, stagger: float = 0.0
) -> Contention:
    """Play one collective of `nbytes` in each group; each starts `stagger` of the first one's time after the one
    before."""
    activities = [activity(cluster, group, operation, nbytes) for group in groups]
    lone = tuple(alone(cluster, one) for one in activities)
    starts = tuple(place * stagger * lone[0] for place in range(len(groups)))
    return Contention(
        groups=groups,
        starts=starts,
        done=tuple(play_activities(cluster, [*zip(starts, activities, strict=True)])),
        alone=lone,
        busiest=_busiest(cluster, activities),
    )


def same_gpus(cluster: Cluster, num_groups: int, gpus: Sequence[int]) -> Groups:
    """Several communicators of the very same GPUs."""
    _check(cluster, num_groups, max(gpus) + 1)
    return (tuple(gpus),) * num_groups


def rails(cluster: Cluster, num_groups: int, num_nodes: int) -> Groups:
    """Group g is slot g of each node, as replicas lie where tensor parallelism fills the nodes: those whose slots have
    a NIC in common share it."""
    _check(cluster, num_groups, num_nodes * cluster.node.num_gpus)
    if num_groups > cluster.node.num_gpus:
        raise InputError(f"{num_groups} groups: a node of {cluster.name} has {cluster.node.num_gpus} slots; use fewer")
    firsts = [cluster.first_gpu(node) for node in range(num_nodes)]
    return tuple(tuple(first + slot for first in firsts) for slot in range(num_groups))


def jobs(cluster: Cluster, num_groups: int, nodes_each: int) -> Groups:
    """Group g is a job on `nodes_each` whole nodes, in a fabric with room for MOST_GROUPS such jobs, all scattered:
    neighbours of a ring are below different leaves, as it comes to be on a busy cluster."""
    num_nodes = MOST_GROUPS * nodes_each
    _check(cluster, num_groups, num_nodes * cluster.node.num_gpus)
    leaf = cluster.network.nodes_per_leaf or num_nodes
    order = sorted(range(num_nodes), key=lambda node: (node % leaf, node))
    size = cluster.node.num_gpus
    return tuple(
        tuple(cluster.first_gpu(node) + slot for node in order[job * nodes_each :][:nodes_each] for slot in range(size))
        for job in range(num_groups)
    )


def _check(cluster: Cluster, num_groups: int, num_gpus: int) -> None:
    if not 1 <= num_groups <= MOST_GROUPS:
        raise InputError(f"{num_groups} groups: use 1 to {MOST_GROUPS}")
    if num_gpus > cluster.num_gpus:
        raise InputError(f"{cluster.name} has {cluster.num_gpus:,} GPUs, this takes {num_gpus:,}; choose fewer nodes")


def _busiest(cluster: Cluster, activities: Sequence[Activity]) -> Busiest:
    total: defaultdict[Wire, float] = defaultdict(float)
    for one in activities:
        for wire, nbytes in one.loads:
            total[wire] += nbytes
    users = Counter(wire for one in activities for wire, nbytes in one.loads if nbytes)
    wire = max(total, key=lambda each: total[each] / capacity(cluster, each))
    return Busiest(
        name=describe(cluster, wire),
        num_groups=users[wire],
        nbytes=total[wire],
        bandwidth=capacity(cluster, wire),
    )
