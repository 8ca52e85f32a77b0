"""Does a cluster make sense: its nodes, and the network between them, once every part is known.

Each check names the field of the sheet that it is about and says what to write instead.
"""

from collections.abc import Iterator
from math import prod

from topologies.degraded import Wrong, wires
from topologies.document import Location
from topologies.hardware import Cluster, Network, Node

Problem = tuple[Location, str]

LONGEST_RING = 64
"""Nodes in one dimension of a torus; real ones have up to 30 or so. A message takes up to half as many wires."""


def problems(cluster: Cluster) -> Iterator[Problem]:
    """What is wrong with a cluster: the place in its sheet, and what to write there."""
    for index, pool in enumerate(cluster.pools):
        at: Location = ("pools", index) if cluster.is_mixed else ()
        for field, message in (*_inside(pool.node), *_outside(pool.node, cluster.num_nodes)):
            yield (*at, field), message
    yield from (((field,), message) for field, message in _network(cluster))
    for name in cluster.degraded:
        try:
            wires(cluster, name)
        except Wrong as wrong:
            yield ("degraded", name), str(wrong)


def _inside(node: Node) -> Iterator[tuple[str, str]]:
    """What is wrong with the way inside a node."""
    if node.layout != "pcie":
        for field, given in _tree_fields(node).items():
            if given:
                yield field, "only a PCIe tree has it; take it out, or write pcie in place of nvlink or mesh"
        return
    per_socket = node.num_gpus // node.num_sockets
    if node.num_gpus % node.num_sockets:
        yield "sockets", f"{node.num_sockets} does not divide the {node.num_gpus} GPUs of a node"
    elif per_socket % node.gpus_per_switch:
        yield "gpus_per_switch", f"{node.gpus_per_switch} does not divide the {per_socket} GPUs of a socket"
    if node.num_sockets > 1 and not node.socket_link:
        yield "socket_link", "this field is missing: what joins the sockets; write for example socket_link: upi"
    if node.num_sockets == 1 and node.socket_link:
        yield "socket_link", "there is one socket; write sockets: 2, or take this out"
    if node.bridge and node.num_gpus % 2:
        yield "bridge", f"a bridge joins two GPUs, and {node.num_gpus} is odd; take it out"


def _tree_fields(node: Node) -> dict[str, bool]:
    return {
        "gpus_per_switch": node.gpus_per_switch > 1,
        "sockets": node.num_sockets > 1,
        "socket_link": node.socket_link is not None,
        "bridge": node.bridge is not None,
    }


def _outside(node: Node, num_nodes: int) -> Iterator[tuple[str, str]]:
    """What is wrong with the way out of a node."""
    if num_nodes > 1 and node.nic is None:
        yield "nic", f"{num_nodes} nodes need a network; write for example nic: ib-ndr400 and nics_per_node: 8"
    elif node.nic is not None and node.num_nics < 1:
        yield "nics_per_node", "this field is missing: how many NICs a node has; write for example nics_per_node: 8"
    elif node.nic is None and node.num_nics > 0:
        yield "nics_per_node", "of which kind is not said; write for example nic: ib-ndr400"


def _network(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """What is wrong with the network between the nodes."""
    network = cluster.network
    if network.wiring == "torus":
        yield from _torus(cluster)
        return
    if network.torus:
        yield "torus", f"wiring is {network.wiring}; write wiring: torus, or take the sizes out"
    if network.wiring == "fat-tree" and not network.nodes_per_leaf:
        for field in _of_the_spine(network):
            yield field, "one leaf for all nodes needs no spine; write nodes_per_leaf as well"


def _torus(cluster: Cluster) -> Iterator[tuple[str, str]]:
    network = cluster.network
    if prod(network.torus) != cluster.num_nodes or not network.torus:
        sizes = " x ".join(map(str, network.torus)) or "nothing"
        yield "torus", f"{sizes} is not {cluster.num_nodes} nodes; write sizes that multiply to it, such as [4, 4, 4]"
    elif max(network.torus) > LONGEST_RING:
        yield "torus", f"a ring of {max(network.torus)} nodes is too long; write sizes up to {LONGEST_RING}"
    for field in (*_of_the_spine(network), *(["nodes_per_leaf"] if network.nodes_per_leaf else [])):
        yield field, "a torus has no leaf switches; take it out"


def _of_the_spine(network: Network) -> list[str]:
    """The fields that say how narrow the ways to the spine are."""
    said = {
        "oversubscription": network.oversubscription > 1,
        "ecmp": network.ecmp > 0,
        "background": network.background > 0,
    }
    return [field for field, is_said in said.items() if is_said]
