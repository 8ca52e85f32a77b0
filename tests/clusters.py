"""Clusters of every wiring, small, for tests that must hold on any of them."""

from dataclasses import replace
from functools import cache

from hypothesis import strategies as st

import topologies
from topologies.hardware import Cluster, Fit, Gpu, Layout, Link, Network, Node, Pool

SIZES: dict[Layout, list[int]] = {"nvswitch": [1, 2, 3, 4, 6, 8], "mesh": [2, 3, 4, 8], "pcie": [1, 2, 4, 6, 8]}


def link(name: str, bandwidth: float, latency: float) -> Link:
    """A link that reaches its whole bandwidth and starts in 5 us."""
    fit = Fit(values=FIT, sources=dict.fromkeys(FIT, "a toy"))
    return Link(name=name, bandwidth=bandwidth, latency=latency, fit=fit)


FIT = {"bandwidth_efficiency": 1.0, "launch_latency": 5e-6}
NVLINK, SLOT, BRIDGE = link("nvlink", 300e9, 3e-6), link("slot", 24e9, 4e-6), link("bridge", 50e9, 2e-6)
SOCKETS, NIC = link("sockets", 16e9, 6e-6), link("nic", 10e9, 12e-6)


@cache
def gpu(slower: float = 1.0) -> Gpu:
    """An A100, or one of a fraction of its speed."""
    found = topologies.gpu("a100-80gb-sxm")
    if slower == 1.0:
        return found
    peaks = {precision: rate / slower for precision, rate in found.peak_flops.items()}
    return replace(found, name="slow", peak_flops=peaks)


def node_of(layout: Layout = "nvswitch", num_gpus: int = 8, num_nics: int = 8, **other: object) -> Node:
    """A node with the links above."""
    ways = {"nvswitch": NVLINK, "mesh": NVLINK, "pcie": SLOT}
    facts: dict[str, object] = {"gpu": gpu(), "socket_link": SOCKETS if other.get("num_sockets") else None}
    facts |= {"layout": layout, "num_gpus": num_gpus, "scale_up": ways[layout], "nic": NIC, "num_nics": num_nics}
    return Node(**(facts | other))  # type: ignore[arg-type]


def cluster_of(*pools: tuple[Node, int], **network: object) -> Cluster:
    """Pools of so many nodes, on rails that carry all unless it is said."""
    facts: dict[str, object] = {"wiring": "rail-optimised"} | network
    made = tuple(Pool(node=node, num_nodes=num_nodes) for node, num_nodes in pools)
    return Cluster(name="toy", pools=made, network=Network(**facts))  # type: ignore[arg-type]


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    """Of every layout, with fewer, as many, or more NICs than GPUs."""
    layout = draw(st.sampled_from(list(SIZES)))
    num_gpus = draw(st.sampled_from(SIZES[layout]))
    facts: dict[str, object] = {"num_nics": draw(st.sampled_from([1, max(1, num_gpus // 2), num_gpus, 2 * num_gpus]))}
    if layout == "pcie" and num_gpus > 1:
        facts["num_sockets"] = draw(st.sampled_from([1, 2])) if num_gpus % 2 == 0 else 1
        below = num_gpus // int(str(facts["num_sockets"]))
        facts["gpus_per_switch"] = draw(st.sampled_from([size for size in (1, 2, 4) if below % size == 0]))
        facts["bridge"] = draw(st.sampled_from([None, BRIDGE]))
    return node_of(layout, num_gpus, **facts)  # type: ignore[arg-type]


@st.composite
def networks(draw: st.DrawFn, num_nodes: int) -> Network:
    """Rails and trees of some leaves, with and without oversubscription, and tori."""
    wiring = draw(st.sampled_from(["rail-optimised", "fat-tree", "torus"]))
    if wiring == "torus":
        columns = draw(st.sampled_from([size for size in (1, 2, 3, 4) if num_nodes % size == 0]))
        return Network(wiring="torus", torus=(columns, num_nodes // columns))
    leaf = draw(st.sampled_from([0, 1, 2, 3]))
    return Network(
        wiring=wiring,
        nodes_per_leaf=leaf,
        oversubscription=draw(st.sampled_from([1.0, 1.5, 4.0])),
        pxn=draw(st.booleans()),
        ecmp=draw(st.sampled_from([0, 0, 0, 2, 3])),
        qps=draw(st.sampled_from([1, 2, 4])),
        ecmp_seed=draw(st.integers(0, 3)),
        background=draw(st.sampled_from([0.0, 0.0, 0.25])),
    )


WORN = ["nvlink 1", "slot 1", "nic 0", "node 0 nic 0", "node 1", "leaf 0", "leaf 0 rail 1"]
"""Names of wires; in some clusters there are none of that name."""


@st.composite
def clusters(draw: st.DrawFn, num_gpus: int = 24) -> Cluster:
    """At least so many GPUs, in one or two pools of nodes."""
    first = draw(nodes())
    if not draw(st.booleans()):
        pools = (Pool(node=first, num_nodes=-(-num_gpus // first.num_gpus)),)
    else:
        second = replace(draw(nodes()), gpu=gpu(draw(st.sampled_from([1.0, 2.0]))))
        num_nodes = draw(st.integers(1, max(1, num_gpus // first.num_gpus)))
        rest = max(1, num_gpus - num_nodes * first.num_gpus)
        pools = (Pool(node=first, num_nodes=num_nodes), Pool(node=second, num_nodes=-(-rest // second.num_gpus)))
    network = draw(networks(sum(pool.num_nodes for pool in pools)))
    worn = draw(st.dictionaries(st.sampled_from(WORN), st.sampled_from([0.25, 0.5]), max_size=1))
    return Cluster(name="toy", pools=pools, network=network, degraded=worn if draw(st.booleans()) else {})
