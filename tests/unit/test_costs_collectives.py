"""Ring, tree and messages by hand: NVLink 100 GB/s and 1 us a step, NIC 10 GB/s and 10 us, four GPUs to a node."""

from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.costs.collectives import COLLECTIVES, all_gather, all_reduce, alone, reduce_scatter
from sim.costs.collectives.chain import members, seconds
from sim.costs.collectives.point_to_point import send
from sim.costs.collectives.ring import ring
from sim.costs.collectives.tree import tree
from topologies.fabric import Wire
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
    for nbytes, activity in ((1e3, small), (1e10, large)):
        best = min(
            seconds(cluster, held, chain) for chain in (ring(cluster, held, nbytes, 2), tree(cluster, held, nbytes))
        )
        assert alone(cluster, activity) == pytest.approx(best)


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
