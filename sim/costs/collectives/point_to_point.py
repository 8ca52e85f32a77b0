"""A message from one GPU to another: its start, its latency, its bytes over the wires on the way.

Over NVLink NCCL's send and receive are an all-to-all of two without the copy of the own part: LL for small messages,
Simple for larger ones, up to what the SMs of its channels bring through the port.
"""

from functools import lru_cache

from sim.costs.collectives.all_to_all import NODE_LAW, node_seconds, num_channels, version_code
from sim.costs.law import fit_of
from sim.instructions import Activity
from topologies.fabric import link_between, message_loads
from topologies.hardware import Cluster, Link


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
    return Activity(latency=latency, loads=loads, ceiling=ceiling, num_sms=num_channels(nbytes))


def _start(cluster: Cluster, source: int, target: int, link: Link, nbytes: float) -> tuple[float, float]:
    """Seconds until bytes flow, and how fast they can at most."""
    inside = cluster.node_of(source) == cluster.node_of(target)
    if not inside or cluster.node_at(source).layout == "pcie":
        return link.fit["launch_latency"] + link.latency, float("inf")
    values = fit_of(link, NODE_LAW).values
    total, moving = node_seconds(link, values, 2.0, 2 * nbytes, version_code(cluster))
    return float(total - moving), values["port_rate"] * link.bandwidth
