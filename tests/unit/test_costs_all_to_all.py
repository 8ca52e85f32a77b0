"""All-to-all by hand and by counting every message; plain, in two levels, and between two GPUs only."""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import topologies
from sim.costs.collectives import COLLECTIVES, alone
from sim.costs.collectives.all_to_all import NODE_LAW, NODE_PARAMETERS, all_to_all
from sim.costs.collectives.exchange import Way, between, inside, joined
from sim.costs.collectives.hierarchical import hierarchical_all_to_all
from sim.costs.collectives.point_to_point import LAW as SEND
from sim.costs.collectives.point_to_point import send
from sim.instructions import Activity
from tests.clusters import NVLINK, cluster_of, clusters, node_of
from topologies.fabric import Wire, message_loads
from topologies.fits import laid_over, part_names
from topologies.hardware import Cluster, Fit

NUM_GPUS = 24
groups = st.lists(st.integers(0, NUM_GPUS - 1), min_size=2, max_size=12, unique=True)
sizes = st.floats(1.0, 1e9)

PLAIN: Final[Mapping[str, float]] = {
    **{name: parameter.start for name, parameter in NODE_PARAMETERS.items()},
    "start": 1.0,
    "per_peer": 1.0,
    "ll_rate": 0.01,
    "simple_start": 2.0,
    "simple_per_peer": 0.0,
    "copy_rate": 1e6,
    "port_rate": 0.5,
    "lag": 0.0,
}
"""Of NVLink with 300 GB/s, 5 us and 3 us a step: LL starts in 5 + 3 (n-1) us and reaches 3 GB/s to each peer; Simple
starts in 16 us and reaches 150 GB/s."""


def plain_cluster() -> Cluster:
    nvlink = replace(NVLINK, fits={NODE_LAW.operation: Fit(values=PLAIN, sources={})})
    return cluster_of((node_of(num_gpus=8, scale_up=nvlink), 4))


def test_small_parts_go_by_ll_and_take_its_rate() -> None:
    """3 kB to each of 3 peers: 5 us + 3 x 3 us + 3 kB / 3 GB/s = 15 us; 1 % less, as Simple would take 16 us."""
    cluster = plain_cluster()
    seconds = alone(cluster, all_to_all(cluster, range(4), 12e3))
    assert seconds == pytest.approx(15e-6 * (1 + (15 / 16.06) ** 8) ** (-1 / 8), rel=1e-3)


def test_large_parts_go_by_simple_and_take_the_rate_of_the_port() -> None:
    """Of 8 GB 7 GB are sent at 150 GB/s: 46.7 ms and 16 us."""
    cluster = plain_cluster()
    assert alone(cluster, all_to_all(cluster, range(8), 8e9)) == pytest.approx(7e9 / 150e9 + 16e-6, rel=1e-5)


def test_the_own_part_is_copied_by_the_same_sms() -> None:
    """At 1.0 of the link 8 GB take 26.7 ms by SMs, and 7 GB 46.7 ms by the port; at 0.25 SMs take 106.7 ms."""
    values = {**PLAIN, "copy_rate": 0.25}
    nvlink = replace(NVLINK, fits={NODE_LAW.operation: Fit(values=values, sources={})})
    cluster = cluster_of((node_of(num_gpus=8, scale_up=nvlink), 1))
    assert alone(cluster, all_to_all(cluster, range(8), 8e9)) == pytest.approx(8e9 / 75e9, rel=2e-3)


def test_between_nodes_the_nic_is_the_bottleneck_and_every_peer_costs_a_post() -> None:
    """4 nodes of 8: of 32 GB a GPU sends 24 GB by its NIC of 10 GB/s; 17 us and 24 posts of 1 us before."""
    cluster = plain_cluster()
    activity = all_to_all(cluster, range(32), 32e9)
    assert activity.latency == pytest.approx(17e-6 + 24e-6)
    assert alone(cluster, activity) == pytest.approx(41e-6 + 2.4)


def test_two_levels_send_as_many_bytes_in_fewer_messages() -> None:
    """3 posts in place of 24, the same 24 GB over each NIC; inside the node 7/8 of the buffer over each port."""
    cluster = plain_cluster()
    first, second = hierarchical_all_to_all(cluster, range(32), 32e9)
    assert dict(first.loads)[Wire("nvlink", "out", 9)] == pytest.approx(28e9)
    assert dict(second.loads)[Wire("nic", "out", 9)] == pytest.approx(24e9)
    assert second.latency == pytest.approx(17e-6 + 3e-6)
    assert len(hierarchical_all_to_all(cluster, range(8), 1e6)) == 1
    assert len(hierarchical_all_to_all(cluster, [0, 8, 16], 1e6)) == 1


def test_small_messages_over_many_nodes_like_two_levels_better() -> None:
    cluster = topologies.build(gpu="h100", fabric="ib-ndr400x8", nodes=128)
    plain = alone(cluster, all_to_all(cluster, range(1024), 1e6))
    assert sum(alone(cluster, step) for step in hierarchical_all_to_all(cluster, range(1024), 1e6)) < plain / 3


def test_a_message_inside_a_node_is_an_all_to_all_of_two_without_the_own_part() -> None:
    """1.5 GB at 150 GB/s: 10 ms and 16 us; between nodes 10 GB/s and 17 us; nothing to oneself."""
    cluster = plain_cluster()
    assert alone(cluster, send(cluster, 0, 1, 1.5e9)) == pytest.approx(10.016e-3)
    assert alone(cluster, send(cluster, 0, 9, 1e9)) == pytest.approx(0.1 + 17e-6)
    assert send(cluster, 2, 2, 1e7) == Activity(latency=0.0, loads=())


@pytest.mark.parametrize(("num_nodes", "target", "nbytes"), [(1, 1, 1e4), (1, 1, 1.5e9), (2, 8, 1e9)])
@pytest.mark.parametrize("values", [{"launch": 1.0, "rate": 1.0}, {"launch": 3.0, "rate": 0.5}])
def test_a_message_takes_what_was_fitted_of_messages(
    num_nodes: int, target: int, nbytes: float, values: dict[str, float]
) -> None:
    """Three times the start and half the rate of what is said of an all-to-all, and of the wires between nodes."""
    cluster, fit = plain_cluster(), Fit(values=values, sources={})
    fitted = laid_over(cluster, {name: {SEND.operation: fit} for name in part_names(cluster)})
    before, after = send(cluster, 0, target, nbytes), send(fitted, 0, target, nbytes)
    moving = alone(cluster, before) - before.latency
    expected = values["launch"] * before.latency + moving / values["rate"]
    assert alone(fitted, after) == pytest.approx(expected)
    points = {"num_nodes": np.array([float(num_nodes)]), "nbytes": np.array([nbytes])}
    assert SEND.seconds(cluster, values, points) == pytest.approx([expected])


def test_one_gpu_or_no_byte_costs_nothing() -> None:
    nothing = Activity(latency=0.0, loads=())
    assert COLLECTIVES["all_to_all"](plain_cluster(), [3], 1e9) == nothing
    assert all_to_all(plain_cluster(), [3, 4], 0.0) == nothing


def test_pxn_keeps_messages_on_their_rails() -> None:
    """Two leaves of 2 nodes: to the 16 GPUs of the other leaves' nodes by 8 rails, 2 members of each below a leaf."""
    network = {"nodes_per_leaf": 2, "oversubscription": 2.0}
    rails = cluster_of((node_of(), 4), **network)
    crossed = cluster_of((node_of(), 4), pxn=False, **network)
    up = Wire("leaf", "out", 0, 3)
    assert dict(between(rails, tuple(range(32)), "pxn"))[up] == 2 * 16
    assert dict(between(crossed, tuple(range(32)), "pxn"))[up] == 2 * (24 - 1)
    assert dict(between(rails, tuple(range(32)), "aligned"))[up] == 2 * 16


@given(clusters(NUM_GPUS), groups, st.sampled_from(["pxn", "direct"]))
def test_members_are_counted_as_if_every_message_was(cluster: Cluster, gpus: list[int], way: Way) -> None:
    assume(not cluster.network.ecmp)
    loads = joined(inside(cluster, tuple(gpus)), between(cluster, tuple(gpus), way))
    assert dict(loads) == pytest.approx(one_by_one(cluster, gpus, way))


def one_by_one(cluster: Cluster, gpus: Sequence[int], way: Way) -> Mapping[Wire, float]:
    """PXN takes a neighbour that is in the group, if all nodes of the group have NVSwitches."""
    found: defaultdict[Wire, float] = defaultdict(float)
    switched = all(cluster.node_at(gpu).layout == "nvswitch" for gpu in gpus)
    for a, b in itertools.permutations(gpus, 2):
        neighbour = a - cluster.slot_of(a) + cluster.slot_of(b)
        for wire, share in message_loads(cluster, a, b, pxn=way == "pxn" and switched and neighbour in gpus):
            found[wire] += share
    return found


@given(groups, sizes, st.floats(1.0, 4.0), st.sampled_from(["2.19", "2.27"]))
def test_more_bytes_never_take_less_time(gpus: list[int], nbytes: float, factor: float, version: str) -> None:
    cluster = replace(topologies.build(gpu="h100", fabric="ib-ndr400x8", nodes=3), nccl_version=version)
    less, more = (alone(cluster, all_to_all(cluster, gpus, size)) for size in (nbytes, factor * nbytes))
    assert less <= more * (1 + 1e-9)


def test_an_exchange_of_many_nodes_loads_each_nic_alike() -> None:
    cluster = topologies.build(gpu="h100", fabric="ib-ndr400x8", nodes=512)
    loads = dict(all_to_all(cluster, range(4096), 4096.0).loads)
    assert {loads[Wire("nic", way, gpu)] for way in ("out", "in") for gpu in (0, 9, 4095)} == {4088.0}
