"""What ring and tree have in common: a chain through the members of each node, so many bytes into and out of the node.

NCCL runs many such chains at once, each entering and leaving a node at another GPU, so that all members' NICs share the
traffic between nodes evenly. With k members (k-1)/k of the bytes go on from member to member, and on an NVSwitch or a
mesh over all ports or wires at once; in a PCIe tree from slot to slot in their order. Between nodes a chain goes from
one to the next in the group's order; a tree is taken to cross leaves and torus wires as often as the ring does.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from topologies.fabric import (
    Wire,
    capacity,
    leaf_of,
    leaves_bind,
    link_between,
    nic_of,
    over_spine,
    route,
    to_network,
    torus_route,
)
from topologies.hardware import Cluster, Link

Members = Mapping[int, Sequence[int]]
"""The GPUs of a group in each of its nodes."""
Load = tuple[Wire, float]
NOTHING = 1e-12
"""Shares of a chain below this are rounding."""


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
        spread = [_by_nic(cluster, gpus) for gpus in held.values()]
        for one, other in _ring(range(len(spread))):
            for sender, receiver, share in _beyond(cluster, spread[one], spread[other]):
                yield from ((wire, part * share) for wire, part in over_spine(cluster, sender, receiver))


def _by_nic(cluster: Cluster, gpus: Sequence[int]) -> Mapping[int, float]:
    """How the bytes that leave a node are spread over its NICs; a NIC goes by one of the GPUs that it serves."""
    nics = {to_network(cluster, gpu, "out")[-1]: gpu for gpu in gpus}
    return {gpu: 1 / len(nics) for gpu in nics.values()}


def _beyond(cluster: Cluster, one: Mapping[int, float], other: Mapping[int, float]) -> Iterator[tuple[int, int, float]]:
    """What leaves the NICs of one node and does not reach the next below the same leaf: from NIC to NIC, in order."""
    there, back = _by_leaf(cluster, one), _by_leaf(cluster, other)
    out, into = ([*_left(cluster, *ends)] for ends in ((one, there, back), (other, back, there)))
    while out and into:
        (sender, sent), (receiver, taken) = out[0], into[0]
        share = min(sent, taken)
        yield sender, receiver, share
        out[:1] = [(sender, sent - share)] if sent - share > NOTHING else []
        into[:1] = [(receiver, taken - share)] if taken - share > NOTHING else []


def _by_leaf(cluster: Cluster, nics: Mapping[int, float]) -> Mapping[Wire, float]:
    found: defaultdict[Wire, float] = defaultdict(float)
    for gpu, share in nics.items():
        found[leaf_of(cluster, gpu)] += share
    return found


def _left(
    cluster: Cluster, nics: Mapping[int, float], below: Mapping[Wire, float], met: Mapping[Wire, float]
) -> Iterator[tuple[int, float]]:
    """The part of each NIC's bytes whose leaf does not meet them in the other node."""
    for gpu, share in nics.items():
        leaf = leaf_of(cluster, gpu)
        part = 1 - met.get(leaf, 0.0) / below[leaf]
        if part > NOTHING:
            yield gpu, share * part


def _ring(places: Sequence[int]) -> Iterator[tuple[int, int]]:
    return pairwise((*places, places[0]))
