"""The two kernels of a product in few bits: quantising the activation, and the product itself.

The product takes what the SMs need or what the HBM needs, whichever is longer; the shorter hides in it well where many
tokens make many waves, badly where one wave streams the weights. A product that runs for milliseconds heats the chip.
None beats the peak.
"""

import numpy as np

from sim.costs import ELEMENT
from sim.costs.gemm.bends import bent, weights_of
from sim.costs.gemm.blocks import is_ruled, ruled
from sim.costs.gemm.formats import Format
from sim.costs.gemm.tiles import Paces, paces, quickest
from sim.costs.law import Array, Values
from topologies.document import InputError
from topologies.hardware import Gpu

CHUNK = 2048
"""So many points at a time stay in a core's cache."""
STRIPED_TOKENS = 16
"""Rows of the tensor cores' product of 16 bits."""
_SHARPNESS_DOUBLINGS = 4
_FAR = 1000.0


def product_seconds(
    gpu: Gpu,
    values: Values,
    kind: Format,
    m: Array,
    n: Array,
    k: Array,
    *,
    coldness: Array,
    batch: float = 1.0,
    output_nbytes: float = ELEMENT,
    rate: float = 1.0,
) -> Array:
    """Seconds of `batch` products (m x k)(k x n) for each point; `rate` scales the peak (another layout)."""
    peak = peak_of(gpu, kind)
    flops = peak * gpu.fit["gemm_efficiency"] * values["rate"] * kind.rate * rate
    pace = paces(gpu, values, kind, flops, output_nbytes)
    weights = weights_of(values)

    def of(cut: slice) -> Array:
        busy = _busy(gpu, values, kind, pace, flops, m[cut], n[cut], k[cut], batch)
        ideal = m[cut] * n[cut] * k[cut] * (2 * batch / flops)
        memory = _memory_seconds(gpu, values, kind, m[cut], n[cut], k[cut], coldness[cut], output_nbytes, batch)
        power = _power(values, kind, m[cut])
        heat = 1 + values["heat"] * ideal / (ideal + values["heat_time"])
        made = _hidden(busy, memory, power) * heat
        if not kind.dequantises:
            made *= bent(weights, m[cut], n[cut], k[cut])
        made += values["launch"] * gpu.fit["kernel_latency"] + (values["striped_start"] if kind.dequantises else 0.0)
        return np.maximum(made, ideal * (flops / peak))

    return np.concatenate([of(slice(first, first + CHUNK)) for first in range(0, len(m), CHUNK)])


def quantise_seconds(gpu: Gpu, values: Values, kind: Format, numbers: Array, *, copies: int = 1) -> Array:
    """Seconds to quantise so many numbers of 16 bits; further `copies` (a transposed one) are written on the way."""
    if not kind.quantises:
        return np.zeros_like(numbers)
    nbytes = numbers * (kind.cast + (copies - 1) * kind.activation)
    return values["cast_start"] + nbytes / (values["cast"] * gpu.memory_bandwidth)


def in_l2(gpu: Gpu, values: Values, weight_nbytes: Array) -> Array:
    """1 where weights of that size stay in the L2 between the runs of a benchmark, 0 where they do not."""
    power = np.minimum(weight_nbytes / (values["l2_share"] * gpu.l2_nbytes), _FAR)
    for _ in range(_SHARPNESS_DOUBLINGS):
        power = power * power
    share: Array = 1 / (1 + power)
    return share


def peak_of(gpu: Gpu, kind: Format) -> float:
    """The data sheet's FLOP/s of a format; InputError where it has none."""
    for peak in kind.peaks:
        if peak in gpu.peak_flops:
            return gpu.peak_flops[peak]
    known = ", ".join(gpu.peak_flops)
    raise InputError(f"{gpu.name} multiplies no {kind.peaks[0]}; take one of {known}, or give its rate in peak_flops")


def _hidden(one: Array, other: Array, power: Array) -> Array:
    """(one^power + other^power)^(1/power), by way of logarithms: numpy is slow at powers."""
    longer = np.maximum(one, other)
    shorter = np.log(np.minimum(one, other) / longer)
    shorter *= power
    added = np.log1p(np.exp(shorter))
    added /= power
    blended: Array = longer * np.exp(added)
    return blended


def _busy(
    gpu: Gpu, values: Values, kind: Format, pace: Paces, flops: float, m: Array, n: Array, k: Array, batch: float
) -> Array:
    """What the SMs need: with the quickest tiles, or with those that a rule chose before anybody timed them."""
    if kind.dequantises:
        return _striped(values, flops, m, n, k, batch)
    busy = quickest(gpu, values, pace, m, n, k, batch)
    chosen = is_ruled(m) if kind.rule else None
    if chosen is not None and chosen.any():
        busy[chosen] = ruled(gpu, values, flops, m[chosen], n[chosen], k[chosen], batch)
    return busy


def _striped(values: Values, flops: float, m: Array, n: Array, k: Array, batch: float) -> Array:
    """Weights unpacked on their way to the tensor cores: each SM has an equal stripe of them, so that no wave is part
    full, for 16 tokens at a time [Frantar et al. 2024, Marlin, arXiv 2408.11743, section 3]."""
    rows = STRIPED_TOKENS * np.ceil(m / STRIPED_TOKENS)
    busy: Array = rows * n * k * (2 * batch / (flops * values["striped_rate"]))
    return busy


def _power(values: Values, kind: Format, m: Array) -> Array:
    """How well the shorter of multiplying and reading hides in the longer."""
    if kind.dequantises:
        return np.full_like(m, values["striped_blend"])
    power: Array = values["blend"] + values["blend_more"] * m / (m + values["blend_tokens"])
    return power


def _memory_seconds(
    gpu: Gpu, values: Values, kind: Format, m: Array, n: Array, k: Array,
    coldness: Array, output_nbytes: float, batch: float,
) -> Array:  # fmt: skip
    bandwidth = gpu.memory_bandwidth
    from_hbm = 1 / (values["hbm"] * gpu.fit["memory_efficiency"] * bandwidth)
    from_l2 = 1 / (values["l2"] * bandwidth)
    weights = n * k
    weights *= (from_l2 + (from_hbm - from_l2) * coldness) * (batch * kind.weight)
    weights += m * k * (batch * kind.activation / (values["activations"] * bandwidth))
    weights += m * n * (batch * output_nbytes / (values["outputs"] * bandwidth))
    return weights
