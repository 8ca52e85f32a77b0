"""The frameworks' all-reduce by hand: one shot, two shots, symmetric memory, NCCL above a limit, and without graphs."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import topologies
from sim.costs.collectives import all_reduce, alone
from sim.costs.collectives.custom_all_reduce import LAW_OF, NUM_SMS, custom_all_reduce
from sim.costs.collectives.custom_kernels import CHOICES, KERNELS, Kernel, limit
from tests.clusters import NVLINK, SLOT, cluster_of, node_of
from topologies.fabric import Wire
from topologies.hardware import Cluster, Fit
from topologies.quantity import KIB, MIB

PLAIN: Final[Mapping[str, float]] = {
    "one_shot_start": 4e-6,
    "one_shot_peer": 1e-6,
    "one_shot_rate": 0.5,
    "two_shot_start": 9e-6,
    "two_shot_peer": 0.0,
    "two_shot_rate": 0.5,
    "symmetric_start": 6e-6,
    "symmetric_peer": 0.0,
    "symmetric_rate": 0.5,
    "host": 30e-6,
    "host_grace": 60e-6,
    "copy_rate": 1.0,
}
"""Of NVLink with 300 GB/s, 150 GB/s, after the start."""


def plain_cluster() -> Cluster:
    fits = {law.operation: Fit(values=PLAIN, sources={}) for law in LAW_OF.values()}
    return cluster_of((node_of(scale_up=replace(NVLINK, fits=fits)), 2))


def test_one_shot_reads_the_buffer_of_every_peer() -> None:
    """150 kB from each of 3 peers: 4 + 3 us to start, 450 kB at 150 GB/s: 3 us; on an A100, below 512 KiB."""
    cluster = plain_cluster()
    activity = custom_all_reduce(cluster, range(4), 150e3)
    assert alone(cluster, activity) == pytest.approx(10e-6)
    assert dict(activity.loads)[Wire("nvlink", "in", 2)] == pytest.approx(450e3)
    assert activity.num_sms == NUM_SMS


def test_two_shots_move_twice_what_a_ring_step_moves() -> None:
    """3 MB on 4 GPUs, above 512 KiB: 2 x 3/4 x 3 MB = 4.5 MB at 150 GB/s: 30 us, and 9 us to start."""
    cluster = plain_cluster()
    activity = custom_all_reduce(cluster, range(4), 3e6)
    assert alone(cluster, activity) == pytest.approx(39e-6)
    assert dict(activity.loads)[Wire("nvlink", "out", 0)] == pytest.approx(4.5e6)


def test_symmetric_memory_moves_the_buffer_once() -> None:
    """On H100, 8 GPUs, 15 MB: 6 us and 100 us at half of the link."""
    fits = {LAW_OF["vllm"].operation: Fit(values=PLAIN, sources={})}
    node = node_of(gpu=topologies.gpu("h100"), scale_up=replace(NVLINK, fits=fits))
    cluster = cluster_of((node, 1))
    assert alone(cluster, custom_all_reduce(cluster, range(8), 15e6)) == pytest.approx(106e-6)


def test_what_is_above_the_limit_goes_to_nccl() -> None:
    cluster = plain_cluster()
    for gpus, nbytes in ((range(8), 64 * MIB), (range(4), 8 * MIB), (range(16), 1024.0), ([0, 8], 1024.0)):
        assert custom_all_reduce(cluster, gpus, nbytes) == all_reduce(cluster, gpus, nbytes)


def test_over_pcie_two_gpus_have_a_kernel_and_more_have_nccl() -> None:
    cluster = cluster_of((node_of("pcie", scale_up=SLOT), 1))
    assert custom_all_reduce(cluster, range(2), 1024.0) != all_reduce(cluster, range(2), 1024.0)
    assert custom_all_reduce(cluster, range(4), 1024.0) == all_reduce(cluster, range(4), 1024.0)


def test_without_a_graph_the_host_is_waited_for_and_the_result_copied() -> None:
    """10 us become 30; of 3 MB the copy reads and writes 6 MB at 2.039 TB/s: 2.9 us after 39."""
    cluster = plain_cluster()
    assert alone(cluster, custom_all_reduce(cluster, range(4), 150e3, graph=False)) == pytest.approx(30e-6)
    assert alone(cluster, custom_all_reduce(cluster, range(4), 3e6, graph=False)) == pytest.approx(
        39e-6 + 6e6 / cluster.gpu.memory_bandwidth
    )


def test_limits_are_those_of_the_generation_and_of_the_next_larger_group() -> None:
    vllm = CHOICES["vllm"]
    assert limit(vllm, "hopper", "one_shot", 8) == 256 * KIB
    assert limit(vllm, "hopper", "one_shot", 6) == 256 * KIB
    assert limit(vllm, "hopper", "symmetric", 8) == 64 * MIB
    assert limit(vllm, "ampere", "symmetric", 8) == 0
    assert limit(vllm, "hopper", "one_shot", 16) == 0


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("graph", [True, False])
def test_the_law_and_the_activity_say_the_same(kernel: Kernel, graph: bool) -> None:
    cluster, sizes = plain_cluster(), [512.0, 100e3, 1e6, 30e6]
    law = LAW_OF[CHOICES[kernel].family]
    points = {
        "kernel": np.full(4, float(KERNELS.index(kernel))),
        "num_gpus": np.full(4, 8.0),
        "nbytes": np.array(sizes),
        "graph": np.full(4, float(graph)),
    }
    found = [alone(cluster, custom_all_reduce(cluster, range(8), size, kernel, graph)) for size in sizes]
    assert law.seconds(cluster, PLAIN, points) == pytest.approx(found, rel=0.02)


@given(st.floats(1, 100 * KIB), st.floats(1, 2), st.sampled_from(KERNELS), st.sampled_from([2, 4, 8]))
def test_within_one_algorithm_more_bytes_take_longer(nbytes: float, factor: float, kernel: Kernel, n: int) -> None:
    cluster = topologies.build(gpu="h100", nodes=1)
    less, more = (alone(cluster, custom_all_reduce(cluster, range(n), s, kernel)) for s in (nbytes, factor * nbytes))
    assert less <= more * (1 + 1e-9)
