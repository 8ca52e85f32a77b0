"""Clusters as `shardsim clusters` shows them: a line each, one with all its parts, or the way between two GPUs."""

from collections.abc import Iterable

import topologies
from sim.reports.parts import NOTHING, gpu_record, gpu_words, link_record, link_words
from sim.reports.tables import Row, Sheet
from topologies.document import InputError
from topologies.fabric import capacity
from topologies.hardware import Cluster, Gpu, Link, Network, Node, Pool
from topologies.quantity import rate
from topologies.wire_names import describe

CLUSTER_COLUMNS = ("cluster", "GPU", "GPUs per node", "most nodes", "inside", "network", "wiring")
ROUTE_COLUMNS = ("wire", "carries")

_LAYOUTS = {"nvswitch": "a switch", "mesh": "a mesh", "pcie": "a PCIe tree"}
_WIRINGS = {"rail-optimised": "rail-optimised: a leaf for each rail", "fat-tree": "fat tree", "torus": "torus"}


def clusters() -> list[Row]:
    """A row for each cluster of the catalogue."""
    return [_cluster_row(topologies.load(name)) for name in topologies.names()]


def cluster(name: str) -> Sheet:
    """The cluster of that name, or in that file; InputError where there is none."""
    found = topologies.load(name)
    gpus, links = _gpus_in(found), _links_in(found)
    words = [
        ("cluster", found.name),
        *(line for pool in found.pools for line in _pool_words(pool)),
        ("network", _network_words(found.network) if found.num_nodes > 1 else "one node, and no network"),
        *(("degraded", f"{name}: {left:.0%} of its capacity is left") for name, left in found.degraded.items()),
        *(line for gpu in gpus for line in gpu_words(gpu)),
        *(line for link in links for line in link_words(link)),
    ]
    parts = {"gpus": [gpu_record(gpu) for gpu in gpus], "links": [link_record(link) for link in links]}
    return Sheet(words=tuple(words), record=_cluster_record(found) | parts)


def route(name: str, source: int, target: int) -> list[Row]:
    """A row for each wire on the way between two GPUs; InputError where the cluster has no such GPU."""
    found = topologies.load(name)
    for number in (source, target):
        if not 0 <= number < found.num_gpus:
            raise InputError(f"GPU {number}: {found.name} has the GPUs 0 to {found.num_gpus - 1}")
    if source == target:
        raise InputError(f"--route {source} {target}: from a GPU to itself leads no wire; name two GPUs")
    return [
        Row(
            cells=(describe(found, wire), rate(capacity(found, wire))),
            record={"wire": describe(found, wire), "achievable_bytes_per_s": capacity(found, wire)},
        )
        for wire in found.route(source, target)
    ]


def _cluster_row(found: Cluster) -> Row:
    pools = found.pools
    cells = (
        found.name,
        _each(pool.node.gpu.name for pool in pools),
        _each(str(pool.node.num_gpus) for pool in pools),
        str(found.num_nodes),
        _each(pool.node.scale_up.name for pool in pools),
        _each(_nics(pool.node) for pool in pools),
        found.network.wiring if found.num_nodes > 1 else NOTHING,
    )
    return Row(cells=cells, record=_cluster_record(found))


def _each(words: Iterable[str]) -> str:
    """What the pools have, each thing once."""
    return " + ".join(dict.fromkeys(words))


def _nics(node: Node) -> str:
    return f"{node.num_nics} x {node.nic.name}" if node.nic else NOTHING


def _cluster_record(found: Cluster) -> dict[str, object]:
    return {
        "name": found.name,
        "num_nodes": found.num_nodes,
        "num_gpus": found.num_gpus,
        "pools": [_pool_record(pool) for pool in found.pools],
        "wiring": found.network.wiring,
        "oversubscription": found.network.oversubscription,
        "nodes_per_leaf": found.network.nodes_per_leaf,
        "torus": list(found.network.torus),
        "pxn": found.network.pxn,
        "ecmp": found.network.ecmp,
        "qps": found.network.qps,
        "ecmp_seed": found.network.ecmp_seed,
        "background": found.network.background,
        "degraded": dict(found.degraded),
    }


def _pool_record(pool: Pool) -> dict[str, object]:
    node = pool.node
    return {
        "num_nodes": pool.num_nodes,
        "gpu": node.gpu.name,
        "gpus_per_node": node.num_gpus,
        "layout": node.layout,
        "scale_up": node.scale_up.name,
        "gpus_per_switch": node.gpus_per_switch,
        "sockets": node.num_sockets,
        "socket_link": node.socket_link.name if node.socket_link else None,
        "bridge": node.bridge.name if node.bridge else None,
        "nic": node.nic.name if node.nic else None,
        "nics_per_node": node.num_nics,
    }


def _pool_words(pool: Pool) -> list[tuple[str, str]]:
    node = pool.node
    nodes = "1 node" if pool.num_nodes == 1 else f"at most {pool.num_nodes} nodes"
    outside = f"{_nics(node)} a node" if node.nic else "none"
    return [
        ("nodes", f"{nodes} of {node.num_gpus} {node.gpu.name}"),
        ("inside", f"{node.scale_up.name}, {_LAYOUTS[node.layout]}{_tree(node)}"),
        ("NICs", outside),
    ]


def _tree(node: Node) -> str:
    """What a PCIe tree is made of."""
    parts = [
        f"{node.gpus_per_switch} GPUs a switch" if node.gpus_per_switch > 1 else "",
        f"{node.num_sockets} sockets, joined by {node.socket_link.name}" if node.socket_link else "",
        f"pairs bridged by {node.bridge.name}" if node.bridge else "",
    ]
    return "".join(f"; {part}" for part in parts if part)


def _network_words(network: Network) -> str:
    parts = [
        f"{' x '.join(map(str, network.torus))} nodes" if network.torus else "",
        f"{network.nodes_per_leaf} nodes a leaf" if network.nodes_per_leaf else "",
        f"{network.oversubscription:g}:1 oversubscribed above the leaves" if network.oversubscription > 1 else "",
        f"{network.ecmp} up-links a leaf, messages hashed by {network.qps} connections each" if network.ecmp else "",
        f"{network.background:.0%} of the ways to the spine taken by others" if network.background else "",
        "" if network.pxn else "without PXN",
    ]
    return "; ".join([_WIRINGS[network.wiring], *(part for part in parts if part)])


def _gpus_in(found: Cluster) -> list[Gpu]:
    return list({pool.node.gpu.name: pool.node.gpu for pool in found.pools}.values())


def _links_in(found: Cluster) -> list[Link]:
    """Every kind of link, inside nodes first."""
    inside = [
        link for pool in found.pools for link in (pool.node.scale_up, pool.node.bridge, pool.node.socket_link) if link
    ]
    outside = [pool.node.nic for pool in found.pools if pool.node.nic]
    return list({link.name: link for link in (*inside, *outside)}.values())
