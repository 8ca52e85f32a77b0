"""Collectives by size, a layer's tensor parallelism, and sharing, by hand and against what the simulator does."""

from dataclasses import replace

import numpy as np
import pytest

import topologies
from sim import frameworks, models
from sim.communication.by_size import OPERATIONS, PLAIN, activity, bus_factor, by_size, stretches
from sim.communication.contention import contended, jobs, rails, same_gpus
from sim.communication.placement import members, one_to_a_node, rail
from sim.communication.tensor_parallel import by_degree, layer_time
from sim.costs.collectives import alone
from sim.costs.collectives.nccl import NETWORK_LAW, NODE_LAW
from sim.costs.collectives.rates import NETWORK_PARAMETERS, NODE_PARAMETERS
from sim.plan import Plan
from sim.timeline import breakdown
from sim.training import simulate_training
from sim.workload import TrainingStep
from tests.clusters import NIC, NVLINK, cluster_of, node_of
from tests.unit.test_costs_collectives import ideal_fit
from topologies.document import InputError
from topologies.hardware import Cluster

H100 = topologies.load("dgx-h100")
SIZES = 2.0 ** np.arange(3, 35, 2)
LARGE = 2.0**30
STEP = TrainingStep(seq_len=2048, precision="bf16")
MEGATRON = frameworks.load("megatron-core")
LLAMA = models.load("llama-65b")


def ideal() -> Cluster:
    """Two nodes of 8: NVLink 300 GB/s and 3 us a step, which take their whole bandwidth and fill no pipeline."""
    inside = replace(NVLINK, fits={NODE_LAW.operation: ideal_fit(NODE_PARAMETERS)})
    nic = replace(NIC, fits={NETWORK_LAW.operation: ideal_fit(NETWORK_PARAMETERS)})
    return cluster_of((replace(node_of(), scale_up=inside, nic=nic), 2))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("num_gpus", "stride"), [(8, 1), (16, 1), (4, 8)])
def test_the_way_that_nccl_takes_lasts_as_long_as_in_a_step(operation, num_gpus, stride):
    gpus = members(H100, num_gpus, stride)
    shown = by_size(H100, gpus, operation, SIZES)
    assert shown.seconds == pytest.approx([alone(H100, activity(H100, gpus, operation, size)) for size in SIZES])
    assert (shown.low < shown.seconds).all()
    assert (shown.seconds < shown.high).all()


def test_a_ring_with_simple_takes_its_closed_form():
    """2(n-1)/n S/B: 2 x 7/8 x 2^34 B / 300 GB/s, and less than a thousandth of latency."""
    shown = by_size(ideal(), range(8), "all_reduce", np.array([2.0**34]))
    (ring,) = (curve for curve in shown.curves if curve.name == "ring Simple")
    assert ring.seconds[0] == pytest.approx(2 * 7 / 8 * 2**34 / 300e9, rel=1e-3)


def test_stretches_follow_one_another_and_hold_what_is_taken():
    gpus = members(H100, 8, 1)
    found = stretches(H100, gpus, "all_gather")
    assert [one.end for one in found[:-1]] == [one.first for one in found[1:]]
    shown = by_size(H100, gpus, "all_gather", np.array([(one.first + one.end) / 2 for one in found[:-1]]))
    taken = [shown.curves[way] for way in shown.taken]
    assert [(way.algorithm, way.protocol) for way in taken] == [(one.algorithm, one.protocol) for one in found[:-1]]
    assert [one.algorithm for one in stretches(H100, gpus, "all_to_all")] == [PLAIN]


def test_bus_bandwidth_is_what_nccl_tests_defines():
    assert [bus_factor(operation, 8) for operation in OPERATIONS] == [1.75, 0.875, 0.875, 1.0, 0.875, 1.0]


def test_older_nccl_has_no_nvls():
    old = replace(H100, nccl_version="2.16")
    names = {curve.algorithm for curve in by_size(old, range(8), "all_reduce", SIZES).curves}
    assert names == {"ring", "tree"}


def test_a_group_that_does_not_fit_is_told_what_does():
    with pytest.raises(InputError, match=r"every 2 apart, need 7; rtx-4090-workstation has 4; use 2 or fewer"):
        members(topologies.load("rtx-4090-workstation"), 4, 2)
    assert members(H100, 3, 8) == rail(H100, 0, 3) == (0, 8, 16)


def test_tensor_parallelism_waits_longer_for_the_network_than_for_nvlink():
    near = by_degree(LLAMA, H100, STEP, MEGATRON, 1).times
    far = by_degree(LLAMA, one_to_a_node(H100), STEP, MEGATRON, 1).times
    assert [one.tp for one in near] == [1, 2, 4, 8, 16, 32, 64]
    assert near[0].exposed == far[0].exposed == near[0].communication == 0
    for inside, across in zip(near[1:], far[1:], strict=True):
        assert across.exposed > 1.5 * inside.exposed
    assert near[3].share < 0.5 < near[4].share


def test_a_layer_waits_as_long_as_in_a_played_step():
    """Four layers more wait four times as long more; embedding and head wait as before, and the clock is nearly one."""
    plan = Plan(
        tp=8, sp=True, pp=1, vpp=1, dp=1, zero=0, recompute="none", schedule="1f1b", micro_batch=1, global_batch=1
    )
    played = [
        simulate_training(replace(LLAMA, num_layers=count), H100, plan, STEP, MEGATRON, steady_state=False)
        for count in (4, 8)
    ]
    few, many = (breakdown(timeline)["exposed_tp"] * timeline.duration for timeline in played)
    assert layer_time(LLAMA, H100, STEP, MEGATRON, 1, 8).exposed == pytest.approx((many - few) / 4, rel=1e-3)


def test_degrees_that_do_not_divide_the_heads_are_left_out_with_the_reason():
    found = by_degree(models.load("llama3-70b"), H100, STEP, MEGATRON, 1)
    assert [one.tp for one in found.times] == [1, 2, 4, 8]
    assert found.left_out[0] == (16, "tp=16 does not divide num_kv_heads=8 of llama3-70b; use 1, 2, 4, 8")


def test_without_a_network_no_group_lies_across_nodes():
    with pytest.raises(InputError, match="one box without a network"):
        one_to_a_node(topologies.load("rtx-4090-workstation"))


def test_a_gpu_to_a_node_has_its_share_of_the_nics():
    """dgx-1: 4 NICs of 100 Gb/s for 8 GPUs, so half of one each."""
    lone = one_to_a_node(topologies.load("dgx-1")).node
    assert (lone.num_gpus, lone.num_nics, lone.nic.bandwidth) == (1, 1, 12.5e9 / 2)


def test_equal_collectives_on_one_nic_take_as_many_times_as_long():
    """Four slots on two NICs of each node: two to a NIC, twice the time, less the latency that they share."""
    two = cluster_of((node_of(num_gpus=4, num_nics=2), 4))
    shown = contended(two, rails(two, 4, 4), "all_gather", LARGE)
    assert shown.slowdowns == pytest.approx([2.0] * 4, rel=0.01)
    assert shown.busiest.num_groups == 2
    assert max(shown.done) >= shown.busiest.seconds
    own = cluster_of((node_of(num_gpus=4, num_nics=4), 4))
    assert contended(own, rails(own, 4, 4), "all_gather", LARGE).slowdowns == pytest.approx([1.0] * 4)


def test_who_begins_when_the_other_is_done_is_alone():
    two = cluster_of((node_of(num_gpus=2, num_nics=1), 2))
    shown = contended(two, rails(two, 2, 2), "all_gather", LARGE, stagger=1.0)
    assert shown.slowdowns == pytest.approx([1.0, 1.0])
    assert shown.starts == pytest.approx([0.0, shown.alone[0]])


@pytest.mark.parametrize(("oversubscription", "expected"), [(1.0, 1.0), (2.0, 2.0), (4.0, 4.0)])
def test_a_fabric_full_of_scattered_jobs_is_as_slow_as_it_is_oversubscribed(oversubscription, expected):
    tree = cluster_of((node_of(), 32), wiring="fat-tree", nodes_per_leaf=4, oversubscription=oversubscription)
    shown = contended(tree, jobs(tree, 8, 4), "all_gather", LARGE)
    assert shown.slowdowns == pytest.approx([expected] * 8, rel=0.02)
    assert len({gpu for group in shown.groups for gpu in group}) == tree.num_gpus


def test_collectives_of_the_same_gpus_share_their_ports():
    """Their latencies pass side by side, their bytes go one after another: a + 3 S/B."""
    box = cluster_of((node_of(), 1))
    three = contended(box, same_gpus(box, 3, range(8)), "all_gather", LARGE)
    latency = activity(box, range(8), "all_gather", LARGE).latency
    assert three.done == pytest.approx([latency + three.busiest.seconds] * 3)
    assert three.busiest.nbytes == pytest.approx(3 * 7 / 8 * LARGE)
