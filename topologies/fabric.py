"""How GPUs are wired: the wires that a message takes from one GPU to another, and what each can carry.

Inside a node: ports on an NVSwitch, wires of a mesh, or a PCIe tree (slot, switch, socket link) with NVLink bridges.
Between nodes: the NIC that serves the GPU, and from leaf to leaf the ways up to the spine and down, or the wires of a
torus, one dimension after the other. Between rails a message crosses the spine. Spines themselves never block.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from topologies.hardware import Cluster, Link, Node

Medium = Literal["nvlink", "mesh", "slot", "switch", "socket", "bridge", "nic", "leaf", "torus"]
Direction = Literal["out", "in"]


class Wire(NamedTuple):
    """One direction of one thing that messages share: `number` is the first of the GPUs behind it.

    "out" leads away from that GPU; over a socket link or bridge to the higher number, along a torus onwards. `which` is
    the GPU at the other end of a mesh wire, the rail of a leaf, the dimension of a torus wire, else 0.
    """

    medium: Medium
    direction: Direction
    number: int
    which: int = 0


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


def route(cluster: Cluster, source: int, target: int) -> tuple[Wire, ...]:
    """The wires on the way from one GPU to another, in order; none from a GPU to itself."""
    return _route(cluster, source, target, leaves=True)


def loaded_route(cluster: Cluster, source: int, target: int) -> tuple[Wire, ...]:
    """The wires of the route that can ever be the bottleneck: where leaves carry what is below them, they cannot."""
    return _route(cluster, source, target, leaves=leaves_bind(cluster))


def _route(cluster: Cluster, source: int, target: int, *, leaves: bool) -> tuple[Wire, ...]:
    if source == target:
        return ()
    if cluster.node_of(source) == cluster.node_of(target):
        return _inside(cluster, source, target)
    way_in = to_network(cluster, target, "in")
    across = _across(cluster, source, target) if leaves or cluster.network.wiring == "torus" else ()
    return (*to_network(cluster, source, "out"), *across, *reversed(way_in))


def leaves_bind(cluster: Cluster) -> bool:
    """Whether a leaf's way up carries less than the NICs below it."""
    return cluster.network.wiring != "torus" and cluster.network.oversubscription > 1


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
    first = _first_served(node, nic_index(node, slot))
    nic = () if cluster.network.wiring == "torus" else (Wire("nic", direction, gpu - slot + first),)
    return nic if node.layout != "pcie" else (*_to_nic(node, gpu, slot, direction), *nic)


def _first_served(node: Node, nic: int) -> int:
    """The first slot that a NIC serves."""
    return -(-nic * node.num_gpus // num_nic_wires(node))


def _to_nic(node: Node, gpu: int, slot: int, direction: Direction) -> Iterator[Wire]:
    """A NIC that serves the GPUs of one PCIe switch is below it, else at the socket of the first GPU that it serves."""
    nic = nic_index(node, slot)
    first, last = _first_served(node, nic), _first_served(node, nic + 1) - 1
    yield Wire("slot", direction, gpu)
    if first // node.gpus_per_switch != last // node.gpus_per_switch:
        yield from _to_socket(node, gpu, slot, direction)
        ends = socket_of(node, slot), socket_of(node, first)
        yield from _between_sockets(node, gpu - slot, *(ends if direction == "out" else reversed(ends)))


def _across(cluster: Cluster, source: int, target: int) -> tuple[Wire, ...]:
    """From the NIC of one node to that of another."""
    if cluster.network.wiring == "torus":
        return torus_route(cluster, cluster.node_of(source), cluster.node_of(target))
    up, down = leaf_of(cluster, source), leaf_of(cluster, target)
    return () if up == down else (up, down._replace(direction="in"))


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
        case "torus":
            num_neighbours = sum(min(size - 1, 2) for size in cluster.network.torus)
            return nic_of(node).achievable_bandwidth * node.num_nics / num_neighbours


def _nic_capacity(node: Node) -> float:
    """One NIC, or the share of one GPU where there are more NICs than GPUs."""
    return nic_of(node).achievable_bandwidth * max(1, node.num_nics) / num_nic_wires(node)


def _leaf_capacity(cluster: Cluster, wire: Wire) -> float:
    """What the NICs below the leaf carry, over the oversubscription; a leaf is as wide as if it were full."""
    network, first = cluster.network, cluster.node_of(wire.number)
    num_nodes = network.nodes_per_leaf or cluster.num_nodes
    is_rail = network.wiring == "rail-optimised"
    if not cluster.is_mixed:
        return num_nodes * _below(cluster.node, is_rail, wire.which) / network.oversubscription
    firsts = (cluster.first_gpu(node) for node in range(first, first + num_nodes))
    return sum(_below(cluster.node_at(gpu), is_rail, wire.which) for gpu in firsts) / network.oversubscription


def _below(node: Node, is_rail: bool, rail: int) -> float:
    """What the NICs of one node that are at a leaf carry."""
    count = num_nic_wires(node)
    return _nic_capacity(node) * ((1 if rail < count else 0) if is_rail else count)


def describe(cluster: Cluster, wire: Wire) -> str:
    """The wire in words, as "NVLink port of GPU 3, out"."""
    gpu, node = wire.number, cluster.node_at(wire.number)
    place = f"node {cluster.node_of(gpu)}"
    match wire.medium:
        case "nvlink":
            return f"NVLink port of GPU {gpu}, {wire.direction}"
        case "mesh":
            return f"wire from GPU {gpu} to GPU {wire.which}"
        case "slot":
            return f"PCIe slot of GPU {gpu}, {wire.direction}"
        case "switch":
            last = gpu + node.gpus_per_switch - 1
            return f"PCIe switch of GPUs {gpu} to {last}, {'up' if wire.direction == 'out' else 'down'}"
        case "socket":
            return f"socket link of {place}, {'onwards' if wire.direction == 'out' else 'back'}"
        case "bridge":
            pair = (gpu, gpu + 1) if wire.direction == "out" else (gpu + 1, gpu)
            return f"NVLink bridge from GPU {pair[0]} to GPU {pair[1]}"
        case "nic":
            return f"NIC {nic_index(node, cluster.slot_of(gpu))} of {place}, {wire.direction}"
        case "leaf":
            return f"{_leaf_name(cluster, wire)} {'up to' if wire.direction == 'out' else 'down from'} the spine"
        case "torus":
            sense = "onwards" if wire.direction == "out" else "back"
            return f"torus wire of {place}, dimension {wire.which}, {sense}"


def _leaf_name(cluster: Cluster, wire: Wire) -> str:
    number = cluster.node_of(wire.number) // (cluster.network.nodes_per_leaf or cluster.num_nodes)
    return f"leaf {number}" + (f" of rail {wire.which}" if cluster.network.wiring == "rail-optimised" else "")
