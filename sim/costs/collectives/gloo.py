"""Gloo between processes of one machine: messages over loopback sockets, by the algorithms of torch's ProcessGroupGloo.

A process copies what it sends into the kernel and what it receives out of it, so both directions share one rate; what
is summed and what is copied on the way comes on top. Processes share cores and one memory: more are slower, each.
Numbers are fp32 there: what layers count as 16 bits is twice as many bytes, and the law's points are true ones.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from sim.costs.collectives.chain import Load
from sim.costs.collectives.parameters import ratio
from sim.costs.law import Array, Law, Points, Values, fit_of
from sim.costs.processor import WIDER
from sim.instructions import Activity, CollectiveOperation
from topologies.document import InputError
from topologies.fabric import Wire
from topologies.hardware import Cluster, Link

SEND: Final = "send"
OPERATIONS: Final = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all", SEND)
"""The column `operation` of the points holds the place in this list."""
PATTERN: Final = 1.0
"""All of a group's bytes lie alike: on the ports of every process."""


class Work(NamedTuple):
    """What an operation asks of the busiest process: messages one after another, and bytes that cross its sockets in
    both directions, that it sums, that it copies."""

    messages: Array
    crossed: Array
    summed: Array
    copied: Array


def _all_reduce(n: Array, nbytes: Array) -> Work:
    """A ring of two segments for each process, reduced and gathered [pytorch/gloo, gloo/allreduce.cc, ring]."""
    part = (n - 1) / n * nbytes
    return Work(4 * (n - 1), 4 * part, part, 0 * nbytes)


def _all_gather(n: Array, nbytes: Array) -> Work:
    """A ring of two segments [gloo/allgather.cc], into one flat buffer that is then copied out [ProcessGroupGloo]."""
    return Work(2 * (n - 1), 2 * (n - 1) / n * nbytes, 0 * nbytes, nbytes + nbytes / n)


def _reduce_scatter(n: Array, nbytes: Array) -> Work:
    """An all-reduce of a copy, of which each takes its part [ProcessGroupGloo::reduce_scatter_tensor_coalesced]."""
    return _all_reduce(n, nbytes)._replace(copied=nbytes + nbytes / n)


def _broadcast(n: Array, nbytes: Array) -> Work:
    """A binomial tree [gloo/broadcast.cc]: as many messages, one after another, as n has doublings."""
    depth = np.ceil(np.log2(n))
    return Work(depth, depth * nbytes, 0 * nbytes, 0 * nbytes)


def _all_to_all(n: Array, nbytes: Array) -> Work:
    """A message to each other, all posted at once [gloo/alltoall.cc]; the own part is copied."""
    return Work(n - 1, 2 * (n - 1) / n * nbytes, 0 * nbytes, nbytes / n)


def _send(n: Array, nbytes: Array) -> Work:
    """One message."""
    return Work(np.ones_like(n), nbytes, 0 * nbytes, 0 * nbytes)


_WORK: Final[Mapping[str, Callable[[Array, Array], Work]]] = {
    "all_reduce": _all_reduce,
    "all_gather": _all_gather,
    "reduce_scatter": _reduce_scatter,
    "broadcast": _broadcast,
    "all_to_all": _all_to_all,
    SEND: _send,
}


def collective(cluster: Cluster, gpus: Sequence[int], operation: CollectiveOperation, nbytes: float) -> Activity:
    """The activity of a collective of these processes; InputError for one that only GPUs have."""
    if operation not in _WORK:
        raise InputError(f"{cluster.name}: {operation} is a kernel of GPUs; over Gloo take the all-to-all dispatcher")
    return _activity(cluster, tuple(gpus), operation, WIDER * nbytes)


def message(cluster: Cluster, source: int, target: int, nbytes: float) -> Activity:
    """The activity of a message between two processes."""
    made = _activity(cluster, (source, target), SEND, WIDER * nbytes)
    return Activity(latency=made.latency, loads=made.loads, patterns=(("message", nbytes),))


def footprint(cluster: Cluster, gpus: Sequence[int]) -> tuple[tuple[float, ...], Mapping[float, tuple[Load, ...]]]:
    """What all collectives of a group have in common: how long they last at least, and bytes over each port."""
    if len(gpus) == 1:
        return (), {}
    starts = [_activity(cluster, tuple(gpus), operation, 1.0).latency for operation in OPERATIONS]
    return tuple(starts), {PATTERN: tuple((wire, 1.0) for wire in _ports(gpus))}


@lru_cache(maxsize=4096)
def _activity(cluster: Cluster, gpus: tuple[int, ...], operation: str, nbytes: float) -> Activity:
    """Its ports are busy for as long as its bytes take: what else goes through them then waits."""
    if len(gpus) == 1 or nbytes == 0:
        return Activity(latency=0.0, loads=())
    link = cluster.node.scale_up
    values = fit_of(link, LAW).values
    start, moving = (float(each) for each in _parts(link, values, operation, np.array(len(gpus)), np.array(nbytes)))
    busy = moving * link.achievable_bandwidth
    return Activity(
        latency=start,
        loads=tuple((wire, busy) for wire in _ports(gpus)),
        patterns=((PATTERN, busy),),
    )


def _ports(gpus: Sequence[int]) -> list[Wire]:
    """One for each process, which copies what goes out and what comes in."""
    return [Wire("nvlink", "out", gpu) for gpu in gpus]


def _parts(link: Link, values: Values, operation: str, num_gpus: Array, nbytes: Array) -> tuple[Array, Array]:
    """Seconds before bytes flow, and those of the bytes."""
    work = _WORK[operation](num_gpus, nbytes)
    crowd = num_gpus / 2
    start = values["start_send" if operation == SEND else "start"] * link.fit["launch_latency"]
    latency = (start + work.messages * (values["message"] * link.latency)) * crowd ** values["crowd_latency"]
    ideal = work.crossed / values["rate"] + work.summed / values["sum_rate"] + work.copied / values["copy_rate"]
    return latency, ideal / link.bandwidth * crowd ** values["crowd_rate"]


def _seconds(cluster: Cluster, values: Values, points: Points) -> Array:
    total = np.empty(len(points["nbytes"]))
    for index, operation in enumerate(OPERATIONS):
        rows = points["operation"] == index
        if rows.any():
            chosen = points["num_gpus"][rows], points["nbytes"][rows]
            latency, moving = _parts(cluster.node.scale_up, values, operation, *chosen)
            total[rows] = latency + moving
    return total


LAW: Final[Law[Cluster]] = Law(
    operation="gloo",
    inputs=("operation", "num_gpus", "nbytes"),
    parameters={
        "start": ratio(1.0, 0.02, 50.0, "start of a collective, of the link's launch latency"),
        "start_send": ratio(0.5, 0.02, 50.0, "start of a single message, of the link's launch latency"),
        "message": ratio(1.0, 0.02, 50.0, "each message after another, of the link's latency"),
        "rate": ratio(1.0, 0.02, 20.0, "bytes that cross a process's sockets, of the link's bandwidth"),
        "sum_rate": ratio(1.0, 0.02, 50.0, "bytes that a process sums, of the link's bandwidth"),
        "copy_rate": ratio(2.0, 0.02, 100.0, "bytes that a process copies, of the link's bandwidth"),
        "crowd_latency": ratio(1.0, 0.0, 4.0, "power of the number of pairs of processes by which latencies grow"),
        "crowd_rate": ratio(0.5, 0.0, 3.0, "power of the number of pairs of processes by which bytes take longer"),
    },
    seconds=_seconds,
)
LAWS: Final = (LAW,)
