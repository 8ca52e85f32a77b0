"""Ring, tree and messages by hand: NVLink 100 GB/s and 1 us a step, NIC 10 GB/s and 10 us, four GPUs to a node."""

from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

import topologies
from sim.costs.collectives import COLLECTIVES, all_gather, all_reduce, alone, reduce_scatter
from sim.costs.collectives.chain import members, seconds_per_byte, shares
from sim.costs.collectives.point_to_point import send
from sim.costs.collectives.ring import ring
from sim.costs.collectives.tree import tree
from tests.clusters import BRIDGE, NVLINK, cluster_of, link, node_of
from topologies.fabric import Wire, describe
from topologies.hardware import Cluster, Fit, Gpu, Link, Network, Node, Pool

GPU = Gpu(
    name="toy",
    peak_flops={},
    memory_nbytes=1e10,
    memory_bandwidth=1e12,
    num_sms=10,
    l2_nbytes=1e6,
    power_limit=100.0,
    fit=Fit(values={}, sources={}),
)


def make_cluster(num_nodes: int = 64, launch: float = 0.0, gpus_per_node: int = 4) -> Cluster:
    fit = Fit(values={"bandwidth_efficiency": 1.0, "launch_latency": launch}, sources={})
    node = Node(
        gpu=GPU,
        num_gpus=gpus_per_node,
        scale_up=Link(name="nvlink", bandwidth=1e11, latency=1e-6, fit=fit),
        nic=Link(name="nic", bandwidth=1e10, latency=1e-5, fit=fit),
        num_nics=gpus_per_node,
    )
    return Cluster(name="toy", pools=(Pool(node=node, num_nodes=num_nodes),), network=Network(wiring="rail-optimised"))


@given(n=st.integers(2, 64), nbytes=st.floats(1e3, 1e10))
def test_ring_all_reduce_in_a_node_takes_its_closed_form(n: int, nbytes: float) -> None:
    """2(n-1)a + 2(n-1)/n S/B."""
    cluster = make_cluster(gpus_per_node=64)
    expected = 2 * (n - 1) * 1e-6 + 2 * (n - 1) / n * nbytes / 1e11
    assert alone(cluster, all_reduce(cluster, range(n), nbytes)) == pytest.approx(expected)


@given(num_nodes=st.integers(2, 64), nbytes=st.floats(1e3, 1e10))
def test_gather_and_scatter_over_whole_nodes_use_every_nic(num_nodes: int, nbytes: float) -> None:
    """A node's (n-1)/n S goes over its four NICs; of n-1 steps, nodes-1 cross the network."""
    cluster, n = make_cluster(), 4 * num_nodes
    latency = (num_nodes - 1) * 1e-5 + (n - num_nodes) * 1e-6
    expected = latency + (n - 1) / n * nbytes / 4 / 1e10
    for collective in (all_gather, reduce_scatter):
        assert alone(cluster, collective(cluster, range(n), nbytes)) == pytest.approx(expected)


def test_one_gpu_per_node_sends_everything_through_its_nic() -> None:
    activity = all_gather(make_cluster(), [0, 4, 8], 3e9)
    assert dict(activity.loads) == {
        Wire("nic", direction, gpu): pytest.approx(2e9) for gpu in (0, 4, 8) for direction in ("in", "out")
    }


def test_inside_a_node_no_nic_is_used() -> None:
    activity = all_reduce(make_cluster(), range(4), 4e9)
    assert {wire.medium for wire, _ in activity.loads} == {"nvlink"}
    assert {nbytes for _, nbytes in activity.loads} == {6e9}


def test_over_nodes_the_nvlinks_carry_what_stays_inside() -> None:
    """Two nodes of four, S = 8 GB all-gathered: 7 GB per node, 1.75 over each NIC, 5.25 over each NVLink port."""
    loads = dict(all_gather(make_cluster(), range(8), 8e9).loads)
    assert loads[Wire("nic", "out", 0)] == loads[Wire("nic", "in", 7)] == pytest.approx(1.75e9)
    assert loads[Wire("nvlink", "out", 0)] == pytest.approx(5.25e9)


def test_uneven_nodes_are_as_slow_as_the_one_with_the_fewest_nics() -> None:
    """Three members here, one there: V = 3/4 x 4 GB through one NIC of 10 GB/s."""
    cluster = make_cluster()
    activity = all_gather(cluster, [0, 1, 2, 4], 4e9)
    assert alone(cluster, activity) - activity.latency == pytest.approx(0.3)


def test_all_reduce_over_many_nodes_takes_the_tree_when_small_and_the_ring_when_large() -> None:
    """64 nodes of one: the tree makes 2 log2(64) = 12 steps of 10 us and moves 2 S, the ring 126 and 1.97 S."""
    cluster = make_cluster()
    gpus = range(0, 256, 4)
    held = members(cluster, gpus)
    small, large = all_reduce(cluster, gpus, 1e3), all_reduce(cluster, gpus, 1e10)
    assert small.latency == pytest.approx(2 * ceil(log2(64)) * 1e-5)
    assert large.latency == pytest.approx(2 * 63 * 1e-5)
    per_byte = seconds_per_byte(cluster, shares(cluster, held))
    for nbytes, activity in ((1e3, small), (1e10, large)):
        chains = ring(cluster, held, nbytes, 2), tree(cluster, held, nbytes)
        best = min(chain.latency + chain.nbytes * per_byte for chain in chains)
        assert alone(cluster, activity) == pytest.approx(best)


def test_over_two_nodes_a_tree_crosses_the_network_once() -> None:
    """Two nodes of four, S = 8 GB: 2 GB over each NIC of 10 GB/s, where a ring sends 2 x 7/8 x 8 / 4 = 3.5 GB; inside
    3/4 of 2 S at 0.92 of the rate of 100 GB/s."""
    cluster = make_cluster()
    summed = all_reduce(cluster, range(8), 8e9)
    loads = dict(summed.loads)
    assert loads[Wire("nic", "out", 0)] == loads[Wire("nic", "in", 7)] == pytest.approx(2e9)
    assert loads[Wire("nvlink", "out", 3)] == pytest.approx(12e9 / 0.92)
    assert alone(cluster, summed) - summed.latency == pytest.approx(0.2)


def test_over_two_nodes_the_ring_is_left_where_the_tree_is_slow_inside() -> None:
    """NICs as fast as NVLink: the ring's 3.5 GB over a NIC and 10.5 GB over NVLink beat the tree's 13 GB."""
    cluster = cluster_of((node_of(num_gpus=4, num_nics=4, nic=NVLINK), 2))
    summed = all_reduce(cluster, range(8), 8e9)
    assert alone(cluster, summed) - summed.latency == pytest.approx(10.5e9 / 300e9)


@pytest.mark.parametrize(
    ("name", "measured"),
    [("aws-p4de", 41.775e9), ("gcp-a3-mega", 180.708e9)],
)
def test_a_large_sum_over_two_nodes_is_as_fast_as_measured(name: str, measured: float) -> None:
    """nccl-tests with 16 GPUs, 2 and 8 GiB: the runs that the links' sheets name."""
    cluster = topologies.load(name, 16)
    assert 8e9 / alone(cluster, all_reduce(cluster, range(16), 8e9)) == pytest.approx(measured, rel=0.02)


def test_a_group_of_one_costs_nothing() -> None:
    for collective in COLLECTIVES.values():
        activity = collective(make_cluster(launch=1e-5), [3], 1e9)
        assert (activity.latency, activity.loads) == (0.0, ())


def test_a_collective_starts_once() -> None:
    slow, fast = make_cluster(launch=1e-5), make_cluster()
    assert all_reduce(slow, range(4), 1e6).latency == pytest.approx(all_reduce(fast, range(4), 1e6).latency + 1e-5)


def test_a_message_takes_latency_and_bytes_over_the_link_between() -> None:
    """10 MB: 1 us + 100 us inside a node; 10 us + 1 ms between nodes; nothing to oneself."""
    cluster = make_cluster()
    assert alone(cluster, send(cluster, 0, 1, 1e7)) == pytest.approx(101e-6)
    assert alone(cluster, send(cluster, 0, 4, 1e7)) == pytest.approx(1010e-6)
    assert send(cluster, 2, 2, 1e7).loads == ()


def loads_of(cluster: Cluster, gpus: list[int]) -> dict[str, int]:
    """Bytes over each wire, by its name, of a chain of 1 GB: an all-gather of n/(n-1) GB."""
    n = len(gpus)
    loads = all_gather(cluster, gpus, n / (n - 1) * 1e9).loads
    return {describe(cluster, wire): round(nbytes) for wire, nbytes in loads}


def test_fewer_nics_share_what_leaves_a_node_evenly() -> None:
    """Three members in node 0 on two NICs (GPUs 0 and 1 on the first), one in node 1: 0.5 GB over each, 1 GB there."""
    cluster = cluster_of((node_of(num_gpus=4, num_nics=2), 2))
    found = {name: nbytes for name, nbytes in loads_of(cluster, [0, 1, 2, 4]).items() if name.endswith("out")}
    assert found["NIC 0 of node 0, out"] == found["NIC 1 of node 0, out"] == 0.5e9
    assert found["NIC 0 of node 1, out"] == 1e9
    assert found["NVLink port of GPU 0, out"] == round(2 / 3 * 1e9)


def test_in_a_mesh_the_members_use_the_wires_between_them_at_once() -> None:
    """Of the seven wires of a port, three members use two each: the all-gather takes 7/2 of what a switch needs."""
    mesh = cluster_of((node_of("mesh"), 1))
    assert set(loads_of(mesh, [0, 3, 5]).values()) == {0.5e9}
    assert len(loads_of(mesh, [0, 3, 5])) == 6
    switch = cluster_of((node_of(), 1))
    slow, fast = (all_gather(each, [0, 3, 5], 1e9) for each in (mesh, switch))
    assert alone(mesh, slow) - slow.latency == pytest.approx(7 / 2 * (alone(switch, fast) - fast.latency))


def test_in_a_tree_the_ring_goes_from_slot_to_slot_and_crosses_sockets_once_each_way() -> None:
    tree = cluster_of((node_of("pcie", 8, 8, gpus_per_switch=2, num_sockets=2), 1))
    loads = loads_of(tree, list(range(8)))
    assert set(loads.values()) == {1e9}
    assert len(loads) == 8 * 2 + 4 * 2 + 2
    assert all_gather(tree, range(8), 1e9).latency == pytest.approx(5e-6 + 7 * 6e-6)


def test_bridges_take_every_second_hop_of_the_ring() -> None:
    tree = cluster_of((node_of("pcie", 4, 4, bridge=BRIDGE), 1))
    assert set(loads_of(tree, [0, 1, 2, 3])) == {
        "NVLink bridge from GPU 0 to GPU 1",
        "NVLink bridge from GPU 2 to GPU 3",
        *(f"PCIe slot of GPU {gpu}, out" for gpu in (1, 3)),
        *(f"PCIe slot of GPU {gpu}, in" for gpu in (0, 2)),
    }


def test_from_leaf_to_leaf_a_ring_crosses_the_spine_where_nodes_follow_each_other() -> None:
    """Four nodes on two leaves, in order: leaf 0 is left once, leaf 1 too. With every second node twice as often."""
    tree = cluster_of((node_of(), 4), wiring="fat-tree", nodes_per_leaf=2, oversubscription=2.0)
    gpus = [8 * node + slot for node in range(4) for slot in range(8)]
    assert loads_of(tree, gpus)["leaf 0 up to the spine"] == 1e9
    crossed = [8 * node for node in (0, 2, 1, 3)]
    assert loads_of(tree, crossed)["leaf 0 up to the spine"] == 2e9


def test_on_rails_each_rail_crosses_with_its_own_share() -> None:
    rails = cluster_of((node_of(), 4), nodes_per_leaf=2, oversubscription=2.0)
    loads = loads_of(rails, list(range(32)))
    assert all(loads[f"leaf {leaf} of rail {rail} up to the spine"] == 1e9 / 8 for leaf in (0, 1) for rail in range(8))


def test_a_group_that_changes_rails_from_node_to_node_crosses_the_spine() -> None:
    """GPU 0 of node 0 and GPU 1 of node 1, on one leaf a rail for all nodes."""
    rails = cluster_of((node_of(), 2), nodes_per_leaf=2, oversubscription=2.0)
    loads = loads_of(rails, [0, 9])
    assert loads["leaf 0 of rail 0 up to the spine"] == loads["leaf 0 of rail 1 down from the spine"] == 1e9


def test_in_a_torus_a_ring_takes_the_way_from_node_to_node() -> None:
    """A ring of four nodes: each wire onwards once, none back."""
    torus = cluster_of((node_of(num_gpus=1, num_nics=4), 4), wiring="torus", torus=(4,))
    loads = loads_of(torus, [0, 1, 2, 3])
    assert loads == {f"torus wire of node {node}, dimension 0, onwards": 1e9 for node in range(4)}


def test_the_slowest_nodes_nic_sets_the_pace_of_a_mixed_group() -> None:
    slow = link("slow nic", 2e9, 30e-6)
    mixed = cluster_of((node_of(num_gpus=2, num_nics=2), 1), (node_of(num_gpus=2, num_nics=2, nic=slow), 1))
    gathered = all_gather(mixed, range(4), 4 / 3 * 1e9)
    assert gathered.latency == pytest.approx(5e-6 + 2 * 3e-6 + 30e-6)
    assert alone(mixed, gathered) == pytest.approx(gathered.latency + 0.5e9 / 2e9)


def test_in_a_tree_too_each_nic_takes_its_share_and_each_slot_a_part_of_that() -> None:
    """Members 0, 1, 2 of a node whose NICs serve two each: half over either NIC, so a quarter from slots 0 and 1."""
    tree = cluster_of((node_of("pcie", 4, 2, gpus_per_switch=2), 2))
    loads = loads_of(tree, [0, 1, 2, 4])
    assert loads["NIC 0 of node 0, out"] == loads["NIC 1 of node 0, out"] == 0.5e9
    hops = 2 / 3 * 1e9
    assert [loads[f"PCIe slot of GPU {gpu}, out"] for gpu in (0, 1, 2)] == [
        round(hops + share) for share in (0.25e9, 0.25e9, 0.5e9)
    ]
