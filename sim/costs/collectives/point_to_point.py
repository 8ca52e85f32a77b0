"""A message from one GPU to another: its start, its latency, its bytes over the wires on the way.

Over NVLink NCCL's send and receive are an all-to-all of two without the copy of the own part: LL for small messages,
Simple for larger ones, up to what the SMs of its channels bring through the port.
"""

from collections import defaultdict
from functools import lru_cache
from math import ceil, log2
from typing import Final

from sim.costs.collectives.all_to_all import NODE_LAW, node_seconds, num_channels, version_code
from sim.costs.law import fit_of
from sim.instructions import Activity
from topologies.fabric import Wire, link_between, message_loads
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
    link = link_between(cluster, source, target)
    latency, ceiling = _start(cluster, source, target, link, nbytes)
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


def _start(cluster: Cluster, source: int, target: int, link: Link, nbytes: float) -> tuple[float, float]:
    """Seconds until bytes flow, and how fast they can at most."""
    inside = cluster.node_of(source) == cluster.node_of(target)
    if not inside or cluster.node_at(source).layout == "pcie":
        return link.fit["launch_latency"] + link.latency, float("inf")
    return _nvlink_start(link, nbytes, version_code(cluster))


@lru_cache(maxsize=512)
def _nvlink_start(link: Link, nbytes: float, version: float) -> tuple[float, float]:
    values = fit_of(link, NODE_LAW).values
    total, moving = node_seconds(link, values, 2.0, 2 * nbytes, version)
    return float(total - moving), values["port_rate"] * link.bandwidth


@lru_cache(maxsize=512)
def exchange(cluster: Cluster, gpus: tuple[int, ...], nbytes: float) -> Activity:
    """Every GPU sends `nbytes` to the next of the ring that the group makes, all at once: a step of ring attention.

    It is as late, and goes as fast at most, as the slowest of its messages.
    """
    if len(gpus) == 1 or nbytes == 0:
        return Activity(latency=0.0, loads=())
    messages = [send(cluster, gpu, following, nbytes) for gpu, following in zip(gpus, gpus[1:] + gpus[:1], strict=True)]
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
        patterns=(("exchange", nbytes),),
    )
