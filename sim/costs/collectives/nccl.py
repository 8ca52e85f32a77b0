"""NCCL: the ways that an operation of a group may go, which of them NCCL takes at a size, and how long that takes.

NCCL chooses by its own published figures (tuning.py); what the chosen way takes is fitted, inside a node on the link
that joins its GPUs ("nccl node"), between nodes on the NIC ("nccl network").
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from math import log2
from typing import Final

import numpy as np

from sim.costs.collectives.collnet import collnet
from sim.costs.collectives.group import Group, group_of
from sim.costs.collectives.nvls import nvls
from sim.costs.collectives.pat import pat
from sim.costs.collectives.rates import NETWORK_PARAMETERS, NODE_PARAMETERS, Fitted
from sim.costs.collectives.ring import ring
from sim.costs.collectives.tree import tree
from sim.costs.collectives.way import SMALLEST, Way, planned, seconds
from sim.costs.law import Array, Law, Points, Values, fit_of
from sim.instructions import CollectiveOperation
from topologies.hardware import Cluster

OPERATIONS: Final[tuple[CollectiveOperation, ...]] = ("all_reduce", "all_gather", "reduce_scatter", "broadcast")
"""The column `operation` of the points holds the place in this list."""

PER_DOUBLING: Final = 8
"""NCCL's choice is looked up by size, so many times for each power of two."""
LARGEST: Final = 2.0**44
_SIZES: Final = SMALLEST * 2 ** (np.arange(0, PER_DOUBLING * int(log2(LARGEST / SMALLEST))) / PER_DOUBLING)

VERSION_BASE: Final = 1000
"""The column `nccl_version` of the points holds 2027 for 2.27 and later patches."""


def ways(group: Group, operation: CollectiveOperation, fitted: Fitted) -> Iterator[Way]:
    """All that NCCL has for an operation of the group."""
    yield from ring(group, operation, fitted)
    if operation == "all_reduce":
        yield from tree(group, fitted)
        yield from nvls(group, fitted)
        yield from collnet(group, fitted)
    elif operation != "broadcast":
        yield from pat(group, fitted)


def choices(group: Group, operation: CollectiveOperation, fitted: Fitted) -> tuple[Way, ...]:
    """What NCCL takes, for every size that is looked up: the way that its tuner expects to be fastest."""
    found = tuple(ways(group, operation, fitted))
    best = np.argmin([planned(way, _SIZES) for way in found], axis=0)
    return tuple(found[index] for index in best)


def index_of(nbytes: float) -> int:
    """The place of a size in `choices`."""
    place = int(PER_DOUBLING * log2(max(nbytes, SMALLEST) / SMALLEST) + 0.5)
    return min(place, len(_SIZES) - 1)


@lru_cache(maxsize=4096)
def chosen(group: Group, operation: CollectiveOperation) -> tuple[Way, ...]:
    """The choices of a group, by the fits of its links."""
    return choices(group, operation, fitted_on(group))


@lru_cache(maxsize=4096)
def in_common(group: Group) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The figures of all ways that a group has, and the values of their `crossing`.

    The latter are the same on any number of nodes but two, whatever is chosen there.
    """
    fitted = fitted_on(group)
    found = [way for operation in OPERATIONS for way in ways(group, operation, fitted)]
    facts = (fact for way in found for fact in _figures(way))
    return tuple(facts), tuple(dict.fromkeys(way.crossing for way in found))


def _figures(way: Way) -> tuple[float, ...]:
    expected = way.planned_latency, way.planned_per_byte, way.plateau_nbytes
    pipeline = way.latency, way.filling, way.filling_most
    return (*expected, *pipeline, way.per_byte, way.chain, way.onset, way.channel_nbytes, float(way.most_channels))


def fitted_on(group: Group) -> Fitted:
    """The fits of the links that the group is on."""
    nic = group.nic or group.inside
    return Fitted(node=fit_of(group.inside, NODE_LAW).values, network=fit_of(nic, NETWORK_LAW).values)


def _node_seconds(cluster: Cluster, values: Values, points: Points) -> Array:
    """In one node, by `values` of its link."""
    return _seconds(cluster, points, node=values, network=None)


def _network_seconds(cluster: Cluster, values: Values, points: Points) -> Array:
    """Over nodes, by `values` of the NIC and the fit of the link inside."""
    return _seconds(cluster, points, node=None, network=values)


def _seconds(cluster: Cluster, points: Points, *, node: Values | None, network: Values | None) -> Array:
    total = np.empty(len(points["nbytes"]))
    for kind, rows in _kinds(points):
        operation = OPERATIONS[int(kind["operation"])]
        group = group_of(_at_version(cluster, int(kind["nccl_version"])), _gpus(cluster, kind))
        present = fitted_on(group)
        fitted = Fitted(
            node=present.node if node is None else node,
            network=present.network if network is None else network,
            is_integer=kind["is_integer"] > 0,
        )
        total[rows] = _of_sizes(tuple(ways(group, operation, fitted)), points["nbytes"][rows])
    return total


def _of_sizes(found: Sequence[Way], nbytes: Array) -> Array:
    """Seconds for each size, by the way that NCCL takes at it, as `choices` has them."""
    sizes = _SIZES[[index_of(size) for size in nbytes]]
    best = np.argmin([planned(way, sizes) for way in found], axis=0)
    total = np.empty(len(nbytes))
    for index in set(best.tolist()):
        rows = best == index
        total[rows] = seconds(found[index], nbytes[rows])
    return total


_KINDS: Final = ("operation", "num_gpus", "num_nodes", "is_integer", "nccl_version")


def _kinds(points: Points) -> Iterator[tuple[Mapping[str, float], np.ndarray]]:
    """The rows of the points by what their collectives have in common: all but the size."""
    table = np.column_stack([points[name] for name in _KINDS])
    kinds, which = np.unique(table, axis=0, return_inverse=True)
    for index, kind in enumerate(kinds):
        yield dict(zip(_KINDS, map(float, kind), strict=True)), np.flatnonzero(which.reshape(-1) == index)


@lru_cache(maxsize=64)
def _at_version(cluster: Cluster, code: int) -> Cluster:
    return replace(cluster, nccl_version=f"{code // VERSION_BASE}.{code % VERSION_BASE}")


def _gpus(cluster: Cluster, kind: Mapping[str, float]) -> tuple[int, ...]:
    """The first GPUs of the first nodes."""
    nodes, n = int(kind["num_nodes"]), int(kind["num_gpus"])
    return tuple(node * cluster.node.num_gpus + slot for node in range(nodes) for slot in range(n // nodes))


NODE_LAW: Final[Law[Cluster]] = Law(
    operation="nccl node",
    inputs=("operation", "num_gpus", "nbytes", "is_integer", "nccl_version"),
    parameters=NODE_PARAMETERS,
    seconds=_node_seconds,
)
NETWORK_LAW: Final[Law[Cluster]] = Law(
    operation="nccl network",
    inputs=("operation", "num_gpus", "num_nodes", "nbytes", "nccl_version"),
    parameters=NETWORK_PARAMETERS,
    seconds=_network_seconds,
)
LAWS: Final = (NODE_LAW, NETWORK_LAW)
