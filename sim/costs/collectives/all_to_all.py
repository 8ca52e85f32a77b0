"""All-to-all: every GPU sends an equal part of its buffer to every other, as grouped sends and receives of NCCL.

A part up to some 32 KiB goes by LL, whose one channel is slow but starts at once; larger ones by Simple. What a GPU
copies is bounded twice: by its SMs, which also copy its own part, and by its port. Messages to other nodes are posted
one by one, so that latency grows with the ranks [NVIDIA/nccl, src/enqueue.cc; nccl-tests issue 267].
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.costs.collectives import gloo
from sim.costs.collectives.chain import Load, members
from sim.costs.collectives.exchange import between, inside, joined, scaled
from sim.costs.collectives.group import version_of
from sim.costs.collectives.nccl import VERSION_BASE
from sim.costs.collectives.parameters import longest, microseconds, ratio, shortest
from sim.costs.law import Array, Law, Parameter, Points, Values, fit_of
from sim.instructions import Activity
from topologies.fabric import capacity, nic_of
from topologies.hardware import Cluster, Link
from topologies.quantity import KIB, MIB

Flags = NDArray[np.bool_]

OLD: Final = 2024
"""NCCL before 2.24 gave a small message more channels."""
_DOUBLINGS: Final = 3
"""Of the norm in which one limit of the rate, or one protocol, takes over from the other: the eighth."""
_MOST_CHANNELS: Final = 32
_CHANNEL_NBYTES: Final = 64 * KIB
"""A channel, and so an SM, for each of so many bytes that are sent, up to 32 [NCCL, p2pnChannels]."""

NODE_PARAMETERS: Final[Mapping[str, Parameter]] = {
    "start": ratio(0.69, 0.1, 4.0, "start by LL, of the link's launch latency"),
    "per_peer": ratio(0.12, 0.001, 2.0, "more by LL for each peer, of the link's latency"),
    "ll_rate": ratio(0.012, 0.001, 0.2, "LL to one peer, of the link's bandwidth"),
    "simple_start": ratio(1.05, 0.1, 4.0, "start by Simple, of the link's launch and latency"),
    "simple_per_peer": ratio(0.03, 0.001, 2.0, "more by Simple for each peer, of the link's latency"),
    "copy_rate": ratio(1.37, 0.3, 3.0, "bytes of the buffer that SMs copy, of the link's bandwidth"),
    "port_rate": ratio(0.74, 0.3, 1.0, "bytes sent at the full rate, of the link's bandwidth"),
    "lag": ratio(0.41, 0.001, 20.0, "time that a byte takes longer at first, of that at the link's bandwidth"),
    "lag_nbytes": ratio(95 * MIB, 64 * KIB, 600 * MIB, "bytes sent until half of that is overcome"),
    "old_ll_rate": ratio(5.8, 0.5, 20.0, "before NCCL 2.24: LL's rate, so many times"),
    "old_per_peer": ratio(2.7, 0.1, 20.0, "before NCCL 2.24: per_peer, so many times"),
    "old_start": ratio(1.06, 0.3, 2.0, "before NCCL 2.24: simple_start, so many times"),
}
NETWORK_PARAMETERS: Final[Mapping[str, Parameter]] = {
    "start": ratio(1.0, 0.2, 5.0, "start, of the NIC's launch and latency on the sheet"),
    "per_peer": microseconds(1, 0.01, 10, "to post a message to the NIC [NCCL, tuning.cc]"),
}


def all_to_all(cluster: Cluster, gpus: Sequence[int], nbytes: float) -> Activity:
    """`nbytes` is each rank's buffer, as nccl-tests defines it: of n ranks each gets nbytes / n from each."""
    if cluster.library == "gloo":
        return gloo.collective(cluster, gpus, "all_to_all", nbytes)
    return _activity(cluster, tuple(gpus), nbytes)


@lru_cache(maxsize=512)
def _activity(cluster: Cluster, gpus: tuple[int, ...], nbytes: float) -> Activity:
    if len(gpus) == 1 or nbytes == 0:
        return Activity(latency=0.0, loads=())
    loads = exchange_loads(cluster, gpus)
    remote = most_remote(cluster, gpus)
    latency, moving = _in_node(cluster, gpus, nbytes)
    return Activity(
        latency=network_latency(cluster, gpus, remote) if remote else latency,
        loads=scaled(loads, nbytes),
        ceiling=max(share for _, share in loads) * nbytes / moving,
        num_sms=num_channels(nbytes),
        patterns=(("inside", nbytes / len(gpus)), ("pxn", nbytes / len(gpus))),
    )


@lru_cache(maxsize=1024)
def exchange_loads(cluster: Cluster, gpus: tuple[int, ...]) -> tuple[Load, ...]:
    """Bytes over each wire for each byte of a rank's buffer."""
    return scaled(joined(inside(cluster, gpus), between(cluster, gpus, "pxn")), 1 / len(gpus))


def num_channels(nbytes: float) -> int:
    """How many SMs send and receive."""
    return max(1, min(_MOST_CHANNELS, int(nbytes / _CHANNEL_NBYTES)))


@lru_cache(maxsize=1024)
def most_remote(cluster: Cluster, gpus: tuple[int, ...]) -> int:
    """To how many members in other nodes a GPU sends, at most."""
    return len(gpus) - min(map(len, members(cluster, gpus).values()))


def network_latency(cluster: Cluster, gpus: Sequence[int], num_peers: int) -> float:
    """Seconds until the last of so many messages to other nodes is on its way."""
    link = nic_of(cluster.node_at(gpus[0]))
    values = fit_of(link, NETWORK_LAW).values
    return values["start"] * (link.fit["launch_latency"] + link.latency) + values["per_peer"] * num_peers


def _in_node(cluster: Cluster, gpus: tuple[int, ...], nbytes: float) -> tuple[float, float]:
    """Seconds to start, and of the bytes, of a group as if it were in one node."""
    link = cluster.node_at(gpus[0]).scale_up
    values = fit_of(link, NODE_LAW).values
    total, moving = node_seconds(link, values, float(len(gpus)), nbytes, version_code(cluster))
    return float(total - moving), float(moving)


def version_code(cluster: Cluster) -> float:
    """NCCL's version as points hold it."""
    numbers = version_of(cluster.nccl_version)
    return float(VERSION_BASE * numbers[0] + numbers[1])


def node_seconds(
    link: Link, values: Values, num_gpus: Array | float, nbytes: Array | float, version: Array | float
) -> tuple[Array, Array]:
    """Seconds in all, and those of them in which bytes move at the full rate."""
    part = nbytes / num_gpus
    old = np.less(version, OLD)
    ll = _by_ll(link, values, num_gpus - 1, part, old)
    moving = moving_seconds(link, values, nbytes, nbytes - part)
    simple = _start_of_simple(link, values, num_gpus - 1, old) + moving + _lag(link, values, nbytes - part)
    return np.maximum(shortest(_DOUBLINGS, ll, simple), moving), moving


def _by_ll(link: Link, values: Values, peers: Array | float, part: Array | float, old: Flags) -> Array:
    per_peer = values["per_peer"] * np.where(old, values["old_per_peer"], 1.0) * link.latency
    rate = values["ll_rate"] * np.where(old, values["old_ll_rate"], 1.0) * link.bandwidth
    return np.asarray(values["start"] * link.fit["launch_latency"] + per_peer * peers + part / rate)


def _start_of_simple(link: Link, values: Values, peers: Array | float, old: Flags) -> Array:
    start = values["simple_start"] * np.where(old, values["old_start"], 1.0)
    launched = link.fit["launch_latency"] + link.latency
    return np.asarray(start * launched + values["simple_per_peer"] * link.latency * peers)


def moving_seconds(link: Link, values: Values, copied: Array | float, sent: Array | float) -> Array:
    """The slower of two limits: what SMs copy, the own part included, and what the port sends."""
    by_port = sent / (values["port_rate"] * link.bandwidth)
    by_sms = copied / (values["copy_rate"] * link.bandwidth)
    return longest(_DOUBLINGS, np.asarray(by_port), np.asarray(by_sms))


def _lag(link: Link, values: Values, sent: Array | float) -> Array:
    return np.asarray(values["lag"] / link.bandwidth * sent / (1 + sent / values["lag_nbytes"]))


def _node(cluster: Cluster, values: Values, points: Points) -> Array:
    link = cluster.node.scale_up
    return node_seconds(link, values, points["num_gpus"], points["nbytes"], points["nccl_version"])[0]


def _network(cluster: Cluster, values: Values, points: Points) -> Array:
    sizes = np.column_stack([points["num_gpus"], points["num_nodes"]])
    groups, which = np.unique(sizes, axis=0, return_inverse=True)
    facts = np.array([_facts(cluster, int(gpus), int(nodes)) for gpus, nodes in groups])[which.reshape(-1)]
    link = nic_of(cluster.node)
    start = values["start"] * (link.fit["launch_latency"] + link.latency)
    return np.asarray(start + values["per_peer"] * facts[:, 0] + points["nbytes"] * facts[:, 1])


def _facts(cluster: Cluster, num_gpus: int, num_nodes: int) -> tuple[int, float]:
    """Peers in other nodes, and the seconds of a byte of the buffer, on the first GPUs of the first nodes."""
    local = num_gpus // num_nodes
    gpus = tuple(cluster.first_gpu(node) + slot for node in range(num_nodes) for slot in range(local))
    per_byte = max(share / capacity(cluster, wire) for wire, share in exchange_loads(cluster, gpus))
    return num_gpus - local, per_byte


NODE_LAW: Final[Law[Cluster]] = Law(
    operation="nccl all-to-all node",
    inputs=("num_gpus", "nbytes", "nccl_version"),
    parameters=NODE_PARAMETERS,
    seconds=_node,
)
NETWORK_LAW: Final[Law[Cluster]] = Law(
    operation="nccl all-to-all network",
    inputs=("num_gpus", "num_nodes", "nbytes"),
    parameters=NETWORK_PARAMETERS,
    seconds=_network,
)
LAWS: Final = (NODE_LAW, NETWORK_LAW)
