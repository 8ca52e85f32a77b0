"""A processor's core where a GPU would stand: one thread, so that nothing is dealt out and nothing hides anything.

A product starts anew for each number of its result; an input gradient walks across the rows of the weights, slower the
longer they are. Attention makes the scores of whole blocks of keys. What fits into the cache streams faster.
Shares are of the peaks of the processor's own sheet, which a first quick measurement made.
"""

from functools import lru_cache, partial
from typing import Final, Literal

import numpy as np

from sim.costs import ELEMENT
from sim.costs.law import Array, Law, Parameter, Points, Values, fit_of
from topologies.hardware import Gpu
from topologies.quantity import NANOSECOND

Layout = Literal["forward", "input_gradient", "weight_gradient"]

USUAL_WIDTH: Final = 256.0
"""Inputs of a layer at which the rate of an input gradient is given."""
KEYS: Final = 512
"""Keys of a block; a causal mask skips none but whole blocks [PyTorch, native/cpu/FlashAttentionKernel.cpp]."""
FORWARD_WORK: Final = 4.0
BACKWARD_WORK: Final = 10.0
"""FLOPs for each score and each number of a head: two products, or five [Dao 2023]."""


@lru_cache(maxsize=65536)
def product(gpu: Gpu, layout: Layout, m: int, n: int, k: int, batch: int = 1) -> float:
    """Seconds of `batch` products (m x k)(k x n) in 16 bits, in one of the layouts of training."""
    values = fit_of(gpu, PRODUCT if layout == "forward" else GRADIENTS).values
    rows, columns, depth = (np.array(float(side)) for side in (m, n, k))
    return batch * float(product_seconds(gpu, values, layout, rows, columns, depth))


@lru_cache(maxsize=65536)
def stream(gpu: Gpu, nbytes: float) -> float:
    """Seconds of a kernel that moves so many bytes."""
    return float(streamed(gpu, fit_of(gpu, STREAM).values, np.array(nbytes)))


@lru_cache(maxsize=65536)
def attention(
    gpu: Gpu, heads: int, seq_len: int, keys: int, width: float, *, causal: bool, is_backward: bool = False
) -> float:
    """Seconds of flash attention; `width` is the mean of a head's keys and values."""
    law, work = (ATTENTION_BACKWARD, BACKWARD_WORK) if is_backward else (ATTENTION, FORWARD_WORK)
    sizes = (np.array(float(size)) for size in (heads, seq_len, keys, width, causal))
    return float(attention_seconds(gpu, fit_of(gpu, law).values, work, *sizes))


def product_seconds(gpu: Gpu, values: Values, layout: Layout, m: Array, n: Array, k: Array) -> Array:
    """Seconds of (m x k)(k x n) in 16 bits; of each number of the result there is a start, and its k multiply-adds.

    `values` are those of the fit of the layout: "gemm bf16", or "gemm gradients".
    """
    flops = gpu.peak_flops["bf16"] * gpu.fit["gemm_efficiency"] * values[layout]
    slower = (n / USUAL_WIDTH) ** values["stride"] if layout == "input_gradient" else 1.0
    each = values[f"{layout}_result"] + 2 * k / flops * slower
    operands = ELEMENT * (m * k + n * k) / (values["operands"] * gpu.memory_bandwidth)
    return np.asarray(values["launch"] * gpu.fit["kernel_latency"] + operands + m * n * each)


def streamed(gpu: Gpu, values: Values, nbytes: Array) -> Array:
    """Seconds of a kernel that moves so many bytes, the fewer through the memory the more of them the cache holds."""
    rate = gpu.memory_bandwidth * gpu.fit["memory_efficiency"] * values["share"]
    held = 1 / (1 + (nbytes / (gpu.l2_nbytes * values["cache_share"])) ** 2)
    start = values["launch"] * gpu.fit["kernel_latency"]
    return np.asarray(start + nbytes / rate * (1 - held * (1 - 1 / values["cache_speed"])))


def attention_seconds(
    gpu: Gpu, values: Values, work: float, heads: Array, seq_len: Array, keys: Array, width: Array, causal: Array
) -> Array:
    """Seconds of `heads`, of all sequences together, each of so many queries and keys of `width` numbers."""
    seen = np.where(causal > 0, np.minimum(keys, (keys + KEYS) / 2), keys)
    flops = gpu.peak_flops["bf16"] * values["level"]
    each = seq_len * (seen * (work * width / flops + values["score"]) + width * values["row"])
    return np.asarray(values["launch"] * gpu.fit["kernel_latency"] + heads * each)


def _products(gpu: Gpu, values: Values, points: Points) -> Array:
    return product_seconds(gpu, values, "forward", points["m"], points["n"], points["k"])


def _gradients(gpu: Gpu, values: Values, points: Points) -> Array:
    m, n, k = points["m"], points["n"], points["k"]
    of_input = product_seconds(gpu, values, "input_gradient", m, k, n)
    return np.where(points["layout"] == 1, of_input, product_seconds(gpu, values, "weight_gradient", n, k, m))


def _streams(gpu: Gpu, values: Values, points: Points) -> Array:
    return streamed(gpu, values, points["nbytes"])


def _attention(work: float, gpu: Gpu, values: Values, points: Points) -> Array:
    heads, length = points["batch"] * points["num_heads"], points["seq_len"]
    return attention_seconds(gpu, values, work, heads, length, length, points["head_dim"], points["causal"])


def _ratio(start: float, meaning: str, low: float = 0.01, high: float = 100.0) -> Parameter:
    return Parameter(start=start, low=low, high=high, meaning=meaning)


_LAUNCH: Final = {"launch": _ratio(1.0, "start, of the shortest operation's time", high=1000.0)}
_OPERANDS: Final = {"operands": _ratio(1.0, "rate at which operands are read, of the memory's")}
_RESULT: Final = Parameter(
    start=10 * NANOSECOND,
    low=0.001 * NANOSECOND,
    high=1000 * NANOSECOND,
    meaning="seconds for each number of the result",
)
_SCORE: Final = Parameter(
    start=0.2 * NANOSECOND, low=0.001 * NANOSECOND, high=20 * NANOSECOND, meaning="seconds a score"
)
_ROW: Final = Parameter(
    start=0.2 * NANOSECOND, low=0.001 * NANOSECOND, high=100 * NANOSECOND, meaning="seconds for each number of a query"
)
_ATTENTION: Final = {
    **_LAUNCH,
    "level": _ratio(1.0, "rate of the products, of the peak"),
    "score": _SCORE,
    "row": _ROW,
}
_TRAINED: Final = ("batch", "seq_len", "num_heads", "head_dim", "causal")

PRODUCT: Final[Law[Gpu]] = Law(
    operation="gemm bf16",
    inputs=("m", "n", "k"),
    parameters={
        **_LAUNCH,
        **_OPERANDS,
        "forward": _ratio(1.0, "rate of multiplying, of the achievable rate"),
        "forward_result": _RESULT,
    },
    seconds=_products,
)
GRADIENTS: Final[Law[Gpu]] = Law(
    operation="gemm gradients",
    inputs=("m", "n", "k", "layout"),
    parameters={
        **_LAUNCH,
        **_OPERANDS,
        "input_gradient": _ratio(0.3, "rate of the input gradient at 256 inputs, of the achievable rate"),
        "input_gradient_result": _RESULT,
        "stride": Parameter(start=0.3, low=0.0, high=3.0, meaning="power of the inputs by which that rate falls"),
        "weight_gradient": _ratio(2.0, "rate of the weight gradient, of the achievable rate"),
        "weight_gradient_result": _RESULT,
    },
    seconds=_gradients,
)
STREAM: Final[Law[Gpu]] = Law(
    operation="memory bound",
    inputs=("kind", "rows", "width", "nbytes"),
    parameters={
        **_LAUNCH,
        "share": _ratio(1.0, "rate from the memory, of what is achievable"),
        "cache_share": _ratio(0.5, "bytes of which half come from the cache, of the size of that"),
        "cache_speed": _ratio(3.0, "how much faster the cache is than the memory", low=1.0),
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
