"""How GPUs are wired: the wires that a message takes from one GPU to another, and what each can carry.

Inside a node: ports on an NVSwitch, wires of a mesh, or a PCIe tree (slot, switch, socket link) with NVLink bridges.
Between nodes: the NIC that serves the GPU, and from leaf to leaf the ways up to the spine and down, or the wires of a
torus, one dimension after the other. Between rails a message crosses the spine, unless NCCL's PXN takes it by NVLink
to the GPU whose NIC is on the target's rail [NCCL 2.12]. Spines themselves never block.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from topologies.ecmp import uplinks
from topologies.hardware import Cluster, Link, Node

Medium = Literal["nvlink", "mesh", "slot", "switch", "socket", "bridge", "nic", "leaf", "uplink", "torus"]
Direction = Literal["out", "in"]


OUT: Direction = "out"
IN: Direction = "in"


class Wire(NamedTuple):
    """One direction of one thing that messages share: `number` is the first of the GPUs behind it.

    "out" leads away from that GPU; over a socket link or bridge to the higher number, along a torus onwards. `which` is
    the GPU at the other end of a mesh wire, the rail of a leaf, the dimension of a torus wire, else 0. Where a leaf has
    n parallel up-links, up-link k of rail r is number r n + k, and leads to the same spine from every leaf.
    """

    medium: Medium
    direction: Direction
    number: int
    which: int = 0


Load = tuple[Wire, float]
"""Bytes over a wire for each byte of something."""


def nic_of(node: Node) -> Link:
    """The kind of link that leads out of a node; where none does, nothing is ever sent there."""
    return node.nic or node.scale_up


def link_between(cluster: Cluster, source: int, target: int) -> Link:
    """The kind of link that sets the latency of a message: the slower NIC between nodes, the slowest link inside."""
    one, other = cluster.node_at(source), cluster.node_at(target)
    if cluster.node_of(source) != cluster.node_of(target):
        return max(nic_of(one), nic_of(other), key=lambda link: link.latency)
    if one.layout != "pcie":
        return one.scale_up
    links = {"slot": one.scale_up, "switch": one.scale_up, "socket": one.socket_link, "bridge": one.bridge}
    crossed = (links[wire.medium] for wire in route(cluster, source, target))
    return max((link for link in crossed if link), key=lambda link: link.latency, default=one.scale_up)


def route(cluster: Cluster, source: int, target: int, *, pxn: bool = True) -> tuple[Wire, ...]:
    """The wires on the way from one GPU to another, in order; none from a GPU to itself.

    NCCL's PXN needs a GPU of the communicator on the target's rail: without one `pxn` is False.
    """
    return tuple(wire for wire, _ in _loads(cluster, source, target, pxn=pxn, leaves=True))


def loaded_route(cluster: Cluster, source: int, target: int, *, pxn: bool = True) -> tuple[Wire, ...]:
    """The wires of the route that can ever be the bottleneck: where leaves carry what is below them, they cannot."""
    return tuple(wire for wire, _ in message_loads(cluster, source, target, pxn=pxn))


def message_loads(cluster: Cluster, source: int, target: int, *, pxn: bool = True) -> tuple[Load, ...]:
    """Those wires with the bytes over each for each byte of the message: below 1 where it is spread over several."""
    return tuple(_loads(cluster, source, target, pxn=pxn, leaves=leaves_bind(cluster)))


def _loads(cluster: Cluster, source: int, target: int, *, pxn: bool, leaves: bool) -> Iterator[Load]:
    if source == target:
        return
    if cluster.node_of(source) == cluster.node_of(target):
        yield from ((wire, 1.0) for wire in _inside(cluster, source, target))
        return
    sender = _sender(cluster, source, target) if pxn and cluster.network.pxn else source
    if sender != source:
        yield from ((wire, 1.0) for wire in _inside(cluster, source, sender))
    yield from ((wire, 1.0) for wire in to_network(cluster, sender, "out"))
    if cluster.network.wiring == "torus":
        one, other = cluster.node_of(source), cluster.node_of(target)
        yield from ((wire, 1.0) for wire in torus_route(cluster, one, other))
    elif leaves:
        yield from over_spine(cluster, sender, target)
    yield from ((wire, 1.0) for wire in reversed(to_network(cluster, target, "in")))


def _sender(cluster: Cluster, source: int, target: int) -> int:
    """The GPU by whose NIC a message leaves its node: NCCL takes that of the target's number, if NVLink leads to it and
    its NIC is on the target's rail [NCCL, src/graph/search.cc, ncclTopoGetNetDev, NCCL_P2P_PXN_LEVEL=2]."""
    node, slot = cluster.node_at(source), cluster.slot_of(target)
    rail = nic_index(cluster.node_at(target), slot)
    if cluster.network.wiring != "rail-optimised" or node.layout != "nvswitch" or slot >= node.num_gpus:
        return source
    if rail == nic_index(node, cluster.slot_of(source)) or rail != nic_index(node, slot):
        return source
    return source - cluster.slot_of(source) + slot


def leaves_bind(cluster: Cluster) -> bool:
    """Whether a leaf's way up can carry less than the NICs below it send."""
    network = cluster.network
    if network.wiring == "torus":
        return False
    narrow = network.oversubscription > 1 or network.ecmp > 0 or network.background > 0
    return narrow or any(name.lower().lstrip().startswith("leaf") for name in cluster.degraded)


def _inside(cluster: Cluster, source: int, target: int) -> tuple[Wire, ...]:
    layout = cluster.node_at(source).layout
    if layout == "nvswitch":
        return Wire("nvlink", "out", source), Wire("nvlink", "in", target)
    if layout == "mesh":
        return (Wire("mesh", "out", source, target),)
    return tuple(_through_tree(cluster, source, target))


def _through_tree(cluster: Cluster, source: int, target: int) -> Iterator[Wire]:
    """Over the bridge of a pair; else down the tree from slot to switch to socket, and up again."""
    node, a, b = cluster.node_at(source), cluster.slot_of(source), cluster.slot_of(target)
    if node.bridge and a // 2 == b // 2:
        yield Wire("bridge", "out" if a < b else "in", min(source, target))
        return
    yield Wire("slot", "out", source)
    if a // node.gpus_per_switch != b // node.gpus_per_switch:
        yield from _to_socket(node, source, a, "out")
        yield from _between_sockets(node, source - a, socket_of(node, a), socket_of(node, b))
        yield from _to_socket(node, target, b, "in")
    yield Wire("slot", "in", target)


def _to_socket(node: Node, gpu: int, slot: int, direction: Direction) -> Iterator[Wire]:
    """The PCIe switch's way up, or down; without switches a slot is at its socket."""
    if node.gpus_per_switch > 1:
        yield Wire("switch", direction, gpu - slot % node.gpus_per_switch)


def _between_sockets(node: Node, first_gpu: int, one: int, other: int) -> Iterator[Wire]:
    if one != other:
        yield Wire("socket", "out" if one < other else "in", first_gpu)


def socket_of(node: Node, slot: int) -> int:
    """The socket that a slot is at: slots are dealt to sockets in equal runs."""
    return slot * node.num_sockets // node.num_gpus


def num_mesh_wires(node: Node) -> int:
    """Wires that the port of a GPU in a mesh is dealt to, those of a whole box also where only a part is used."""
    return max(node.scale_up.num_peers, node.num_gpus - 1)


def num_nic_wires(node: Node) -> int:
    """The NICs of a node that are told apart: the NICs that one GPU has to itself are one wire."""
    return max(1, min(node.num_nics, node.num_gpus))


def nic_index(node: Node, slot: int) -> int:
    """Which of its node's NICs serves a slot; in a rail-optimised fabric its rail."""
    return slot * num_nic_wires(node) // node.num_gpus


def to_network(cluster: Cluster, gpu: int, direction: Direction) -> tuple[Wire, ...]:
    """The wires between a GPU and the network, the GPU's end first; in a torus the network begins at the node."""
    node, slot = cluster.node_at(gpu), cluster.slot_of(gpu)
    first = first_served(node, nic_index(node, slot))
    nic = () if cluster.network.wiring == "torus" else (Wire("nic", direction, gpu - slot + first),)
    return nic if node.layout != "pcie" else (*_to_nic(node, gpu, slot, direction), *nic)


def first_served(node: Node, nic: int) -> int:
    """The first slot that a NIC serves."""
    return -(-nic * node.num_gpus // num_nic_wires(node))


def _to_nic(node: Node, gpu: int, slot: int, direction: Direction) -> Iterator[Wire]:
    """A NIC that serves the GPUs of one PCIe switch is below it, else at the socket of the first GPU that it serves."""
    nic = nic_index(node, slot)
    first, last = first_served(node, nic), first_served(node, nic + 1) - 1
    yield Wire("slot", direction, gpu)
    if first // node.gpus_per_switch != last // node.gpus_per_switch:
        yield from _to_socket(node, gpu, slot, direction)
        ends = socket_of(node, slot), socket_of(node, first)
        yield from _between_sockets(node, gpu - slot, *(ends if direction == "out" else reversed(ends)))


def over_spine(cluster: Cluster, source: int, target: int) -> Iterator[Load]:
    """From the leaf of one GPU's NIC up to the spine and down to that of another's: the bytes of one over each way."""
    up, down = leaf_of(cluster, source), leaf_of(cluster, target)
    if up == down:
        return
    network = cluster.network
    if not network.ecmp:
        yield from ((up, 1.0), (down._replace(direction="in"), 1.0))
        return
    ends = (to_network(cluster, gpu, "out")[-1].number for gpu in (source, target))
    taken = uplinks(network.ecmp, network.qps, network.ecmp_seed, *ends)
    for leaf, direction in ((up, OUT), (down, IN)):
        yield from ((_uplink(cluster, leaf, link, direction), share) for link, share in taken)


def spread_evenly(cluster: Cluster, leaf: Wire) -> Iterator[Load]:
    """A leaf's way, in that direction, for each byte of so many messages that hashing them spreads them evenly."""
    num_uplinks = cluster.network.ecmp
    if not num_uplinks:
        yield leaf, 1.0
    for link in range(num_uplinks):
        yield _uplink(cluster, leaf, link, leaf.direction), 1 / num_uplinks


def _uplink(cluster: Cluster, leaf: Wire, link: int, direction: Direction) -> Wire:
    return Wire("uplink", direction, leaf.number, leaf.which * cluster.network.ecmp + link)


def leaf_of(cluster: Cluster, gpu: int) -> Wire:
    """The way up of the leaf that the GPU's NIC is at."""
    network, node = cluster.network, cluster.node_of(gpu)
    nodes_before = node - node % network.nodes_per_leaf if network.nodes_per_leaf else 0
    rail = nic_index(cluster.node_at(gpu), cluster.slot_of(gpu)) if network.wiring == "rail-optimised" else 0
    return Wire("leaf", "out", cluster.first_gpu(nodes_before), rail)


def torus_route(cluster: Cluster, source: int, target: int) -> tuple[Wire, ...]:
    """The wires from node to node: the shortest way round in each dimension, one dimension after the other, onwards
    where both ways are as long [Dally & Towles 2004, dimension-order routing]."""
    wires: list[Wire] = []
    stride = 1
    for dimension, size in enumerate(cluster.network.torus):
        ahead = (target // stride - source // stride) % size
        onwards = 2 * ahead <= size
        for _ in range(ahead if onwards else size - ahead):
            wires.append(Wire("torus", "out" if onwards else "in", cluster.first_gpu(source), dimension))
            place = source // stride % size
            source += ((place + (1 if onwards else -1)) % size - place) * stride
        stride *= size
    return tuple(wires)


def capacity(cluster: Cluster, wire: Wire) -> float:
    """Bytes per second that the wire carries."""
    if not cluster.degraded:
        return _sound_capacity(cluster, wire)
    left = cluster.degraded_wires.get(wire._replace(direction="out"), 1.0)
    return _sound_capacity(cluster, wire) * left


def _sound_capacity(cluster: Cluster, wire: Wire) -> float:
    node = cluster.node_at(wire.number)
    match wire.medium:
        case "nvlink" | "slot" | "switch":
            return node.scale_up.achievable_bandwidth
        case "nic":
            return _nic_capacity(node)
        case "mesh":
            return node.scale_up.achievable_bandwidth / num_mesh_wires(node)
        case "socket":
            return (node.socket_link or node.scale_up).achievable_bandwidth
        case "bridge":
            return (node.bridge or node.scale_up).achievable_bandwidth
        case "leaf":
            return _leaf_capacity(cluster, wire)
        case "uplink":
            num_uplinks = cluster.network.ecmp
            return _leaf_capacity(cluster, wire._replace(which=wire.which // num_uplinks)) / num_uplinks
        case "torus":
            num_neighbours = sum(min(size - 1, 2) for size in cluster.network.torus)
            return nic_of(node).achievable_bandwidth * node.num_nics / num_neighbours


def _nic_capacity(node: Node) -> float:
    """One NIC, or the share of one GPU where there are more NICs than GPUs."""
    return nic_of(node).achievable_bandwidth * max(1, node.num_nics) / num_nic_wires(node)


def _leaf_capacity(cluster: Cluster, wire: Wire) -> float:
    """What the NICs below the leaf carry, over the oversubscription, less what others take; a leaf is as wide as if it
    were full."""
    network, first = cluster.network, cluster.node_of(wire.number)
    num_nodes = network.nodes_per_leaf or cluster.num_nodes
    is_rail = network.wiring == "rail-optimised"
    if cluster.is_mixed:
        firsts = (cluster.first_gpu(node) for node in range(first, first + num_nodes))
        below = sum(_below(cluster.node_at(gpu), is_rail, wire.which) for gpu in firsts)
    else:
        below = num_nodes * _below(cluster.node, is_rail, wire.which)
    return below * (1 - network.background) / network.oversubscription


def _below(node: Node, is_rail: bool, rail: int) -> float:
    """What the NICs of one node that are at a leaf carry."""
    count = num_nic_wires(node)
    return _nic_capacity(node) * ((1 if rail < count else 0) if is_rail else count)
