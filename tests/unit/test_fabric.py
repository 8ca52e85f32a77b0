"""Laws of the wiring: which wires a message takes, and what they carry. Every wiring by a route that one can draw."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import topologies
from sim.scenario.cluster import ClusterSection
from tests.clusters import BRIDGE, NIC, NVLINK, SLOT, SOCKETS, cluster_of, node_of
from tests.programs import with_node
from topologies.ecmp import uplinks
from topologies.fabric import Wire, capacity, link_between, loaded_route, message_loads, route
from topologies.hardware import Cluster
from topologies.wire_names import describe

CLUSTER = topologies.load("dgx-h100", 32)
TREE = cluster_of((node_of("pcie", 8, 2, gpus_per_switch=2, num_sockets=2), 4))
"""Switches of GPUs 0-1, 2-3, ...; sockets of GPUs 0-3, 4-7; NIC 0 serves 0-3, NIC 1 4-7."""
gpus = st.integers(0, CLUSTER.num_gpus - 1)


def words(cluster: Cluster, source: int, target: int) -> list[str]:
    return [describe(cluster, wire) for wire in cluster.route(source, target)]


def test_a_message_in_a_node_stays_on_nvlink() -> None:
    assert route(CLUSTER, 8, 15) == (Wire("nvlink", "out", 8), Wire("nvlink", "in", 15))


def test_a_message_between_nodes_leaves_by_the_senders_nic() -> None:
    assert route(CLUSTER, 7, 15) == (Wire("nic", "out", 7), Wire("nic", "in", 15))


def test_a_message_to_oneself_takes_no_wire() -> None:
    assert CLUSTER.route(3, 3) == ()


def test_nodes_hold_their_gpus_in_order() -> None:
    assert [CLUSTER.node_of(gpu) for gpu in (0, 7, 8, 31)] == [0, 0, 1, 3]


@given(gpus, gpus)
def test_the_way_back_takes_the_opposite_directions(a: int, b: int) -> None:
    assume(a != b)
    there, back = route(CLUSTER, a, b, pxn=False), route(CLUSTER, b, a, pxn=False)
    assert {(wire.medium, wire.number) for wire in there} == {(wire.medium, wire.number) for wire in back}
    assert set(there).isdisjoint(back)


@given(gpus, gpus)
def test_no_wire_that_can_bind_carries_less_than_its_kind_of_link_achieves(a: int, b: int) -> None:
    assume(a != b)
    link = link_between(CLUSTER, a, b)
    assert [capacity(CLUSTER, wire) for wire in loaded_route(CLUSTER, a, b, pxn=False)] == [
        link.achievable_bandwidth
    ] * 2


def test_gpus_of_one_nic_share_it() -> None:
    """4 NICs for 8 GPUs: GPUs 2 and 3 leave by NIC 1, 0.94 x 50 GB/s of NDR."""
    halved = with_node(CLUSTER, num_nics=4)
    assert loaded_route(halved, 2, 10) == loaded_route(halved, 3, 11) == (Wire("nic", "out", 2), Wire("nic", "in", 10))
    assert capacity(halved, Wire("nic", "out", 2)) == 0.94 * 50e9
    assert words(halved, 3, 11) == ["NIC 1 of node 0, out", "NIC 1 of node 1, in"]


def test_a_gpu_with_several_nics_has_them_as_one_wire() -> None:
    """4 NICs for each GPU, as in p5."""
    many = with_node(CLUSTER, num_nics=32)
    assert loaded_route(many, 3, 11) == (Wire("nic", "out", 3), Wire("nic", "in", 11))
    assert capacity(many, Wire("nic", "out", 3)) == 4 * 0.94 * 50e9


def test_nics_that_do_not_divide_the_gpus_serve_every_gpu_once() -> None:
    """3 NICs for 8 GPUs: from slots 0, 2.67, 5.33 on."""
    odd = with_node(CLUSTER, num_nics=3)
    assert [route(odd, gpu, 8 + gpu)[0].number for gpu in range(8)] == [0, 0, 0, 3, 3, 3, 6, 6]


def test_below_one_switch_a_message_goes_from_slot_to_slot() -> None:
    assert words(TREE, 0, 1) == ["PCIe slot of GPU 0, out", "PCIe slot of GPU 1, in"]


def test_between_sockets_a_message_climbs_the_whole_tree() -> None:
    assert words(TREE, 1, 14 - 8) == [
        "PCIe slot of GPU 1, out",
        "PCIe switch of GPUs 0 to 1, up",
        "socket link of node 0, onwards",
        "PCIe switch of GPUs 6 to 7, down",
        "PCIe slot of GPU 6, in",
    ]


def test_a_bridge_joins_a_pair_and_nobody_else() -> None:
    bridged = with_node(TREE, bridge=BRIDGE)
    assert words(bridged, 3, 2) == ["NVLink bridge from GPU 3 to GPU 2"]
    assert route(bridged, 1, 2) == route(TREE, 1, 2)


def test_a_nic_for_several_switches_is_at_the_socket() -> None:
    """NIC 0 of a node with one NIC: at socket 0, so GPU 6 of socket 1 crosses the socket link on its way out."""
    single = with_node(TREE, num_nics=1)
    assert words(single, 6, 8) == [
        "PCIe slot of GPU 6, out",
        "PCIe switch of GPUs 6 to 7, up",
        "socket link of node 0, back",
        "NIC 0 of node 0, out",
        "NIC 0 of node 1, in",
        "PCIe switch of GPUs 8 to 9, down",
        "PCIe slot of GPU 8, in",
    ]


def test_a_nic_for_one_switch_is_below_it() -> None:
    own = with_node(TREE, num_nics=4)
    assert words(own, 6, 14) == [
        "PCIe slot of GPU 6, out",
        "NIC 3 of node 0, out",
        "NIC 3 of node 1, in",
        "PCIe slot of GPU 14, in",
    ]


def test_in_a_mesh_a_message_has_the_wire_of_its_pair() -> None:
    """A port's bandwidth is dealt to the wires to seven others."""
    mesh = cluster_of((node_of("mesh"), 1))
    assert words(mesh, 2, 5) == ["wire from GPU 2 to GPU 5"]
    assert capacity(mesh, route(mesh, 2, 5)[0]) == 300e9 / 7


def test_from_leaf_to_leaf_a_message_goes_over_the_spine() -> None:
    tree = cluster_of((node_of(num_nics=4), 8), wiring="fat-tree", nodes_per_leaf=2, oversubscription=4.0)
    assert words(tree, 0, 33)[1:3] == ["leaf 0 up to the spine", "leaf 2 down from the spine"]
    assert [wire.medium for wire in route(tree, 0, 9)] == ["nic", "nic"]


def test_a_leaf_carries_what_is_below_it_over_the_oversubscription() -> None:
    """Two nodes of four NICs of 10 GB/s, a quarter of it; on rails one NIC of each node."""
    tree = cluster_of((node_of(num_nics=4), 8), wiring="fat-tree", nodes_per_leaf=2, oversubscription=4.0)
    assert capacity(tree, route(tree, 0, 33)[1]) == 2 * 4 * 10e9 / 4
    rails = replace(tree, network=replace(tree.network, wiring="rail-optimised"))
    assert capacity(rails, route(rails, 0, 33)[1]) == 2 * 10e9 / 4


def test_in_one_rail_a_message_stays_below_its_leaf_and_between_rails_it_does_not_without_pxn() -> None:
    rails = cluster_of((node_of(), 4), nodes_per_leaf=2, pxn=False)
    assert len(route(rails, 3, 11)) == 2
    assert words(rails, 3, 12)[1:3] == ["leaf 0 of rail 3 up to the spine", "leaf 0 of rail 4 down from the spine"]


def test_leaves_that_carry_all_that_is_below_them_are_crossed_but_not_loaded() -> None:
    rails = cluster_of((node_of(), 4), nodes_per_leaf=2, pxn=False)
    assert len(route(rails, 3, 28)) == 4
    assert [wire.medium for wire in loaded_route(rails, 3, 28)] == ["nic", "nic"]


def test_in_a_torus_a_message_goes_dimension_by_dimension_the_short_way() -> None:
    """4 x 3 nodes of one GPU: from (0, 0) to (3, 2) one back in the first, one back in the second dimension."""
    torus = cluster_of((node_of(num_gpus=1, num_nics=4), 12), wiring="torus", torus=(4, 3))
    assert words(torus, 0, 11) == ["torus wire of node 0, dimension 0, back", "torus wire of node 3, dimension 1, back"]
    assert words(torus, 0, 2) == [
        "torus wire of node 0, dimension 0, onwards",
        "torus wire of node 1, dimension 0, onwards",
    ]


def test_a_nodes_nics_are_dealt_to_the_wires_of_a_torus() -> None:
    """Four NICs of 10 GB/s for two ways in two dimensions; a dimension of one node has no wires."""
    torus = cluster_of((node_of(num_gpus=1, num_nics=4), 12), wiring="torus", torus=(4, 3, 1))
    assert capacity(torus, route(torus, 0, 1)[0]) == 10e9


@pytest.mark.parametrize(("sizes", "wires"), [((2,), 1), ((2, 1), 1), ((2, 2), 2), ((2, 3), 3)])
def test_a_ring_of_two_nodes_has_one_neighbour_and_all_the_bandwidth_to_it(sizes: tuple[int, ...], wires: int) -> None:
    """Six NICs of 10 GB/s; there and back are two wires, none of which the other loads."""
    nodes = 1
    for size in sizes:
        nodes *= size
    torus = cluster_of((node_of(num_gpus=1, num_nics=6), nodes), wiring="torus", torus=sizes)
    there, back = route(torus, 0, 1), route(torus, 1, 0)
    assert capacity(torus, there[0]) == 60e9 / wires
    assert len(there) == len(back) == 1
    assert there != back


def test_a_part_of_a_mesh_has_the_wires_of_the_whole() -> None:
    """An MI300X has a link of 64 GB/s to each of seven others, of which 69.8 % are reached, however many are used."""
    whole = topologies.load("mi300x-node", 8)
    for mesh in (
        whole,
        topologies.build(gpu="mi300x", gpus_per_node=2, nodes=1),
        ClusterSection(name="mi300x-node", gpus_per_node=2).with_gpus(2),
    ):
        assert capacity(mesh, route(mesh, 0, 1)[0]) == pytest.approx(0.698 * 64e9)
    cube, half = topologies.load("dgx-1", 8), ClusterSection(name="dgx-1", gpus_per_node=4).with_gpus(4)
    assert capacity(half, route(half, 0, 1)[0]) == capacity(cube, route(cube, 0, 1)[0])


def test_mixed_nodes_have_each_their_own_wires() -> None:
    """Two nodes of 8 with 8 NICs, then nodes of 4 in a PCIe tree with one NIC."""
    mixed = cluster_of((node_of(), 2), (node_of("pcie", 4, 1, gpus_per_switch=2), 4))
    assert words(mixed, 9, 23) == [
        "NIC 1 of node 1, out",
        "leaf 0 of rail 1 up to the spine",
        "leaf 0 of rail 0 down from the spine",
        "NIC 0 of node 3, in",
        "PCIe switch of GPUs 22 to 23, down",
        "PCIe slot of GPU 23, in",
    ]


@pytest.mark.parametrize(
    ("cluster", "source", "target", "link"),
    [
        (CLUSTER, 0, 1, CLUSTER.node.scale_up),
        (CLUSTER, 0, 9, CLUSTER.node.nic),
        (TREE, 0, 1, SLOT),
        (TREE, 0, 7, SOCKETS),
        (with_node(TREE, bridge=BRIDGE), 0, 1, BRIDGE),
        (cluster_of((node_of("mesh"), 1)), 0, 1, NVLINK),
        (cluster_of((node_of(), 1), (node_of("pcie"), 1)), 0, 9, NIC),
    ],
)
def test_the_slowest_link_on_the_way_sets_the_latency(cluster: Cluster, source: int, target: int, link: object) -> None:
    assert link_between(cluster, source, target) == link


def test_pxn_goes_by_nvlink_to_the_gpu_on_the_targets_rail() -> None:
    """NCCL's ncclTopoGetNetDev: GPU 0 reaches GPU 13 = 8 + 5 by the NIC of its node's GPU 5; no spine is crossed."""
    rails = cluster_of((node_of(), 4), nodes_per_leaf=2, oversubscription=2.0)
    assert words(rails, 0, 13) == [
        "NVLink port of GPU 0, out",
        "NVLink port of GPU 5, in",
        "NIC 5 of node 0, out",
        "NIC 5 of node 1, in",
    ]
    assert words(rails, 0, 21)[3:5] == ["leaf 0 of rail 5 up to the spine", "leaf 1 of rail 5 down from the spine"]


@pytest.mark.parametrize(
    ("cluster", "source", "target"),
    [
        (cluster_of((node_of(), 4), nodes_per_leaf=2), 3, 11),
        (cluster_of((node_of(num_nics=4), 4), nodes_per_leaf=2), 2, 11),
        (cluster_of((node_of(), 4), nodes_per_leaf=2, pxn=False), 3, 12),
        (cluster_of((node_of(), 4), wiring="fat-tree", nodes_per_leaf=2), 3, 12),
        (cluster_of((node_of("pcie"), 4), nodes_per_leaf=2), 3, 12),
        (cluster_of((node_of("mesh"), 4), nodes_per_leaf=2), 3, 12),
        (cluster_of((node_of(num_gpus=4, num_nics=4), 1), (node_of(), 1)), 0, 4 + 5),
    ],
    ids=["same rail", "one NIC for both", "turned off", "no rails", "PCIe", "mesh", "no such GPU in the node"],
)
def test_pxn_is_for_other_rails_that_nvlink_leads_to(cluster: Cluster, source: int, target: int) -> None:
    assert route(cluster, source, target) == route(cluster, source, target, pxn=False)


HASHED = cluster_of((node_of(), 4), wiring="fat-tree", nodes_per_leaf=1, ecmp=4, qps=1)
"""Four leaves with four up-links of 2 NICs' bandwidth each."""


def test_an_uplink_has_its_part_of_the_leaf() -> None:
    (way,) = (wire for wire in route(HASHED, 0, 8) if wire.medium == "uplink" and wire.direction == "out")
    assert capacity(HASHED, way) == 8 * 10e9 / 4
    assert describe(HASHED, way) == f"up-link {way.which} of leaf 0, up to the spine"
    busy = replace(HASHED, network=replace(HASHED.network, background=0.25, oversubscription=2.0))
    assert capacity(busy, way) == 0.75 * 8 * 10e9 / 4 / 2


def test_messages_are_hashed_to_uplinks_evenly_and_to_the_same_ones_by_the_same_seed() -> None:
    """448 pairs over leaves, 112 for each of four up-links, give or take four standard deviations of 9."""
    chosen = [route(HASHED, a, b)[1].which for a in range(16) for b in range(32) if a // 8 != b // 8]
    assert len(chosen) == 16 * 24
    assert all(60 < chosen.count(link) < 132 for link in range(4))
    other = replace(HASHED, network=replace(HASHED.network, ecmp_seed=1))
    again = [route(other, a, b)[1].which for a in range(16) for b in range(32) if a // 8 != b // 8]
    assert chosen != again
    assert uplinks(4, 2, 7, 0, 8) == uplinks.__wrapped__(4, 2, 7, 0, 8)


def test_one_spine_leads_to_the_same_uplink_of_every_leaf() -> None:
    """Up by k is down by k: each spine has one link to each leaf."""
    up, down = route(HASHED, 0, 8)[1:3]
    assert (up.which, up.direction, down.which, down.direction) == (up.which, "out", up.which, "in")


def test_the_connections_of_a_message_are_hashed_each_for_itself() -> None:
    """Of 16 connections some share an up-link; all parts together are the message, up and down."""
    many = replace(HASHED, network=replace(HASHED.network, qps=16))
    loads = message_loads(many, 0, 8)
    for direction in ("out", "in"):
        parts = [part for wire, part in loads if (wire.medium, wire.direction) == ("uplink", direction)]
        assert sum(parts) == 1.0
        assert len(parts) > 1
        assert all(part * 16 == round(part * 16) for part in parts)


def test_what_others_take_of_the_spine_binds_where_leaves_carried_all() -> None:
    """Eight NICs of 10 GB/s below a leaf, 30 % taken by others."""
    idle = cluster_of((node_of(), 4), wiring="fat-tree", nodes_per_leaf=1)
    busy = cluster_of((node_of(), 4), wiring="fat-tree", nodes_per_leaf=1, background=0.3)
    assert [wire.medium for wire in loaded_route(idle, 0, 8)] == ["nic", "nic"]
    assert capacity(busy, loaded_route(busy, 0, 8)[1]) == pytest.approx(0.7 * 80e9)
