"""What no GPU and no wire can do is told apart from what is measured."""

from dataclasses import replace

import numpy as np
import pytest

import topologies
from calibrate import limits
from calibrate.importers.reading import Reading
from calibrate.samples import Samples
from topologies.document import InputError
from topologies.quantity import GIB, MICROSECOND

H100 = topologies.gpu("h100-80gb-sxm")
NVLINK = topologies.build(gpu=H100.name, gpus_per_node=8, nodes=1).node.scale_up

PREFILL = {"batch": 4, "seq_len": 8192, "num_heads": 32, "num_kv_heads": 8, "head_dim": 128}
DECODE = {"batch": 64, "kv_len": 8192, "num_heads": 32, "num_kv_heads": 8, "head_dim": 128}
EXPERTS = {
    "num_tokens": 8192, "hidden": 4096, "ffn": 14336, "top_k": 2, "num_experts": 8, "tp": 1, "ep": 1, "skew": 0,
    "untuned": 0,
}  # fmt: skip
NODE = {"num_gpus": 8, "num_nodes": 1, "gpus_per_node": 8, "nbytes": GIB}
OVER_NODES = {"num_gpus": 16, "num_nodes": 2, "gpus_per_node": 8, "nbytes": GIB}
CASES: dict[str, tuple[dict[str, float], float]] = {
    "gemm bf16": ({"m": 8192, "n": 8192, "k": 8192}, 2 * 8192**3 / H100.peak_flops["bf16"]),
    "gemm fp8_block": ({"m": 8192, "n": 8192, "k": 8192}, 2 * 8192**3 / H100.peak_flops["fp8"]),
    "grouped gemm bf16": (EXPERTS, 6 * 16384 * 4096 * 14336 / H100.peak_flops["bf16"]),
    "attention prefill bf16": (PREFILL, 2 * 4 * 32 * 8192**2 * 128 / H100.peak_flops["bf16"]),
    "attention forward": ({**PREFILL, "causal": 0}, 4 * 4 * 32 * 8192**2 * 128 / H100.peak_flops["bf16"]),
    "attention decode bf16": (DECODE, (4 * 64 * 8192 * 8 * 128 - H100.l2_nbytes) / H100.memory_bandwidth),
    "memory bound": ({"nbytes": GIB}, (GIB - H100.l2_nbytes) / H100.memory_bandwidth),
    "nccl node": (NODE, 7 / 8 * GIB / NVLINK.bandwidth),
    "custom all-reduce vllm": (NODE, 7 / 8 * GIB / NVLINK.bandwidth),
    "nccl network": (OVER_NODES, GIB / 2 / 400e9),
    "nccl all-to-all network": (OVER_NODES, 8 * GIB / 2 / 400e9),
    "gemm gradients": ({"m": 8192, "n": 8192, "k": 8192, "layout": 2}, 2 * 8192**3 / H100.peak_flops["bf16"]),
    "attention backward": ({**PREFILL, "causal": 1}, 5 * 4 * 32 * 8192**2 * 128 / H100.peak_flops["bf16"]),
    "nccl send": ({"num_gpus": 2, "num_nodes": 2, "gpus_per_node": 8, "nbytes": GIB}, GIB / 400e9),
    "power": ({"alone": 1.0}, 1.0),
    "sharing": ({"alone": 0.5}, 0.5),
}
"""By operation a point, and the least seconds that a hand reckons: FLOPs at the peak (backward of causal attention five
products of half the scores), bytes beyond the L2 at the bandwidth, (n-1)/n of a buffer through a port, or half of it
through eight NICs of 50 GB/s, a message through all eight; and what the same kernel takes alone."""


def samples(operation: str, point: dict[str, float], seconds: float) -> Samples:
    return Samples(
        operation=operation,
        part=NVLINK.name if "num_gpus" in point else H100.name,
        gpu=H100.name,
        fabric="ib-ndr400x8",
        points={name: np.array([float(number)]) for name, number in point.items()},
        seconds=np.array([seconds]),
        rows=np.array([7]),
    )


@pytest.mark.parametrize("operation", CASES)
def test_the_least_time_is_what_a_hand_reckons(operation: str) -> None:
    point, least = CASES[operation]
    assert limits.least_seconds(samples(operation, point, 1.0))[0] == pytest.approx(least)


@pytest.mark.parametrize("operation", CASES)
def test_a_tenth_faster_is_refused_with_file_and_row(operation: str) -> None:
    point, least = CASES[operation]
    least = max(least, limits.SHORTEST)
    limits.check([Reading(samples=(samples(operation, point, least),))], ["t.csv"])
    with pytest.raises(InputError, match=rf"^t\.csv:7: {operation}: .* is faster than .* write the time in micro"):
        limits.check([Reading(samples=(samples(operation, point, 0.9 * least / limits.TOLERANCE),))], ["t.csv"])


def test_what_is_not_in_the_catalogue_has_no_limit_but_a_launch() -> None:
    unknown = Samples(
        operation="gemm bf16",
        part="gpu-9000",
        points={name: np.array([64.0]) for name in "mnk"},
        seconds=np.array([MICROSECOND]),
        rows=np.array([2]),
    )
    assert list(limits.broken(unknown)) == []


def test_a_processors_own_figures_bound_nothing_but_a_call_takes_its_time() -> None:
    """The sheet of a processor is measured itself: 1 us for a product of 8192 is not refused by it, 0.1 us is."""
    point = {"m": 8192.0, "n": 8192.0, "k": 8192.0}
    fast = replace(samples("gemm bf16", point, MICROSECOND), part="cpu-amd-epyc")
    assert list(limits.broken(fast)) == []
    assert len(list(limits.broken(replace(fast, seconds=fast.seconds / 10)))) == 1
