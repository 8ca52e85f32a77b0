"""A GPU's power, and the clock that its limit allows: P = static + energy of arithmetic, HBM and links per second.

Energy per operation falls with the square of the voltage, which falls with the clock down to a floor (P ~ f V^2); bytes
cost the same at any clock. So work that draws more than the limit runs at the clock at which it draws just that: what
computes takes 1/clock longer, what moves bytes does not. Kernels are measured alone, in milliseconds, and run faster:
`cold` is the clock that they had.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.costs.law import Array, Law, Parameter, Points, Values, fit_of
from topologies.hardware import Fit, Gpu

LOWEST: Final = 0.1
"""The lowest clock that is looked at, as a share of the boost clock."""

RESOLUTION: Final = 0.002
"""How finely a sustained clock is looked for; GPUs step theirs by 15 MHz, 0.8 % of it."""

HALVINGS: Final = 40

SAGS: Final = ("heat", "throttling")
"""Parameters of products and of attention: how much longer the longest take, as the clock sinks while they run."""

MAX_ASKED: Final = 12
"""How often work is asked for at most; three times do where its seconds are smooth."""


class Work(NamedTuple):
    """What is done in so many seconds, in seconds of its own: arithmetic at the dense peak of its precision, bytes at
    the HBM's whole bandwidth, bytes sent at that same rate."""

    seconds: float
    math: float
    memory: float
    link: float


def cold_clock(gpu: Gpu) -> float:
    """The clock at which kernels were measured alone, as a share of the boost clock."""
    return fit_of(gpu, POWER)["cold"]


@lru_cache(maxsize=64)
def at_clock(gpu: Gpu, clock: float) -> Gpu:
    """The GPU at a clock: as much arithmetic less per second as it is below the one that kernels were measured at.

    Long kernels sank below that one already while they were measured; of that, only what is left is still to come.
    """
    slower = clock / cold_clock(gpu)
    if slower == 1.0:
        return gpu
    peaks = {precision: peak * slower for precision, peak in gpu.peak_flops.items()}
    return replace(gpu, peak_flops=peaks, fits={key: _less_sagging(fit, slower) for key, fit in gpu.fits.items()})


def _less_sagging(fit: Fit, slower: float) -> Fit:
    sags = {name: max(0.0, (1 + fit[name]) * slower - 1) for name in SAGS if name in fit.values}
    return replace(fit, values={**fit.values, **sags}) if sags else fit


def watts(gpu: Gpu, work: Work, clock: float) -> float:
    """Mean power of work that takes `work.seconds` at that clock."""
    drawn = _share_of_full_power(fit_of(gpu, POWER).values, np.array([work]).T, np.array([clock]))
    return gpu.full_power * float(drawn[0])


def sustained_clock(gpu: Gpu, work_at: Callable[[float], Work]) -> float:
    """The highest clock, as a share of the boost clock, at which work draws no more than the power limit.

    `work_at` says what the work is at a clock: its seconds grow as the clock falls, by less than the clock falls. It is
    asked few times: between two answers the seconds are taken as a + b / clock.
    """
    clock = cold_clock(gpu)
    work = work_at(clock)
    stretching = clock * min(work.seconds, work.math / gpu.fit["gemm_efficiency"])
    for _ in range(MAX_ASKED):
        most = _most(gpu, work, clock, stretching)
        if clock <= most <= clock + RESOLUTION or clock == LOWEST:
            break
        lower = max(LOWEST, most - RESOLUTION / 2)
        before, work = work, work_at(lower)
        stretching = (work.seconds - before.seconds) / (1 / lower - 1 / clock)
        clock = lower
    return clock


def _most(gpu: Gpu, work: Work, at: float, stretching: float) -> float:
    """The clock at which the work draws the limit, if its seconds are those `at` a clock plus stretching / clock."""
    low, high = LOWEST, cold_clock(gpu)

    def is_allowed(clock: float) -> bool:
        seconds = work.seconds + stretching * (1 / clock - 1 / at)
        return watts(gpu, work._replace(seconds=seconds), clock) <= gpu.power_limit

    if is_allowed(high):
        return high
    while high - low > RESOLUTION / 16:
        middle = (low + high) / 2
        low, high = (middle, high) if is_allowed(middle) else (low, middle)
    return low


def _share_of_full_power(values: Values, work: Array, clock: Array) -> Array:
    """Static, arithmetic at the clock's voltage, bytes; `work` has the rows of Work."""
    seconds, math, memory, link = work
    per_flop = values["math"] * np.maximum(clock, values["floor"]) ** 2
    moving = values["memory"] * (memory + values["link"] * link)
    drawn: Array = values["static"] + (per_flop * math + moving) / seconds
    return drawn


def _seconds(gpu: Gpu, values: Values, points: Points) -> Array:
    """Seconds of work that goes on and on, from those of each piece measured alone."""
    alone, math = points["alone"], points["math"]
    scaled = np.minimum(alone, math / gpu.fit["gemm_efficiency"])
    low, high = np.full_like(alone, LOWEST), np.full_like(alone, values["cold"])

    def seconds(clock: Array) -> Array:
        stretched: Array = alone + scaled * (values["cold"] / clock - 1)
        return stretched

    def is_allowed(clock: Array) -> NDArray[np.bool_]:
        work = np.stack([seconds(clock), math, points["memory"], points["link"]])
        allowed: NDArray[np.bool_] = gpu.full_power * _share_of_full_power(values, work, clock) <= gpu.power_limit
        return allowed

    low = np.where(is_allowed(high), high, low)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        allowed = is_allowed(middle)
        low, high = np.where(allowed, middle, low), np.where(allowed, high, middle)
    return seconds(low)


POWER: Final[Law[Gpu]] = Law(
    operation="power",
    inputs=("alone", "math", "memory", "link"),
    parameters={
        "static": Parameter(
            start=0.14,
            low=0.05,
            high=0.3,
            meaning="share of full power that is drawn whatever runs: 88 W of an A100 that waits (thonking.ai, "
            "Strangely, Matrix Multiplications on GPUs Run Faster When Given Predictable Data)",
        ),
        "math": Parameter(
            start=0.88,
            low=0.5,
            high=1.2,
            meaning="share of full power for arithmetic at the dense peak and the boost clock, in any precision (H200: "
            "662 W in fp8, 663 W in bf16, serialalice.pt, GPU Energy Benchmark): what is left of full power in an 8192 "
            "cubed product at 0.94 of the peak, as an A100 runs it on zeros (thonking.ai, 295 TFLOP/s)",
        ),
        "memory": Parameter(
            start=0.3,
            low=0.1,
            high=0.6,
            meaning="share of full power for bytes at the HBM's whole bandwidth: 83 pJ/B on an A100, of which the "
            "memory itself takes 31 (O'Connor et al. 2017, Fine-Grained DRAM, 3.9 pJ/bit); the rest is an assumption",
        ),
        "link": Parameter(
            start=0.7,
            low=0.0,
            high=2.0,
            meaning="energy of a byte sent to another GPU relative to one through the HBM; an assumption",
        ),
        "floor": Parameter(
            start=0.65,
            low=0.3,
            high=0.9,
            meaning="share of the boost clock below which the voltage falls no more; an assumption (that there is one: "
            "Modeling and Chasing the Energy-Efficiency Sweet Spots in Modern GPUs, arXiv 2607.00819)",
        ),
        "cold": Parameter(
            start=0.95,
            low=0.8,
            high=1.0,
            meaning="clock that kernels had when they were measured alone, as a share of boost: the best product of an "
            "A100 in aiconfigurator-core 0.12.0, 283 TFLOP/s, against 295 on zeros, where no power limit binds "
            "(thonking.ai)",
        ),
    },
    seconds=_seconds,
)
"""What repeats for longer than some 5 ms (flashinfer-ai/flashinfer, pull request 2899: a B200 then falls from 1965 to
1580 MHz), from the same alone."""

LAWS: Final = (POWER,)
