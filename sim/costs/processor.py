"""A processor's core where a GPU would stand: one thread, so that nothing is dealt out and nothing hides anything.

People compute in fp32 there, and so does it: what layers count as 16 bits is twice as wide. A product reaches its rate
as its sides grow, whichever way its operands lie. What is no sum is held up by its arithmetic, on top of its bytes.
Shares are of the peaks of the processor's own sheet, which a first quick measurement made.
"""

from functools import lru_cache, partial
from typing import Final, Literal, get_args

import numpy as np

from sim.costs.law import Array, Law, Parameter, Points, Values, fit_of
from topologies.hardware import Gpu
from topologies.quantity import NANOSECOND

Layout = Literal["forward", "input_gradient", "weight_gradient"]

Kind = Literal[
    "stream",
    "norm",
    "gated activation",
    "rotary",
    "lookup",
    "norm backward",
    "gated activation backward",
    "loss",
    "loss backward",
    "quantise",
    "dequantise",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""The column `kind` of the points holds the place in this list, of which the first are as on a GPU."""

PRECISION: Final = "fp32"
WIDER: Final = 2
"""Bytes of a number in fp32 for each that the layers, which reckon in 16 bits, count of it. Laws take true bytes."""
KEYS: Final = 512
"""Keys of a block; a causal mask skips none but whole blocks [PyTorch, native/cpu/FlashAttentionKernel.cpp]."""
FORWARD_WORK: Final = 4.0
BACKWARD_WORK: Final = 10.0
"""FLOPs for each score and each number of a head: two products, or five [Dao 2023]."""


@lru_cache(maxsize=65536)
def product(gpu: Gpu, layout: Layout, m: int, n: int, k: int, batch: int = 1) -> float:
    """Seconds of `batch` products (m x k)(k x n), in one of the layouts of training."""
    forward = fit_of(gpu, PRODUCT).values
    rate = 1.0 if layout == "forward" else fit_of(gpu, GRADIENTS).values[layout]
    sides = (np.array(float(side)) for side in (m, n, k))
    return batch * float(product_seconds(gpu, forward, *sides, rate=rate))


@lru_cache(maxsize=65536)
def stream(gpu: Gpu, nbytes: float, kind: Kind = "stream") -> float:
    """Seconds of a kernel that moves so many bytes, as layers count them."""
    of_kind = np.array(float(KINDS.index(kind)))
    return float(streamed(gpu, fit_of(gpu, STREAM).values, of_kind, np.array(WIDER * nbytes)))


@lru_cache(maxsize=65536)
def attention(
    gpu: Gpu, heads: int, seq_len: int, keys: int, width: float, *, causal: bool, is_backward: bool = False
) -> float:
    """Seconds of flash attention; `width` is the mean of a head's keys and values."""
    law, work = (ATTENTION_BACKWARD, BACKWARD_WORK) if is_backward else (ATTENTION, FORWARD_WORK)
    sizes = (np.array(float(size)) for size in (heads, seq_len, keys, width, causal))
    return float(attention_seconds(gpu, fit_of(gpu, law).values, work, *sizes))


def product_seconds(gpu: Gpu, values: Values, m: Array, n: Array, k: Array, *, rate: float | Array = 1.0) -> Array:
    """Seconds of (m x k)(k x n) at that rate relative to forward; short sides waste a part of each block of it."""
    flops = gpu.peak_flops[PRECISION] * gpu.fit["gemm_efficiency"] * values["rate"]
    waste = (1 + values["rows"] / m) * (1 + values["columns"] / n) * (1 + values["depth"] / k)
    return np.asarray(values["launch"] * gpu.fit["kernel_latency"] + 2 * m * n * k * waste / (flops * rate))


def streamed(gpu: Gpu, values: Values, kind: Array, nbytes: Array) -> Array:
    """Seconds of a kernel of that kind that moves so many bytes; one that is no mere stream takes several operations
    to do it, each of which writes what the next reads, and its arithmetic besides."""
    rates = np.array([values[name] for name in KINDS])[kind.astype(int)]
    start = np.where(kind > 0, values["launch_apart"], values["launch"]) * gpu.fit["kernel_latency"]
    return np.asarray(start + nbytes / (gpu.memory_bandwidth * gpu.fit["memory_efficiency"] * rates))


def attention_seconds(
    gpu: Gpu, values: Values, work: float, heads: Array, seq_len: Array, keys: Array, width: Array, causal: Array
) -> Array:
    """Seconds of `heads`, of all sequences together, each of so many queries and keys of `width` numbers."""
    seen = np.where(causal > 0, np.minimum(keys, (keys + KEYS) / 2), keys)
    flops = gpu.peak_flops[PRECISION] * gpu.fit["gemm_efficiency"] * values["level"]
    each = seq_len * seen * (work * width / flops + values["score"])
    return np.asarray(values["launch"] * gpu.fit["kernel_latency"] + heads * each)


def _products(gpu: Gpu, values: Values, points: Points) -> Array:
    return product_seconds(gpu, values, points["m"], points["n"], points["k"])


def _gradients(gpu: Gpu, values: Values, points: Points) -> Array:
    """By the forward fit of the processor."""
    m, n, k, forward = points["m"], points["n"], points["k"], fit_of(gpu, PRODUCT).values
    of_input = product_seconds(gpu, forward, m, k, n, rate=values["input_gradient"])
    of_weight = product_seconds(gpu, forward, n, k, m, rate=values["weight_gradient"])
    return np.where(points["layout"] == 1, of_input, of_weight)


def _streams(gpu: Gpu, values: Values, points: Points) -> Array:
    return streamed(gpu, values, points["kind"], points["nbytes"])


def _attention(work: float, gpu: Gpu, values: Values, points: Points) -> Array:
    heads, length = points["batch"] * points["num_heads"], points["seq_len"]
    return attention_seconds(gpu, values, work, heads, length, length, points["head_dim"], points["causal"])


def _ratio(start: float, meaning: str, low: float = 0.01, high: float = 100.0) -> Parameter:
    return Parameter(start=start, low=low, high=high, meaning=meaning)


def _half(side: str) -> Parameter:
    return _ratio(8.0, f"{side} at which half of a block is wasted", high=1000.0)


_LAUNCH: Final = {"launch": _ratio(1.0, "start, of the shortest operation's time", high=1000.0)}
_SCORE: Final = Parameter(
    start=0.2 * NANOSECOND, low=0.001 * NANOSECOND, high=20 * NANOSECOND, meaning="seconds a score"
)
_ATTENTION: Final = {**_LAUNCH, "level": _ratio(1.0, "rate of the products, of the achievable rate"), "score": _SCORE}
_TRAINED: Final = ("batch", "seq_len", "num_heads", "head_dim", "causal")

PRODUCT: Final[Law[Gpu]] = Law(
    operation="gemm fp32",
    inputs=("m", "n", "k"),
    parameters={
        **_LAUNCH,
        "rate": _ratio(1.0, "rate of a large product, of the achievable rate"),
        "rows": _half("rows"),
        "columns": _half("columns"),
        "depth": _half("numbers that are summed"),
    },
    seconds=_products,
)
GRADIENTS: Final[Law[Gpu]] = Law(
    operation="gemm gradients",
    inputs=("m", "n", "k", "layout"),
    parameters={
        "input_gradient": _ratio(1.0, "rate of the input gradient, of forward"),
        "weight_gradient": _ratio(1.0, "rate of the weight gradient, of forward"),
    },
    seconds=_gradients,
)
STREAM: Final[Law[Gpu]] = Law(
    operation="memory bound",
    inputs=("kind", "rows", "width", "nbytes"),
    parameters={
        **_LAUNCH,
        "launch_apart": _ratio(10.0, "start of what takes several operations, likewise", high=1000.0),
        **{name: _ratio(0.5, f"rate at which the bytes of a {name} are done, of the memory's") for name in KINDS},
    },
    seconds=_streams,
)
ATTENTION: Final[Law[Gpu]] = Law(
    operation="attention forward",
    inputs=_TRAINED,
    parameters=_ATTENTION,
    seconds=partial(_attention, FORWARD_WORK),
)
ATTENTION_BACKWARD: Final[Law[Gpu]] = Law(
    operation="attention backward",
    inputs=_TRAINED,
    parameters=_ATTENTION,
    seconds=partial(_attention, BACKWARD_WORK),
)
