"""What ring and tree have in common: a chain through the members of each node, so many bytes into and out of the node.

NCCL runs many such chains at once, each entering and leaving a node at another GPU, so that all members' NICs share the
traffic between nodes: with k members each NIC carries 1/k of it, each NVLink port what goes on inside, (k-1)/k.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from sim.instructions import Activity
from topologies.fabric import Wire, capacity, nic_of, node_of
from topologies.hardware import Cluster, Link


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Seconds until bytes flow, then bytes that leave and enter every node."""

    latency: float
    nbytes: float


def members(cluster: Cluster, gpus: Sequence[int]) -> Mapping[int, int]:
    """How many of the group each node holds."""
    return Counter([node_of(cluster, gpu) for gpu in gpus])


def slowest_link(cluster: Cluster, num_nodes: int) -> Link:
    """The kind of link that sets the start-up of a collective: the NIC, once there are several nodes."""
    return nic_of(cluster.node) if num_nodes > 1 else cluster.node.scale_up


def seconds(cluster: Cluster, held: Mapping[int, int], chain: Chain) -> float:
    """Time of the chain with its wires to itself."""
    nvlink, nic = capacity(cluster, Wire("nvlink", "out", 0)), capacity(cluster, Wire("nic", "out", 0))
    parts = (_part(held, chain, k) for k in set(held.values()))
    return chain.latency + max(max(over_nic / nic, over_nvlink / nvlink) for over_nic, over_nvlink in parts)


def activity(cluster: Cluster, gpus: Sequence[int], held: Mapping[int, int], chain: Chain) -> Activity:
    """The chain's bytes over the members' wires."""
    parts = {k: _part(held, chain, k) for k in set(held.values())}
    loads: list[tuple[Wire, float]] = []
    for gpu in gpus:
        over_nic, over_nvlink = parts[held[node_of(cluster, gpu)]]
        nic_out, nic_in, nvlink_out, nvlink_in = _ports(gpu)
        if over_nic > 0:
            loads += ((nic_out, over_nic), (nic_in, over_nic))
        if over_nvlink > 0:
            loads += ((nvlink_out, over_nvlink), (nvlink_in, over_nvlink))
    return Activity(latency=chain.latency, loads=tuple(loads))


def _part(held: Mapping[int, int], chain: Chain, k: int) -> tuple[float, float]:
    """Bytes over the NIC and over NVLink of each member of a node with k of them."""
    over_nic = chain.nbytes / k if len(held) > 1 else 0.0
    return over_nic, chain.nbytes - over_nic


@cache
def _ports(gpu: int) -> tuple[Wire, Wire, Wire, Wire]:
    return Wire("nic", "out", gpu), Wire("nic", "in", gpu), Wire("nvlink", "out", gpu), Wire("nvlink", "in", gpu)
