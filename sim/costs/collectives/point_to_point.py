"""A message from one GPU to another: its start, its latency, its bytes over the wires on the way.

Over NVLink NCCL's send and receive are an all-to-all of two without the copy of the own part: LL for small messages,
Simple for larger ones, up to what the SMs of its channels bring through the port. Two ratios to that, and to the data
sheet between nodes, are fitted where messages were measured ("nccl send").
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import ceil, log2
from typing import Final

import numpy as np

from sim.costs.collectives import gloo
from sim.costs.collectives.all_to_all import NODE_LAW, node_seconds, num_channels, version_code
from sim.costs.collectives.parameters import ratio
from sim.costs.law import Array, Law, Points, Values, fit_of
from sim.instructions import Activity
from topologies.fabric import Wire, capacity, link_between, message_loads
from topologies.hardware import Cluster, Link
from topologies.quantity import GIGA

NETWORK_CHANNEL: Final = 14 * GIGA
"""Bytes per second of a NIC for which NCCL takes one more channel, up to a power of 2 [src/graph/paths.cc, 04cdb80]."""
PCIE_CHANNELS: Final = 2


@lru_cache(maxsize=65536)
def send(cluster: Cluster, source: int, target: int, nbytes: float) -> Activity:
    """The activity of `nbytes` from GPU `source` to GPU `target`; nothing where they are the same.

    It goes by its own NIC: a group of pipeline ranks holds no GPU that NCCL's PXN could send it by.
    """
    if source == target or nbytes == 0:
        return Activity(latency=0.0, loads=())
    if cluster.library == "gloo":
        return gloo.message(cluster, source, target, nbytes)
    link = link_between(cluster, source, target)
    latency, ceiling = _start(cluster, source, target, fit_of(link, LAW).values, nbytes)
    loads = tuple((wire, share * nbytes) for wire, share in message_loads(cluster, source, target, pxn=False))
    held = _num_sms(cluster, source, target, link, nbytes)
    return Activity(latency=latency, loads=loads, ceiling=ceiling, num_sms=held, patterns=(("message", nbytes),))


def _num_sms(cluster: Cluster, source: int, target: int, link: Link, nbytes: float) -> int:
    """A channel, and so an SM, for each 64 KiB of the message, up to as many as NCCL opens to one peer."""
    if cluster.node_of(source) != cluster.node_of(target):
        most = 1 << ceil(log2(max(link.bandwidth / NETWORK_CHANNEL, 1.0)))
    else:
        most = PCIE_CHANNELS if cluster.node_at(source).layout == "pcie" else num_channels(nbytes)
    return min(num_channels(nbytes), most)


def _start(cluster: Cluster, source: int, target: int, values: Values, nbytes: float) -> tuple[float, float]:
    """Seconds until bytes flow, and how fast they can at most."""
    link = link_between(cluster, source, target)
    inside = cluster.node_of(source) == cluster.node_of(target)
    if not inside or cluster.node_at(source).layout == "pcie":
        return values["launch"] * (link.fit["launch_latency"] + link.latency), _ceiling(cluster, source, target, values)
    latency, ceiling = _nvlink_start(link, nbytes, version_code(cluster))
    return values["launch"] * latency, values["rate"] * ceiling


def _ceiling(cluster: Cluster, source: int, target: int, values: Values) -> float:
    """A share of what the wires carry; none where a message fills them."""
    if values["rate"] >= 1:
        return float("inf")
    loads = message_loads(cluster, source, target, pxn=False)
    return values["rate"] * min(capacity(cluster, wire) / share for wire, share in loads) * max(s for _, s in loads)


@lru_cache(maxsize=512)
def _nvlink_start(link: Link, nbytes: float, version: float) -> tuple[float, float]:
    values = fit_of(link, NODE_LAW).values
    total, moving = node_seconds(link, values, 2.0, 2 * nbytes, version)
    return float(total - moving), values["port_rate"] * link.bandwidth


def _seconds(cluster: Cluster, values: Values, points: Points) -> Array:
    """From the first GPU to the second, or to the first of the second node."""
    columns = zip(points["num_nodes"].tolist(), points["nbytes"].tolist(), strict=True)
    return np.array(
        [_alone(cluster, cluster.first_gpu(1) if nodes > 1 else 1, values, size) for nodes, size in columns]
    )


def _alone(cluster: Cluster, target: int, values: Values, nbytes: float) -> float:
    latency, ceiling = _start(cluster, 0, target, values, nbytes)
    loads = message_loads(cluster, 0, target, pxn=False)
    wires = max(share * nbytes / capacity(cluster, wire) for wire, share in loads)
    return latency + max(wires, max(share for _, share in loads) * nbytes / ceiling)


LAW: Final[Law[Cluster]] = Law(
    operation="nccl send",
    inputs=("num_nodes", "nbytes"),
    parameters={
        "launch": ratio(1.0, 0.1, 10.0, "start of a message, of the sheet's launch and latency, or of an all-to-all's"),
        "rate": ratio(1.0, 0.02, 1.5, "rate of a message, of what its wires carry, or of an all-to-all's"),
    },
    seconds=_seconds,
)
LAWS: Final = (LAW,)


@lru_cache(maxsize=512)
def exchange(cluster: Cluster, gpus: tuple[int, ...], nbytes: float) -> Activity:
    """Every GPU sends `nbytes` to the next of the ring that the group makes, all at once: a step of ring attention.

    It is as late, and goes as fast at most, as the slowest of its messages.
    """
    if len(gpus) == 1 or nbytes == 0:
        return Activity(latency=0.0, loads=())
    messages = [send(cluster, gpu, following, nbytes) for gpu, following in zip(gpus, gpus[1:] + gpus[:1], strict=True)]
    return replace(at_once(messages), patterns=(("exchange", nbytes),))


def at_once(messages: Sequence[Activity]) -> Activity:
    """Messages that go in step: as late, and as fast at most, as the slowest of them."""
    loads: defaultdict[Wire, float] = defaultdict(float)
    for message in messages:
        for wire, share in message.loads:
            loads[wire] += share
    busiest = max(loads.values())
    return Activity(
        latency=max(message.latency for message in messages),
        loads=tuple(loads.items()),
        ceiling=min(message.ceiling * busiest / message.nbytes for message in messages),
        num_sms=max(message.num_sms for message in messages),
    )
