"""What joins the GPUs of a drawing: links with their rates, and which axis of the plan crosses which of them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import topologies
from sim.plan import Plan
from sim.reports import links
from topologies.fabric import nic_index
from topologies.hardware import Network


def plan_of(tp=1, pp=1, dp=1):
    return Plan(
        tp=tp, sp=tp > 1, pp=pp, vpp=1, dp=dp, zero=1, recompute="none", schedule="1f1b", micro_batch=1,
        global_batch=dp,
    )  # fmt: skip


def told(cluster, plan):
    return {one.axis: (one.group, one.where, one.links) for one in links.crossings(cluster, plan)}


NVLINK, NIC = "nvlink3, 300 GB/s a GPU", "ib-hdr200, 25 GB/s a NIC, 8 NICs a node"


def test_tensor_parallel_stays_in_a_node_and_the_other_axes_leave_it():
    """tp 8 fills a node of a DGX A100; the next replica is the next node, the next pipeline rank four nodes on."""
    assert told(topologies.load("dgx-a100"), plan_of(tp=8, dp=4, pp=2)) == {
        "tensor parallel, tp 8": ("GPUs 0 to 7", "inside a node", NVLINK),
        "data parallel, dp 4": ("GPUs 0, 8, 16, 24", "between nodes", NIC),
        "pipeline parallel, pp 2": ("GPUs 0, 32", "between nodes", NIC),
    }


def test_an_axis_may_go_both_ways():
    """dp 8 with tp 2: four replicas in a node, then the next node."""
    crossed = told(topologies.load("dgx-a100"), plan_of(tp=2, dp=8))["data parallel, dp 8"]
    assert crossed == ("GPUs 0, 2, 4, ... 14", "inside a node and between nodes", f"{NVLINK}; {NIC}")


def test_an_axis_of_one_is_not_split():
    assert links.crossings(topologies.load("dgx-a100"), plan_of()) == ()


def test_in_a_pcie_tree_bridges_and_sockets_are_told():
    """Slots 0-1 and 2-3 have bridges; from 1 to 2 a message takes the tree; slots 3 and 4 are on two sockets."""
    box = topologies.load("l40s-pcie")
    bridged = replace(box.node, bridge=topologies.link("nvlink3"))
    box = replace(box, pools=(replace(box.pools[0], node=bridged),))
    pcie, bridge, socket = "pcie4, 31.5 GB/s a GPU", "nvlink3, 300 GB/s a bridge", "upi, 144 GB/s between sockets"
    assert told(box, plan_of(tp=2))["tensor parallel, tp 2"][2] == bridge
    assert told(box, plan_of(tp=4))["tensor parallel, tp 4"][2] == f"{bridge}; {pcie}"
    assert told(box, plan_of(tp=8))["tensor parallel, tp 8"][2] == f"{bridge}; {pcie}; {socket}"


def test_between_unequal_nodes_both_nics_are_told():
    fast, slow = topologies.load("dgx-h100").pools[0], topologies.load("dgx-a100").pools[0]
    both = replace(topologies.load("dgx-h100"), pools=(replace(fast, num_nodes=1), replace(slow, num_nodes=1)))
    crossed = told(both, plan_of(tp=8, dp=2))["data parallel, dp 2"]
    assert crossed[2] == "ib-ndr400, 50 GB/s a NIC, 8 NICs a node; ib-hdr200, 25 GB/s a NIC, 8 NICs a node"
    assert links.network(both, 2)[0] == "Network: ib-ndr400, 50 GB/s each way a NIC, ib-hdr200, 25 GB/s each way a NIC"


def test_a_node_tells_its_links_with_their_rates():
    assert links.joints(topologies.load("dgx-h100").node) == (
        "NVSwitch: nvlink4, 450 GB/s a GPU",
        "8 NICs: ib-ndr400, 50 GB/s each",
    )
    assert links.joints(topologies.load("mi300x-node").node)[0] == (
        "Mesh: infinity-fabric-mi300x, 448 GB/s a GPU, 64 GB/s to each other"
    )
    assert links.joints(topologies.load("l40s-pcie").node)[:2] == (
        "PCIe: pcie4, 31.5 GB/s a GPU",
        "Sockets: upi, 144 GB/s",
    )


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Network(wiring="fat-tree"), ("Leaf switches, fat tree: one for all NICs of all nodes",)),
        (
            Network(wiring="fat-tree", nodes_per_leaf=16, oversubscription=3),
            (
                "Leaf switches, fat tree: one for all NICs of every 16 nodes",
                "Spine switches: join the leaves, with 1/3 of the bandwidth below them",
            ),
        ),
        (
            Network(wiring="rail-optimised", nodes_per_leaf=32),
            (
                "Leaf switches, rail-optimised: one for each NIC number of every 32 nodes",
                "Spine switches: join the leaves, with all of the bandwidth below them",
            ),
        ),
        (
            Network(wiring="torus", torus=(2, 4, 8)),
            ("Torus of 2 × 4 × 8 nodes: the NICs of a node are dealt evenly to wires to its neighbours",),
        ),
    ],
)
def test_the_network_is_told_by_its_switches(network, said):
    cluster = replace(topologies.load("dgx-a100"), network=network)
    assert links.network(cluster, 64)[1:] == said
    assert links.network(cluster, 1) == ()


def test_a_node_is_named_with_its_leaf():
    cluster = replace(topologies.load("dgx-a100"), network=Network(wiring="fat-tree", nodes_per_leaf=16))
    assert links.node_title(cluster, 40, cluster.node) == "Node 40, leaf 2: 8 × a100-80gb-sxm"


@given(num_gpus=st.integers(1, 16), num_nics=st.integers(1, 64))
def test_slots_are_served_by_the_nics_that_the_fabric_gives_them(num_gpus, num_nics):
    """Every NIC serves somebody where there are more of them than GPUs; else the one that the routes take."""
    node = replace(topologies.load("dgx-a100").node, num_gpus=num_gpus, num_nics=num_nics)
    names = [links.nics_of(node, slot).removeprefix("NIC ") for slot in range(num_gpus)]
    if num_nics <= num_gpus:
        assert names == [str(nic_index(node, slot)) for slot in range(num_gpus)]
    else:
        ranges = [[int(end) for end in name.split("-")] for name in names]
        assert [nic for ends in ranges for nic in range(ends[0], ends[-1] + 1)] == list(range(num_nics))
