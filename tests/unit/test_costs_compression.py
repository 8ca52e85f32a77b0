"""What compressed gradients put onto the wire, and what waits in the host's memory."""

import pytest

import topologies
from sim.costs.compression import OnWire, int8, low_rank
from sim.costs.offload import HOST_PARAMETERS, copy_seconds, optimizer_seconds
from topologies.quantity import GIGA

H100 = topologies.gpu("h100-80gb-sxm")


def test_int8_sends_a_quarter_of_fp32() -> None:
    """A byte for each value and four for each block of 256."""
    sent = [step for step in int8(H100, GIGA, 8, 4, scattered=True) if isinstance(step, OnWire)]
    assert [(step.operation, step.nbytes) for step in sent] == [("all_to_all", GIGA * (1 + 4 / 256))]


def test_where_all_need_the_sum_it_is_gathered_in_int8() -> None:
    sent = [step.operation for step in int8(H100, GIGA, 8, 4, scattered=False) if isinstance(step, OnWire)]
    assert sent == ["all_to_all", "all_gather"]


def test_low_rank_sums_two_thin_matrices() -> None:
    """A square matrix of 4,096: P and Q have 4 columns of 4,096 fp32 values each, a five-hundredth of the matrix."""
    sent = [step.nbytes for step in low_rank(H100, 4096.0**2, 4096) if isinstance(step, OnWire)]
    assert sent == [4 * 4 * 4096] * 2


def test_a_copy_to_the_host_takes_its_bytes_over_the_slot() -> None:
    """PCIe 5: 0.78 x 63 GB/s, and the latency of the slot."""
    assert copy_seconds(H100, 0.0) == 0.0
    assert copy_seconds(H100, 63 * GIGA) == pytest.approx(1 / 0.78, rel=1e-4)


def test_the_host_updates_the_parameters_of_all_its_gpus() -> None:
    """Eight times a billion by CPU-Adam, and half of the last weights' copy: 1 GB at 49 GB/s."""
    node = topologies.load("dgx-h100", 8).node
    assert optimizer_seconds(node, GIGA) == pytest.approx(8 * GIGA / HOST_PARAMETERS + copy_seconds(H100, 2 * GIGA) / 2)
