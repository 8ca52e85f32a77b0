"""What ring and tree have in common: a chain through the members of each node, so many bytes into and out of the node.

NCCL runs many such chains at once, each entering and leaving a node at another GPU, so that all members' NICs share the
traffic between nodes evenly. With k members (k-1)/k of the bytes go on from member to member, and on an NVSwitch or a
mesh over all ports or wires at once; in a PCIe tree from slot to slot in their order. Between nodes a chain goes from
one to the next in the group's order; a tree is taken to cross leaves and torus wires as often as the ring does.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from topologies.fabric import (
    Wire,
    capacity,
    leaf_of,
    leaves_bind,
    link_between,
    nic_of,
    route,
    to_network,
    torus_route,
)
from topologies.hardware import Cluster, Link

Members = Mapping[int, Sequence[int]]
"""The GPUs of a group in each of its nodes."""
Load = tuple[Wire, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Seconds until bytes flow, then bytes through every node: between nodes `crossing` of them leave and enter it."""

    latency: float
    nbytes: float
    crossing: float = 1.0


def members(cluster: Cluster, gpus: Sequence[int]) -> Members:
    """The group's GPUs by node, both in the group's order."""
    held: dict[int, list[int]] = {}
    for gpu in gpus:
        held.setdefault(cluster.node_of(gpu), []).append(gpu)
    return held


def nic_link(cluster: Cluster, held: Members) -> Link:
    """The kind of NIC that sets the latency between nodes: the slowest of the group's."""
    kinds = dict.fromkeys(cluster.pool_of(gpus[0]) for gpus in held.values())
    return max((nic_of(cluster.pools[pool].node) for pool in kinds), key=lambda link: link.latency)


def inside_link(cluster: Cluster, gpus: Sequence[int]) -> Link:
    """The slowest kind of link between members in one node."""
    node = cluster.node_at(gpus[0])
    if node.layout != "pcie" or len(gpus) == 1:
        return node.scale_up
    return max((link_between(cluster, a, b) for a, b in _ring(sorted(gpus))), key=lambda link: link.latency)


def launch(cluster: Cluster, held: Members) -> float:
    """Seconds to start a collective, as of its slowest kind of link: the NIC, once there are several nodes."""
    if len(held) > 1:
        return nic_link(cluster, held).fit["launch_latency"]
    (gpus,) = held.values()
    return inside_link(cluster, gpus).fit["launch_latency"]


def shares(cluster: Cluster, held: Members, crossing: float = 1.0) -> tuple[Load, ...]:
    """Bytes over each wire for each byte of the chain, of which `crossing` leaves and enters each of several nodes."""
    found: defaultdict[Wire, float] = defaultdict(float)
    for wire, share in _all_loads(cluster, held, crossing):
        found[wire] += share
    return tuple(found.items())


def seconds_per_byte(cluster: Cluster, loads: Sequence[Load]) -> float:
    """What a byte of the chain takes with its wires to itself."""
    return max(share / capacity(cluster, wire) for wire, share in loads)


def _all_loads(cluster: Cluster, held: Members, crossing: float) -> Iterator[Load]:
    crosses = len(held) > 1
    for gpus in held.values():
        if len(gpus) > 1:
            yield from _inside(cluster, gpus, 1 - 1 / len(gpus) if crosses else 1.0)
        if crosses:
            yield from ((wire, share * crossing) for wire, share in _into_network(cluster, gpus))
    if crosses:
        yield from ((wire, share * crossing) for wire, share in _between(cluster, held))


def _inside(cluster: Cluster, gpus: Sequence[int], share: float) -> Iterator[Load]:
    """Over the node's own wires, `share` of the chain's bytes from each member."""
    layout = cluster.node_at(gpus[0]).layout
    if layout == "nvswitch":
        for gpu in gpus:
            yield Wire("nvlink", "out", gpu), share
            yield Wire("nvlink", "in", gpu), share
    elif layout == "mesh":
        pairs = ((a, b) for a in gpus for b in gpus if a != b)
        yield from ((wire, share / (len(gpus) - 1)) for a, b in pairs for wire in route(cluster, a, b))
    else:
        yield from ((wire, share) for a, b in _ring(sorted(gpus)) for wire in route(cluster, a, b))


def _into_network(cluster: Cluster, gpus: Sequence[int]) -> Iterator[Load]:
    """Between the members of a node and the network: evenly over their NICs, of each NIC over the GPUs it serves."""
    if cluster.node_at(gpus[0]).layout != "pcie":
        outs = {wire for gpu in gpus for wire in to_network(cluster, gpu, "out")}
        for wire in sorted(outs):
            yield wire, 1 / len(outs)
            yield Wire(wire.medium, "in", wire.number), 1 / len(outs)
        return
    ways = {gpu: (to_network(cluster, gpu, "out"), to_network(cluster, gpu, "in")) for gpu in gpus}
    nics = Counter(out[-1:] for out, _ in ways.values())
    for out, back in ways.values():
        share = 1 / len(nics) / nics[out[-1:]]
        yield from ((wire, share) for wire in (*out, *back))


def _between(cluster: Cluster, held: Members) -> Iterator[Load]:
    """From node to node in the group's order: through the torus, or over leaves where they can be the bottleneck."""
    if cluster.network.wiring == "torus":
        yield from ((wire, 1.0) for a, b in _ring([*held]) for wire in torus_route(cluster, a, b))
    elif leaves_bind(cluster):
        spread = [_by_leaf(cluster, gpus) for gpus in held.values()]
        for one, other in _ring(range(len(spread))):
            yield from _beyond(spread[one], spread[other])
            yield from ((leaf._replace(direction="in"), share) for leaf, share in _beyond(spread[other], spread[one]))


def _by_leaf(cluster: Cluster, gpus: Sequence[int]) -> Mapping[Wire, float]:
    """How the bytes that leave a node are spread over the leaves that its NICs are at."""
    leaves = {to_network(cluster, gpu, "out")[-1]: leaf_of(cluster, gpu) for gpu in gpus}
    return {leaf: count / len(leaves) for leaf, count in Counter(leaves.values()).items()}


def _beyond(one: Mapping[Wire, float], other: Mapping[Wire, float]) -> Iterator[Load]:
    """What leaves one node over each leaf and does not reach the next below the same leaf."""
    for leaf, share in one.items():
        if share > other.get(leaf, 0.0):
            yield leaf, share - other.get(leaf, 0.0)


def _ring(places: Sequence[int]) -> Iterator[tuple[int, int]]:
    return pairwise((*places, places[0]))
