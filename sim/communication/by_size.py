"""A collective against the size of its message: how long each way that NCCL has would take, and which one NCCL takes.

NCCL chooses by its own published figures and not by the clock, so what it takes is not always the fastest. A way's time
is what the simulator gives it when its wires carry nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from sim.costs.collectives import alone, collective, point_to_point
from sim.costs.collectives.all_to_all import NETWORK_LAW as EXCHANGE_NETWORK_LAW
from sim.costs.collectives.all_to_all import NODE_LAW as EXCHANGE_NODE_LAW
from sim.costs.collectives.all_to_all import all_to_all, most_remote, version_code
from sim.costs.collectives.chain import members, seconds_per_byte, shares
from sim.costs.collectives.group import group_of
from sim.costs.collectives.nccl import (
    NETWORK_LAW,
    NODE_LAW,
    PER_DOUBLING,
    chosen,
    fitted_on,
    index_of,
    ways,
)
from sim.costs.collectives.nccl import OPERATIONS as CODES
from sim.costs.collectives.point_to_point import send
from sim.costs.collectives.way import SMALLEST, Way, parts
from sim.costs.law import Array, Law, fit_of, origin_of
from sim.instructions import Activity, CollectiveOperation
from sim.uncertainty import spread_of
from topologies.fabric import link_between, nic_of
from topologies.hardware import Cluster, Link, Origin

Operation = Literal["all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all", "send"]
OPERATIONS: Final[tuple[Operation, ...]] = (
    "all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all", "send",
)  # fmt: skip
_CHOSEN: Final[Mapping[str, CollectiveOperation]] = {
    "all_reduce": "all_reduce", "all_gather": "all_gather", "reduce_scatter": "reduce_scatter",
    "broadcast": "broadcast",
}  # fmt: skip
"""Operations for which NCCL has several ways; the others are grouped sends and receives."""
PLAIN: Final = "send and receive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One way, and its seconds at each size."""

    algorithm: str
    protocol: str
    seconds: Array

    @property
    def name(self) -> str:
        return f"{self.algorithm} {self.protocol}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class BySize:
    """All ways of an operation at `sizes` [bytes, as nccl-tests counts them]; `taken[i]` is the place in `curves` of
    the way that NCCL takes at size i, `low` and `high` hold its seconds in four of five cases.

    `part` is the link whose fit says so, `law` the operation that was fitted, `origins` what each size rests on.
    """

    sizes: Array
    curves: tuple[Curve, ...]
    taken: NDArray[np.intp]
    low: Array
    high: Array
    part: str
    law: str
    origins: tuple[Origin, ...]

    @property
    def seconds(self) -> Array:
        """Seconds of the way that NCCL takes."""
        return np.array([self.curves[way].seconds[index] for index, way in enumerate(self.taken)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Sizes from `first` up to `end` bytes, over which NCCL keeps to one way."""

    first: float
    end: float
    algorithm: str
    protocol: str


def by_size(cluster: Cluster, gpus: Sequence[int], operation: Operation, sizes: Array) -> BySize:
    """Each way of the operation among these GPUs (a send goes from the first to the second) at each size in bytes."""
    group = tuple(gpus)
    if operation in _CHOSEN:
        curves, taken = _ways(cluster, group, _CHOSEN[operation], sizes)
    else:
        times = [alone(cluster, _plain(cluster, group, operation, float(size))) for size in sizes]
        curves, taken = (Curve(algorithm=PLAIN, protocol="", seconds=np.array(times)),), np.zeros(len(sizes), np.intp)
    link, law = _rests_on(cluster, group, operation)
    origins = _origins(cluster, group, operation, link, law, sizes)
    spreads = np.array([spread_of(link, law.operation, origin) for origin in origins])
    seconds = np.array([curves[way].seconds[index] for index, way in enumerate(taken)])
    return BySize(
        sizes=sizes,
        curves=curves,
        taken=taken,
        low=seconds * np.exp(spreads[:, 0]),
        high=seconds * np.exp(spreads[:, 1]),
        part=link.name,
        law=law.operation,
        origins=origins,
    )


def stretches(cluster: Cluster, gpus: Sequence[int], operation: Operation) -> tuple[Stretch, ...]:
    """Where NCCL changes from one way to another, smallest sizes first; one stretch where it has no choice.

    Sizes are looked up eight times for each power of two, so an end is true to some 5 %.
    """
    if operation not in _CHOSEN:
        return (Stretch(first=0.0, end=float("inf"), algorithm=PLAIN, protocol=""),)
    found = chosen(group_of(cluster, tuple(gpus)), _CHOSEN[operation])
    ends = [place for place in range(1, len(found)) if found[place] != found[place - 1]]
    starts = [0, *ends]
    return tuple(
        Stretch(
            first=_from(start),
            end=_from(end) if end < len(found) else float("inf"),
            algorithm=found[start].algorithm,
            protocol=found[start].protocol,
        )
        for start, end in zip(starts, [*ends, len(found)], strict=True)
    )


def _from(place: int) -> float:
    """The smallest size that is looked up there."""
    return SMALLEST * 2 ** ((place - 0.5) / PER_DOUBLING) if place else 0.0


def bus_factor(operation: Operation, num_gpus: int) -> float:
    """busbw over algbw (size / time), as nccl-tests defines it [nccl-tests, doc/PERFORMANCE.md]: what the busiest link
    carries for each byte of the size, so that it compares with the hardware's rate whatever the number of GPUs."""
    share = (num_gpus - 1) / num_gpus
    factors: Mapping[Operation, float] = {
        "all_reduce": 2 * share, "all_gather": share, "reduce_scatter": share, "broadcast": 1.0, "all_to_all": share,
        "send": 1.0,
    }  # fmt: skip
    return factors[operation]


def activity(cluster: Cluster, gpus: Sequence[int], operation: Operation, nbytes: float) -> Activity:
    """What one such collective, as NCCL runs it, does to the wires."""
    if operation in _CHOSEN:
        return collective(cluster, tuple(gpus), _CHOSEN[operation], nbytes)
    return _plain(cluster, tuple(gpus), operation, nbytes)


def _plain(cluster: Cluster, gpus: tuple[int, ...], operation: Operation, nbytes: float) -> Activity:
    if operation == "send":
        return send(cluster, gpus[0], gpus[1], nbytes)
    return all_to_all(cluster, gpus, nbytes)


def _ways(
    cluster: Cluster, gpus: tuple[int, ...], operation: CollectiveOperation, sizes: Array
) -> tuple[tuple[Curve, ...], NDArray[np.intp]]:
    group = group_of(cluster, gpus)
    found = tuple(ways(group, operation, fitted_on(group)))
    choices = chosen(group, operation)
    curves = tuple(
        Curve(algorithm=way.algorithm, protocol=way.protocol, seconds=_seconds(cluster, gpus, way, sizes))
        for way in found
    )
    return curves, np.array([found.index(choices[index_of(float(size))]) for size in sizes], dtype=np.intp)


def _seconds(cluster: Cluster, gpus: tuple[int, ...], way: Way, sizes: Array) -> Array:
    """As `alone` of the activity that the way makes: its latency, then its bytes, no faster than the wires carry."""
    wires = way.chain * seconds_per_byte(cluster, shares(cluster, members(cluster, gpus), way.crossing))
    each = ((parts(way, size), wires * size) for size in map(float, sizes))
    return np.array([latency + max(data, on_wires) for (latency, data), on_wires in each])


def _rests_on(cluster: Cluster, gpus: tuple[int, ...], operation: Operation) -> tuple[Link, Law[Cluster]]:
    """The link and the law whose errors are those of the operation."""
    if operation == "send":
        return link_between(cluster, gpus[0], gpus[1]), point_to_point.LAW
    if operation == "all_to_all":
        several = most_remote(cluster, gpus) > 0
        node = cluster.node_at(gpus[0])
        return (nic_of(node), EXCHANGE_NETWORK_LAW) if several else (node.scale_up, EXCHANGE_NODE_LAW)
    group = group_of(cluster, gpus)
    return (group.inside, NODE_LAW) if group.nic is None else (group.nic, NETWORK_LAW)


def _origins(
    cluster: Cluster, gpus: tuple[int, ...], operation: Operation, link: Link, law: Law[Cluster], sizes: Array
) -> tuple[Origin, ...]:
    fit = fit_of(link, law)
    facts = {
        "num_gpus": float(len(gpus)),
        "num_nodes": float(len(members(cluster, gpus))),
        "nccl_version": version_code(cluster),
    }
    if operation in _CHOSEN:
        facts["operation"] = float(CODES.index(_CHOSEN[operation]))
    return tuple(origin_of(fit, link.name, {**facts, "nbytes": float(size)}) for size in sizes)
