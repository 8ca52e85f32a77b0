"""What a cost costs: one that was asked for before, and columns of a hundred thousand."""

from collections.abc import Callable
from timeit import repeat

import numpy as np
import pytest

import topologies
from benchmarks.conftest import Show
from sim.costs.attention import Shape, flash_backward, flash_forward
from sim.costs.collectives import all_reduce
from sim.costs.gemm import gemm
from sim.costs.law import Array, Law, fit_of
from sim.costs.laws import KERNEL_LAWS
from sim.costs.memory_bound import kernel
from topologies.hardware import Gpu

WARM_BAR = 10e-6
ELEMENT_BAR = 0.2e-6
CALLS, ELEMENTS = 1000, 100_000
MICRO = 1e-6

H100 = topologies.gpu("h100-80gb-sxm")
DGX = topologies.load("dgx-h100", 64)
RANKS = tuple(range(64))
SHAPE = Shape(batch=1, seq_len=8192, num_heads=8, num_kv_heads=1, head_dim=128, value_dim=128, precision="bf16")
WARM: dict[str, Callable[[], object]] = {
    "a matrix product": lambda: gemm(H100, 8192, 4096, 4096, "bf16"),
    "flash attention, forward": lambda: flash_forward(H100, SHAPE),
    "flash attention, backward": lambda: flash_backward(H100, SHAPE),
    "a norm": lambda: kernel(H100, "norm forward", 2.0**26),
    "an all-reduce over 64 GPUs": lambda: all_reduce(DGX, RANKS, 2.0**30),
}


def verdict(seconds: float, bar: float) -> str:
    return "" if seconds < bar else "  MISSED"


@pytest.mark.parametrize("what", WARM)
def test_a_warm_cost_takes_less_than_ten_microseconds(what: str, show: Show) -> None:
    WARM[what]()
    seconds = min(repeat(WARM[what], number=CALLS, repeat=5)) / CALLS
    show(f"{what:<48} {seconds / MICRO:>8.2f} us, bar {WARM_BAR / MICRO:>6.1f} us{verdict(seconds, WARM_BAR)}")
    assert seconds < WARM_BAR


@pytest.mark.parametrize("operation", [name for name, law in KERNEL_LAWS.items() if fit_of(H100, law).domain])
def test_a_law_takes_less_than_a_fifth_of_a_microsecond_a_point(operation: str, show: Show) -> None:
    law = KERNEL_LAWS[operation]
    gpu = topologies.gpu(fit_of(H100, law).part)  # where it was measured: nvfp4 on a B200
    values, points = fit_of(gpu, law).values, points_of(gpu, law)
    seconds = min(repeat(lambda: law.seconds(gpu, values, points), number=1, repeat=5)) / ELEMENTS
    said = f"{operation}, a point of {ELEMENTS:,}"
    show(f"{said:<48} {seconds / MICRO:>8.3f} us, bar {ELEMENT_BAR / MICRO:>6.1f} us{verdict(seconds, ELEMENT_BAR)}")
    assert seconds < ELEMENT_BAR


def points_of(gpu: Gpu, law: Law[Gpu]) -> dict[str, Array]:
    """Random points within what was measured, even in the logarithm; experts and their ranks are powers of two, and
    balanced: skewed rows are drawn once for each layer of experts and then remembered."""
    random, domain = np.random.default_rng(0), fit_of(gpu, law).domain
    points = {
        name: np.floor(np.exp2(random.uniform(*np.log2(np.maximum(domain[name], 1.0)), ELEMENTS)))
        for name in law.inputs
    }
    if "num_experts" in points:
        experts, ep = (np.exp2(np.floor(np.log2(points[name]))) for name in ("num_experts", "ep"))
        points |= {"num_experts": experts, "ep": np.minimum(ep, experts), "top_k": np.minimum(points["top_k"], experts)}
        points["skew"] = np.zeros(ELEMENTS)
    return points
