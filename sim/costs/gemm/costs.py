"""What layers ask for: the product of a linear layer in one of three layouts, and the cast of its operands.

Layouts of training: forward y = x w^T, input gradient dx = dy w, weight gradient dw = dy^T x, which is summed over the
tokens and added to what is there. The same FLOPs; what differs is how operands lie in memory.
"""

from functools import lru_cache
from typing import Final

import numpy as np

from sim.costs import ELEMENT, processor
from sim.costs.gemm.formats import FORMATS
from sim.costs.gemm.gradients import Layout, layout_rate
from sim.costs.gemm.kernels import in_l2, product_seconds, quantise_seconds
from sim.costs.gemm.laws import values_of
from sim.costs.law import Array, Values
from topologies.hardware import Gpu

EXACT_SUMS: Final = 1 / 1.15
"""Rate of an fp8 gradient before Blackwell: partial sums go to fp32 registers on the way, which forward leaves out for
1.1 to 1.2 times the speed (pytorch/ao, issue 2377; Transformer Engine, base.py: _2X_ACC_DGRAD, _2X_ACC_WGRAD)."""

_CACHED = 1 << 16


@lru_cache(maxsize=_CACHED)
def gemm(
    gpu: Gpu,
    m: int,
    n: int,
    k: int,
    precision: str,
    *,
    batch: int = 1,
    output_nbytes: float = ELEMENT,
    layout: Layout = "forward",
    cold_weights: bool = False,
) -> float:
    """Seconds of a linear layer: `batch` products (m x k)(k x n) and, below 16 bits, the cast of the (m x k) operand.

    The sum of `product` and `quantise`, counted once each: what a layer waits for whose input comes in 16 bits. Raises
    InputError where the GPU has no rate for the precision.
    """
    whole = product(
        gpu, m, n, k, precision,
        batch=batch, output_nbytes=output_nbytes, layout=layout, cold_weights=cold_weights,
    )  # fmt: skip
    return whole + quantise(gpu, batch * m, k, precision)


@lru_cache(maxsize=_CACHED)
def product(
    gpu: Gpu,
    m: int,
    n: int,
    k: int,
    precision: str,
    *,
    batch: int = 1,
    output_nbytes: float = ELEMENT,
    layout: Layout = "forward",
    cold_weights: bool = False,
) -> float:
    """Seconds of the product alone, operands already in their precision; weight-only formats unpack on the way.

    m, n and k are rows and columns of the result and what is summed over, in any layout: the weight gradient of T
    tokens has k = T. `output_nbytes` is what an output moves: 2 to write 16 bits, 8 to add to an fp32 sum (read and
    write). Weights that fit into a part of the L2 are found there, as in the benchmarks, unless `cold_weights`.
    """
    if gpu.is_processor:
        return processor.product(gpu, layout, m, n, k, batch)
    kind, values = FORMATS[precision], values_of(gpu, precision)
    rows, columns, depth = np.array([[m], [n], [k]], dtype=np.float64)
    cold = _coldness(gpu, values, batch * kind.weight * columns * depth, cold_weights)
    options = {"batch": float(batch), "output_nbytes": float(output_nbytes), "rate": rate_of(gpu, precision, layout)}
    return float(product_seconds(gpu, values, kind, rows, columns, depth, coldness=cold, **options)[0])


def rate_of(gpu: Gpu, precision: str, layout: Layout) -> float:
    """What a layout leaves of the rate that was measured forward."""
    sums_apart = precision == "fp8" and layout != "forward" and "fp4" not in gpu.peak_flops
    return layout_rate(gpu, layout) * (EXACT_SUMS if sums_apart else 1.0)


@lru_cache(maxsize=_CACHED)
def quantise(gpu: Gpu, rows: int, width: int, precision: str, *, transposed: bool = False) -> float:
    """Seconds to cast rows x width numbers of 16 bits: the largest magnitude, the scales, the numbers; 0 for 16 bits.

    `transposed` writes a transposed copy on the same pass. Training in 8 bits casts an activation once, with its
    transpose, for the forward and the weight gradient; the output's gradient likewise for both gradients; and a weight
    once a step.
    """
    kind = FORMATS[precision]
    values = values_of(gpu, precision) if kind.quantises else {}
    return float(quantise_seconds(gpu, values, kind, np.array([float(rows) * width]), copies=1 + transposed)[0])


def seconds(
    gpu: Gpu, m: Array, n: Array, k: Array, precision: str, *, cold_weights: bool = False, casts: bool = True
) -> Array:
    """`gemm` for many shapes at once: columns of equal length, one time for each; `casts` False: `product` alone.

    Cold weights take no less than the data sheet's bandwidth, however far a fit is from what it was made from.
    """
    kind, values = FORMATS[precision], values_of(gpu, precision)
    cold = _coldness(gpu, values, kind.weight * n * k, cold_weights)
    made = product_seconds(gpu, values, kind, m, n, k, coldness=cold)
    if cold_weights:
        made = np.maximum(made, kind.weight * n * k / gpu.memory_bandwidth)
    return made + quantise_seconds(gpu, values, kind, m * k) if kind.quantises and casts else made


def _coldness(gpu: Gpu, values: Values, nbytes: Array, cold_weights: bool) -> Array:
    return np.ones_like(nbytes) if cold_weights else 1 - in_l2(gpu, values, nbytes)
