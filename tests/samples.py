"""A law simple enough to be reckoned by hand, and samples of it, for tests of calibration."""

from collections.abc import Mapping

import numpy as np

from calibrate.samples import Samples
from sim.costs.law import Array, Law, Parameter, Points, Values
from topologies.hardware import Gpu
from topologies.quantity import MICROSECOND

TRUTH: Mapping[str, float] = {"rate": 0.7, "launch": 4.0}


def _seconds(gpu: Gpu, values: Values, points: Points) -> Array:
    rate = gpu.peak_flops["bf16"] * values["rate"]
    return 2 * points["m"] * points["n"] * points["k"] / rate + values["launch"] * MICROSECOND


TOY: Law[Gpu] = Law(
    operation="gemm toy",
    inputs=("m", "n", "k"),
    parameters={
        "rate": Parameter(start=0.9, low=0.1, high=1.2, meaning="share of the peak rate"),
        "launch": Parameter(start=3.0, low=0.0, high=50.0, meaning="start of a kernel, microseconds"),
    },
    seconds=_seconds,
)


def toy_samples(
    gpu: Gpu, *, noise: float = 0.0, truth: Mapping[str, float] = TRUTH, count: int = 200, seed: int = 1
) -> Samples:
    """Products of random shapes, timed by the law itself with some noise in the logarithm."""
    random = np.random.default_rng(seed)
    points = {name: np.floor(2.0 ** random.uniform(6, 14, count)) for name in ("m", "n", "k")}
    seconds = _seconds(gpu, truth, points) * np.exp(random.normal(0, noise, count))
    return Samples(
        operation=TOY.operation,
        part=gpu.name,
        points=points,
        seconds=seconds,
        rows=np.arange(2, count + 2),
        source="toy",
    )
