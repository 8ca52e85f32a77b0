"""What joins the GPUs of a drawing, in words: links with their rates, switches, NICs, and which axis crosses what."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.plan import Axis, Plan, spans
from topologies.fabric import nic_index, nic_of, num_mesh_wires, socket_of
from topologies.hardware import Cluster, Link, Network, Node
from topologies.quantity import rate

AXES: dict[Axis, str] = {
    "tp": "tensor parallel",
    "cp": "context parallel",
    "ep": "expert parallel",
    "dp": "data parallel",
    "pp": "pipeline parallel",
}
MOST_HOPS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """One axis of the plan: the first of its groups, whether neighbours share a node, and the links between them."""

    axis: str
    group: str
    where: str
    links: str


def network(cluster: Cluster, num_nodes: int) -> tuple[str, ...]:
    """How `num_nodes` nodes are joined, as sentences; none for a single node."""
    if num_nodes < 2:
        return ()
    nics = dict.fromkeys(pool.node.nic for pool in cluster.pools if pool.node.nic is not None)
    links = f"Network: {', '.join(f'{nic.name}, {rate(nic.bandwidth)} each way a NIC' for nic in nics)}"
    degraded = (f"Degraded: {name} has {left:.0%} of its capacity" for name, left in cluster.degraded.items())
    return (links, *_wiring(cluster.network), *degraded)


def node_title(cluster: Cluster, number: int, node: Node) -> str:
    """The node's number, with its leaf switch where leaves do not hold all nodes, and its GPUs."""
    leaf = cluster.network.nodes_per_leaf
    on_leaf = f", leaf {number // leaf}" if leaf else ""
    return f"Node {number:,}{on_leaf}: {node.num_gpus} × {node.gpu.name}"


def joints(node: Node) -> tuple[str, ...]:
    """What joins the GPUs of a node, and what leads out of it, with rates in one direction."""
    found = [_inside(node)] if node.num_gpus > 1 else []
    if node.bridge is not None:
        found.append(f"NVLink bridges: {_link(node.bridge)}")
    if node.socket_link is not None:
        found.append(f"Sockets: {_link(node.socket_link)}")
    if node.nic is not None:
        found.append(f"{_counted(node.num_nics, 'NIC')}: {_link(node.nic)}" + (" each" if node.num_nics > 1 else ""))
    return tuple(found)


def levels(node: Node) -> list[Callable[[int], str]]:
    """What slots share, as functions from a slot to a name, from the nearest outwards: bridge, switch, socket, NIC."""
    found: list[Callable[[int], str]] = []
    if node.bridge is not None:
        found.append(lambda slot: f"bridge {slot // 2}")
    if node.gpus_per_switch > 1:
        found.append(lambda slot: f"switch {slot // node.gpus_per_switch}")
    if node.num_sockets > 1:
        found.append(lambda slot: f"socket {socket_of(node, slot)}")
    if node.nic is not None:
        found.append(lambda slot: nics_of(node, slot))
    return found


def nics_of(node: Node, slot: int) -> str:
    """The NIC that serves a slot, or the NICs where a slot has several to itself."""
    if node.num_nics <= node.num_gpus:
        return f"NIC {nic_index(node, slot)}"
    first, end = (place * node.num_nics // node.num_gpus for place in (slot, slot + 1))
    return f"NIC {first}" if end == first + 1 else f"NIC {first}-{end - 1}"


def crossings(cluster: Cluster, plan: Plan) -> tuple[Crossing, ...]:
    """For each axis on which the model or the batch is split, which links its messages cross."""
    steps = spans(plan) | {"dp": (plan.tp * plan.cp, plan.dp), "pp": (plan.stride, plan.pp)}
    nodes = np.array([cluster.node_of(gpu) for gpu in range(plan.num_gpus)])
    places = {axis: steps[axis] for axis in AXES}
    return tuple(
        _crossing(cluster, nodes, axis, degree, stride) for axis, (stride, degree) in places.items() if degree > 1
    )


def _crossing(cluster: Cluster, nodes: NDArray[np.intp], axis: Axis, degree: int, stride: int) -> Crossing:
    """`nodes` holds the node of every GPU; neighbours along the axis are `stride` GPUs apart."""
    has_next = np.arange(len(nodes) - stride) // stride % degree + 1 < degree
    inside = nodes[:-stride] == nodes[stride:]
    within, between = np.flatnonzero(inside & has_next), np.flatnonzero(~inside & has_next)
    words = ["inside a node"] * bool(len(within)) + ["between nodes"] * bool(len(between))
    links = dict.fromkeys(
        link
        for hops in (within, between)
        for gpu in hops[:MOST_HOPS]
        for link in _on_the_way(cluster, gpu, gpu + stride)
    )
    return Crossing(
        axis=f"{AXES[axis]}, {axis} {degree}",
        group=_members(degree, stride),
        where=" and ".join(words),
        links="; ".join(links),
    )


def _on_the_way(cluster: Cluster, source: int, target: int) -> Iterator[str]:
    """The links that a message crosses, with their rates; on the way to a NIC the NIC alone is named."""
    node = cluster.node_at(source)
    if cluster.node_of(source) != cluster.node_of(target):
        for end in (node, cluster.node_at(target)):
            yield f"{_link(nic_of(end))} a NIC, {_counted(end.num_nics, 'NIC')} a node"
        return
    for wire in cluster.route(source, target):
        if wire.medium == "bridge" and node.bridge is not None:
            yield f"{_link(node.bridge)} a bridge"
        elif wire.medium == "socket" and node.socket_link is not None:
            yield f"{_link(node.socket_link)} between sockets"
        else:
            yield f"{_link(node.scale_up)} a GPU"


def _members(degree: int, stride: int) -> str:
    """The first group of an axis: 'GPUs 0 to 7', 'GPUs 0, 8, 16, ... 56'."""
    last = (degree - 1) * stride
    if stride == 1:
        return f"GPUs 0 to {last}"
    if degree <= 4:
        return f"GPUs {', '.join(str(place * stride) for place in range(degree))}"
    return f"GPUs 0, {stride}, {2 * stride}, ... {last}"


def _inside(node: Node) -> str:
    link = node.scale_up
    if node.layout == "nvswitch":
        return f"NVSwitch: {_link(link)} a GPU"
    if node.layout == "mesh":
        return f"Mesh: {_link(link)} a GPU, {rate(link.bandwidth / num_mesh_wires(node))} to each other"
    return f"PCIe: {_link(link)} a GPU"


def _link(link: Link) -> str:
    return f"{link.name}, {rate(link.bandwidth)}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _wiring(fabric: Network) -> Iterator[str]:
    """Leaves and spines, or the torus, in sentences."""
    if fabric.wiring == "torus":
        sizes = " × ".join(map(str, fabric.torus))
        yield f"Torus of {sizes} nodes: the NICs of a node are dealt evenly to wires to its neighbours"
        return
    nodes = f"every {fabric.nodes_per_leaf} nodes" if fabric.nodes_per_leaf else "all nodes"
    if fabric.wiring == "rail-optimised":
        yield f"Leaf switches, rail-optimised: one for each NIC number of {nodes}"
    else:
        yield f"Leaf switches, fat tree: one for all NICs of {nodes}"
    if fabric.nodes_per_leaf or fabric.wiring == "rail-optimised":
        bandwidth = "all" if fabric.oversubscription == 1 else f"1/{fabric.oversubscription:g}"
        taken = f", of which others take {fabric.background:.0%}" if fabric.background else ""
        yield f"Spine switches: join the leaves, with {bandwidth} of the bandwidth below them{taken}"
    if fabric.ecmp:
        yield f"Up-links: {fabric.ecmp} a leaf; each message is hashed to them by {fabric.qps} connections"
