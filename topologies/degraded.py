"""What is worn: wires that carry less than their kind should (a flapping NIC, a broken up-link, NVLink lanes that are
down), and GPUs that compute more slowly (throttled: too hot, or short of power).

Wires are named as people name them, both directions at once: "nvlink 5" or "slot 5" is the port of GPU 5, "nic 3" NIC 3
of every node, "node 2 nic 3" that of one, "node 2" all ways out of it, "leaf 0" the ways from there to the spine, on
rails "leaf 0 rail 3" those of one leaf switch, "leaf 0 uplink 5" one of its parallel up-links. "gpu 5" is GPU 5,
"node 2 gpu 5" that of a node.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from topologies.fabric import Wire, first_served, num_mesh_wires, num_nic_wires
from topologies.hardware import Cluster, Node

EXAMPLES = (
    'write for example "nic 3", "node 2 nic 3", "node 2", "nvlink 5", "slot 5", "gpu 5", "leaf 0", "leaf 0 rail 3"'
)

Part = tuple[Wire, float]
"""A wire, by its way out, and which part of it is meant: 1/4 where a GPU has four NICs to itself, and one is named."""
Numbers = Sequence[int]


class Wrong(ValueError):  # noqa: N818 - what it says is shown to the user as it is
    """The name of no wire of the cluster; the message says what to write instead."""


def factors(cluster: Cluster) -> Mapping[Wire, float]:
    """What is left of each degraded wire, by its way out; what is not in the part that is used is left out."""
    found: dict[Wire, float] = {}
    for name, left in cluster.degraded.items():
        for wire, part in _if_there(cluster, name):
            found[wire] = found.get(wire, 1.0) - part * (1.0 - left)
    return found


def slow_gpus(cluster: Cluster) -> Mapping[int, float]:
    """What is left of the speed of each slow GPU that there is."""
    found: dict[int, float] = {}
    for name, left in cluster.degraded.items():
        words = re.fullmatch(_GPU, _normal(name))
        gpu = _gpu_of(cluster, *map(_number, words.groups())) if words else None
        if gpu is not None:
            found[gpu] = found.get(gpu, 1.0) * left
    return found


def _gpu_of(cluster: Cluster, node: int, gpu: int) -> int | None:
    """The number of a GPU; None where there is none."""
    if node < 0:
        return gpu if gpu < cluster.num_gpus else None
    first = cluster.first_gpu(node)
    return first + gpu if node < cluster.num_nodes and gpu < cluster.node_at(first).num_gpus else None


def _normal(name: str) -> str:
    return " ".join(name.lower().split())


def _number(digits: str | None) -> int:
    return -1 if digits is None else int(digits)


def _if_there(cluster: Cluster, name: str) -> Sequence[Part]:
    try:
        return wires(cluster, name)
    except Wrong:
        return ()


def wires(cluster: Cluster, name: str) -> Sequence[Part]:
    """The wires of that name, none where it is a GPU's; Wrong where there is nothing of that name."""
    for form, find in _FORMS.items():
        words = re.fullmatch(form, _normal(name))
        if words:
            return tuple(find(cluster, [*map(_number, words.groups())]))
    raise Wrong(f"no wire is called that; {EXAMPLES}")


def _gpu(cluster: Cluster, numbers: Numbers) -> Iterator[Part]:
    """No wire is worn, but that the GPU is there is looked at as for wires."""
    node, gpu = numbers
    if node < 0:
        _below(gpu, cluster.num_gpus, "GPU")
    else:
        first = cluster.first_gpu(_below(node, cluster.num_nodes, "node"))
        _below(gpu, cluster.node_at(first).num_gpus, "GPU of a node")
    yield from ()


def _port(cluster: Cluster, numbers: Numbers) -> Iterator[Part]:
    (gpu,) = numbers
    node = cluster.node_at(_below(gpu, cluster.num_gpus, "GPU"))
    if node.layout == "pcie":
        raise Wrong("the GPUs of this node have PCIe slots; write slot in place of nvlink")
    if node.layout == "nvswitch":
        yield Wire("nvlink", "out", gpu), 1.0
        return
    first = gpu - cluster.slot_of(gpu)
    for other in range(first, first + num_mesh_wires(node) + 1):
        if other != gpu:
            yield Wire("mesh", "out", gpu, other), 1.0
            yield Wire("mesh", "out", other, gpu), 1.0


def _slot(cluster: Cluster, numbers: Numbers) -> Iterator[Part]:
    (gpu,) = numbers
    if cluster.node_at(_below(gpu, cluster.num_gpus, "GPU")).layout != "pcie":
        raise Wrong("the GPUs of this node are not in a PCIe tree; write nvlink in place of slot")
    yield Wire("slot", "out", gpu), 1.0


def _nic(cluster: Cluster, numbers: Numbers) -> Iterator[Part]:
    """NIC so-and-so of a node, or of every node that has so many."""
    number, nic = numbers
    nodes = range(cluster.num_nodes) if number < 0 else [_below(number, cluster.num_nodes, "node")]
    _below(nic, max(cluster.node_at(cluster.first_gpu(node)).num_nics for node in nodes), "NIC of a node")
    if cluster.network.wiring == "torus":
        raise Wrong('the NICs of a node are dealt to the wires of the torus; write for example "node 2"')
    for place in nodes:
        first = cluster.first_gpu(place)
        node = cluster.node_at(first)
        if nic < node.num_nics:
            yield (
                _nic_wire(node, first, nic * num_nic_wires(node) // node.num_nics),
                num_nic_wires(node) / node.num_nics,
            )


def _nic_wire(node: Node, first_gpu: int, wire: int) -> Wire:
    return Wire("nic", "out", first_gpu + first_served(node, wire))


def _node(cluster: Cluster, numbers: Numbers) -> Iterator[Part]:
    """All ways out of a node."""
    first = cluster.first_gpu(_below(numbers[0], cluster.num_nodes, "node"))
    node = cluster.node_at(first)
    if cluster.network.wiring == "torus":
        yield from ((Wire("torus", "out", first, dimension), 1.0) for dimension in range(len(cluster.network.torus)))
    else:
        yield from ((_nic_wire(node, first, wire), 1.0) for wire in range(num_nic_wires(node)))


def _leaf(cluster: Cluster, numbers: Numbers) -> Iterator[Part]:
    """The ways up of the leaves of so many nodes: of one rail or of all, one of the up-links or all."""
    leaf, rail, uplink = numbers
    network = cluster.network
    if network.wiring == "torus":
        raise Wrong('a torus has no leaf switches; write for example "node 2"')
    per_leaf = network.nodes_per_leaf or cluster.num_nodes
    first = cluster.first_gpu(_below(leaf, -(-cluster.num_nodes // per_leaf), "leaf") * per_leaf)
    rails = max(num_nic_wires(pool.node) for pool in cluster.pools) if network.wiring == "rail-optimised" else 1
    if rail >= 0 and network.wiring != "rail-optimised":
        raise Wrong("only where wiring is rail-optimised a leaf belongs to a rail; leave the rail out")
    if uplink >= 0 and not network.ecmp:
        raise Wrong("up-links are told apart where ecmp says how many a leaf has; leave the uplink out")
    links = [_below(uplink, network.ecmp, "uplink")] if uplink >= 0 else [*range(network.ecmp)]
    for which in range(rails) if rail < 0 else [_below(rail, rails, "rail")]:
        if network.ecmp:
            yield from ((Wire("uplink", "out", first, which * network.ecmp + link), 1.0) for link in links)
        else:
            yield Wire("leaf", "out", first, which), 1.0


def _below(number: int, count: int, what: str) -> int:
    if number >= count:
        raise Wrong(f"there is no {what} {number}; they are counted from 0 to {count - 1}" if count else f"no {what}")
    return number


_GPU = r"(?:node (\d{1,9}) )?gpu (\d{1,9})"
_FORMS: Mapping[str, Callable[[Cluster, Numbers], Iterator[Part]]] = {
    r"nvlink (\d{1,9})": _port,
    r"slot (\d{1,9})": _slot,
    r"(?:node (\d{1,9}) )?nic (\d{1,9})": _nic,
    _GPU: _gpu,
    r"node (\d{1,9})": _node,
    r"leaf (\d{1,9})(?: rail (\d{1,9}))?(?: uplink (\d{1,9}))?": _leaf,
}
