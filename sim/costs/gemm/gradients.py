"""Products of backward: the same FLOPs as forward, with operands that lie otherwise in memory, at a rate of their own.

What a layout leaves of the rate rests on the forward product: both are fitted, this one after that.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from sim.costs import processor
from sim.costs.gemm.formats import FORMATS
from sim.costs.gemm.kernels import in_l2, product_seconds
from sim.costs.gemm.laws import values_of
from sim.costs.law import Array, Law, Parameter, Points, Values, fit_of
from topologies.hardware import Gpu

Layout = processor.Layout

LAYOUTS: Final[tuple[Layout, ...]] = ("forward", "input_gradient", "weight_gradient")
"""The column `layout` of the points holds the place in this list."""

LAYOUT_RATES: Final[Mapping[Layout, float]] = {"forward": 1.0, "input_gradient": 1.0, "weight_gradient": 0.93}
"""Rate relative to the forward layout: the middle of 50 linear layers of 4,096 tokens on a B200 in bf16, the weight
gradient with fp32 sums (SimuMax, configs/system/b200_bf16_ceperm.json at e691807): a data-sheet figure for all GPUs."""


def layout_rate(gpu: Gpu, layout: Layout) -> float:
    """The rate of a layout relative to forward, on that GPU."""
    return LAYOUT_RATES[layout] if layout == "forward" else fit_of(gpu, LAW).values[layout]


def _seconds(gpu: Gpu, values: Values, points: Points) -> Array:
    """By the forward fit of the GPU; the gradient is written in 16 bits, as torch does."""
    kind, forward = FORMATS["bf16"], values_of(gpu, "bf16")
    total = np.empty(len(points["m"]))
    for index, layout in enumerate(LAYOUTS[1:], start=1):
        rows = points["layout"] == index
        if rows.any():
            tokens, outputs, inputs = (points[name][rows] for name in ("m", "n", "k"))
            m, k = (tokens, outputs) if layout == "input_gradient" else (outputs, tokens)
            cold = 1 - in_l2(gpu, forward, kind.weight * inputs * k)
            total[rows] = product_seconds(gpu, forward, kind, m, inputs, k, coldness=cold, rate=values[layout])
    return total


def _rate(layout: Layout, words: str) -> Parameter:
    return Parameter(start=LAYOUT_RATES[layout], low=0.2, high=2.0, meaning=f"rate of the {words}, of forward")


LAW: Final[Law[Gpu]] = Law(
    operation="gemm gradients",
    inputs=("m", "n", "k", "layout"),
    parameters={
        "input_gradient": _rate("input_gradient", "input gradient dy w"),
        "weight_gradient": _rate("weight_gradient", "weight gradient dy^T x"),
    },
    seconds=_seconds,
    on_processor=processor.GRADIENTS,
)
"""In bf16; m, n and k are those of forward (tokens, outputs, inputs): dy w is m x k and summed over n, dy^T x is n x k
and summed over m."""
