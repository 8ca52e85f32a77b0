"""How nodes are wired: the wires that a message takes from one GPU to another, and what each can carry.

Inside a node every GPU has one port on the NVSwitch, which never blocks. Between nodes GPU i of each node sends through
NIC i. In a rail-optimised fabric the NICs of one slot share a leaf; the fabric is taken at full bisection, so that
leaves and spines never carry more than the ports below them allow, and only ports can be the bottleneck.
"""

from typing import Literal, NamedTuple

from topologies.hardware import Cluster, Link, Node


class Wire(NamedTuple):
    """One direction of one GPU's port on the NVSwitch or of its share of a NIC: the unit that messages share."""

    medium: Literal["nvlink", "nic"]
    direction: Literal["out", "in"]
    number: int


def node_of(cluster: Cluster, gpu: int) -> int:
    """The node that holds the GPU."""
    return cluster.node_of(gpu)


def link_between(cluster: Cluster, source: int, target: int) -> Link:
    """The kind of link that a message between two GPUs has to cross: NVLink in a node, else the NIC."""
    if node_of(cluster, source) == node_of(cluster, target):
        return cluster.node_at(source).scale_up
    return nic_of(cluster.node_at(source))


def nic_of(node: Node) -> Link:
    """The kind of link that leads out of a node; where none does, nothing is ever sent there."""
    return node.nic or node.scale_up


def route(cluster: Cluster, source: int, target: int) -> tuple[Wire, Wire]:
    """The wires on the way from one GPU to another, in order; leaves and spines never bind (see above)."""
    medium: Literal["nvlink", "nic"] = "nvlink" if node_of(cluster, source) == node_of(cluster, target) else "nic"
    return Wire(medium, "out", source), Wire(medium, "in", target)


def capacity(cluster: Cluster, wire: Wire) -> float:
    """Bytes per second that the wire carries; NICs are shared evenly where a node has fewer of them than GPUs."""
    node = cluster.node
    if wire.medium == "nvlink":
        return node.scale_up.achievable_bandwidth
    return nic_of(node).achievable_bandwidth * node.num_nics / node.num_gpus
