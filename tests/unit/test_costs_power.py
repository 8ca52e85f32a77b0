"""Power and the clock that its limit allows, by hand on a GPU of 100 W that would draw 200 W in full."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import topologies
from sim.costs.power import POWER, Work, at_clock, cold_clock, sustained_clock, watts
from topologies.hardware import Fit, Gpu

VALUES = {"static": 0.1, "math": 0.8, "memory": 0.4, "link": 0.5, "floor": 0.5, "cold": 1.0}
TOY = replace(
    topologies.gpu("a100-80gb-sxm"), power_limit=100.0, full_power=200.0, fits={"power": Fit(values=VALUES, sources={})}
)
shares = st.floats(0.0, 1.0)


def product(gpu: Gpu, clock: float, rate: float) -> Work:
    """One second's worth of arithmetic at the peak, done at `rate` of it while kernels are cold."""
    return Work(cold_clock(gpu) / (rate * clock), 1.0, 0.0, 0.0)


def test_power_is_static_and_arithmetic_and_bytes() -> None:
    """0.1 + 0.8 x 0.5 s of 1 s + 0.4 x (0.25 + 0.5 x 0.1): 0.62 of 200 W; at 0.8 of the clock arithmetic takes 0.64
    of the energy: 0.476; below the floor's voltage, 0.5, it takes a quarter: 0.32."""
    work = Work(1.0, 0.5, 0.25, 0.1)
    assert watts(TOY, work, 1.0) == pytest.approx(124.0)
    assert watts(TOY, work, 0.8) == pytest.approx(200 * 0.476)
    assert watts(TOY, work, 0.4) == watts(TOY, work, 0.5) == pytest.approx(200 * 0.32)


def test_arithmetic_alone_runs_at_the_cube_root_of_the_power_that_is_left() -> None:
    """0.1 + 0.8 c^3 = 0.5 of full power: c = 0.5 ** (1/3) = 0.7937."""
    clock = sustained_clock(TOY, lambda clock: product(TOY, clock, 1.0))
    assert clock == pytest.approx(0.5 ** (1 / 3), abs=0.002)


def test_what_draws_less_than_the_limit_keeps_the_clock_that_kernels_were_measured_at() -> None:
    assert sustained_clock(TOY, lambda _: Work(1.0, 0.2, 0.4, 0.0)) == 1.0
    assert cold_clock(topologies.gpu("a100-80gb-sxm")) == 0.95


def test_a_gpu_at_a_lower_clock_computes_less_and_moves_as_many_bytes() -> None:
    a100 = topologies.gpu("a100-80gb-sxm")
    slow = at_clock(a100, 0.76)
    assert slow.peak_flops["bf16"] == pytest.approx(0.8 * 312e12)
    assert slow.memory_bandwidth == a100.memory_bandwidth
    assert at_clock(a100, 0.95).peak_flops == a100.peak_flops


def test_what_long_kernels_sank_while_they_were_measured_is_not_counted_twice() -> None:
    """At 0.8 of the clock, products that took half as long again have 1.5 x 0.8 = 1.2 to go, those of 0.1 nothing."""
    fits = {"power": TOY.fits["power"]}
    fits |= {name: Fit(values={"heat": heat, "rate": 1.0}, sources={}) for name, heat in (("a", 0.5), ("b", 0.1))}
    sinking = replace(TOY, fits=fits)
    slow = at_clock(sinking, 0.8)
    assert slow.fits["a"].values == {"heat": pytest.approx(0.2), "rate": 1.0}
    assert slow.fits["b"].values == {"heat": 0.0, "rate": 1.0}
    assert slow.fits["power"] == TOY.fits["power"]
    assert at_clock(sinking, 1.0) == sinking


@pytest.mark.parametrize("limit", [60.0, 80.0, 110.0])
def test_the_work_is_asked_for_three_times_where_its_seconds_are_smooth(limit: float) -> None:
    """A microbatch is costed anew each time."""
    asked = []

    def work(clock: float) -> Work:
        asked.append(clock)
        return Work(0.3 + 0.7 / clock, 0.6, 0.1, 0.0)

    gpu = replace(TOY, power_limit=limit)
    clock = sustained_clock(gpu, work)
    assert watts(gpu, work(clock), clock) <= limit < watts(gpu, work(clock + 0.002), clock + 0.002)
    assert len(asked) - 2 <= 3


@given(math=shares, memory=shares, link=shares, limit=st.floats(60.0, 250.0))
def test_power_is_never_above_the_limit_and_a_lower_limit_never_speeds(
    math: float, memory: float, link: float, limit: float
) -> None:
    """Of the second that the work takes alone, its arithmetic stretches. (Static and bytes alone stay below 60 W at a
    low clock only where bytes are not asked for faster than the memory has them.)"""
    memory, link = min(memory, 0.3), min(link, 0.3)

    def work(clock: float) -> Work:
        return Work(1.0 + math * (1 / clock - 1), math, memory, link)

    gpu, lower = replace(TOY, power_limit=limit), replace(TOY, power_limit=0.9 * limit)
    clock = sustained_clock(gpu, work)
    if clock > 0.101:
        assert watts(gpu, work(clock), clock) <= limit
    assert sustained_clock(lower, work) <= clock


@pytest.mark.parametrize(
    ("name", "alone", "least", "most"),
    [("a100-80gb-sxm", 283.0, 252.0, 262.0), ("h100-80gb-sxm", 784.0, 684.0, 728.0), ("b200-sxm", 1526, 1230, 1275)],
)
def test_a_large_product_again_and_again_meets_the_published_rate(
    name: str, alone: float, least: float, most: float
) -> None:
    """From a product of 1 ms alone to those that last, at the power limit, TFLOP/s: 257 on an A100, 728 on an H100 and
    684 on an H200 of the same chip and limit, 1252 on a B200; the sheets' full_power comes from these."""
    gpu = topologies.gpu(name)
    rate = alone * 1e12 / gpu.peak_flops["bf16"]
    clock = sustained_clock(gpu, lambda clock: product(gpu, clock, rate)._replace(memory=0.05 / rate))
    assert least <= alone * clock / cold_clock(gpu) <= most


def test_a_gpu_of_which_nobody_says_it_would_draw_1_4_times_its_limit() -> None:
    assert topologies.gpu("h100-nvl").full_power == pytest.approx(1.4 * topologies.gpu("h100-nvl").power_limit)
    assert replace(topologies.gpu("h100-80gb-sxm"), power_limit=500.0).full_power == 1200.0


def test_the_law_stretches_what_is_arithmetic() -> None:
    """Math at its roof, gemm_efficiency, stretches wholly; bytes alone, and what stays below the limit, not at all."""
    roof = TOY.fit["gemm_efficiency"]
    points = {
        "alone": np.array([1 / roof, 1.0, 1.0]),
        "math": np.array([1.0, 0.0, 0.1]),
        "memory": np.array([0.0, 1.0, 0.0]),
        "link": np.zeros(3),
    }
    clock = (0.4 / 0.8 / roof) ** (1 / 3)
    assert POWER.seconds(TOY, VALUES, points) == pytest.approx([1 / roof / clock, 1.0, 1.0])
