"""Wires in words, as `shardsim clusters NAME --route` shows them."""

from topologies.fabric import Wire, nic_index
from topologies.hardware import Cluster


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
            return f"{_leaf_name(cluster, wire)} {_to_spine(wire)}"
        case "uplink":
            rail, link = divmod(wire.which, cluster.network.ecmp)
            return f"up-link {link} of {_leaf_name(cluster, wire._replace(which=rail))}, {_to_spine(wire)}"
        case "torus":
            sense = "onwards" if wire.direction == "out" else "back"
            return f"torus wire of {place}, dimension {wire.which}, {sense}"


def _leaf_name(cluster: Cluster, wire: Wire) -> str:
    number = cluster.node_of(wire.number) // (cluster.network.nodes_per_leaf or cluster.num_nodes)
    return f"leaf {number}" + (f" of rail {wire.which}" if cluster.network.wiring == "rail-optimised" else "")


def _to_spine(wire: Wire) -> str:
    return f"{'up to' if wire.direction == 'out' else 'down from'} the spine"
