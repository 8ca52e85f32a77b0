"""Flash attention of training: the tiles of prefill without a cache to write, at the level of the training kernels.

The data sheet's shares of the peak are those of 16k tokens and head size 128; how heads of other sizes and few tiles
fall short of it comes from what was measured of prefill. Backward makes the scores again: five products, not two.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Final

import numpy as np

from sim.costs import processor
from sim.costs.attention.kernels import HIDDEN, FlashKernel, kernel_of, product_rate
from sim.costs.attention.prefill import LAWS
from sim.costs.attention.shape import BLOCK, Shape
from sim.costs.attention.tiles import Queries, seconds_of_tiles, seconds_per_score, tiles_of, together
from sim.costs.law import Array, Law, Parameter, Points, Values, fit_of
from topologies.hardware import Gpu

TRAINING: Final = FlashKernel(
    rows=BLOCK, narrow_rows=BLOCK, packs=False, decode_rows=BLOCK, resident=1, most_splits=1, softmax=HIDDEN
)

AS_ON_HOPPER: Final = {"unevenness": 0.2, "step": 0.0}
"""Of few tiles: what was measured on H100, whose serving kernel cuts the same tiles as those of training; the serving
kernels of other GPUs cut others, which says nothing of training. An assumption."""


@lru_cache(maxsize=65536)
def flash_forward(gpu: Gpu, shape: Shape) -> float:
    """Seconds: two products, 4 s^2 d FLOPs per head (s times the keys, where these are others), less what is hidden."""
    if gpu.is_processor:
        return _on_processor(gpu, shape)
    return _forward(gpu, fit_of(gpu, FORWARD).values, shape)


@lru_cache(maxsize=65536)
def flash_backward(gpu: Gpu, shape: Shape) -> float:
    """Seconds: five products, 10 s^2 d FLOPs per head [Dao 2023]; reads q, k, v, o, do and writes dq, dk, dv.

    Three are as wide as keys (scores, gradients of queries and keys), two as values.
    """
    if gpu.is_processor:
        return _on_processor(gpu, shape, is_backward=True)
    return _backward(gpu, fit_of(gpu, BACKWARD).values, shape)


@lru_cache(maxsize=65536)
def flash_lengths(gpu: Gpu, shape: Shape, lengths: tuple[int, ...]) -> float:
    """Seconds forward of sequences of several lengths packed into one batch, that do not see each other.

    `shape` says all but their number and length: its `batch` and `seq_len` are not looked at.
    """
    if gpu.is_processor:
        return sum(_on_processor(gpu, replace(shape, batch=1, seq_len=length)) for length in lengths)
    share = sum(lengths) / (shape.batch * shape.seq_len)
    nbytes = shape.operand_nbytes * share
    queries = _queries(shape, lengths, 1)
    return _seconds(gpu, shape, queries, _level(gpu, fit_of(gpu, FORWARD).values), 1.0, nbytes)


def _on_processor(gpu: Gpu, shape: Shape, *, is_backward: bool = False) -> float:
    heads, width = shape.batch * shape.num_heads, (shape.head_dim + shape.value_dim) / 2
    sizes = (heads, shape.seq_len, shape.keys, width)
    return processor.attention(gpu, *sizes, causal=shape.causal, is_backward=is_backward)


def _forward(gpu: Gpu, values: Values, shape: Shape) -> float:
    queries = _queries(shape, (shape.seq_len,), shape.batch, shape.keys - shape.seq_len)
    return _seconds(gpu, shape, queries, _level(gpu, values), 1.0, shape.operand_nbytes)


def _backward(gpu: Gpu, values: Values, shape: Shape) -> float:
    queries = _queries(shape, (shape.seq_len,), shape.batch, shape.keys - shape.seq_len)
    work = (3 * shape.head_dim + 2 * shape.value_dim) / (shape.head_dim + shape.value_dim)
    level = gpu.fit["flash_backward_efficiency"] * values["level"]
    return _seconds(gpu, shape, queries, level, work, 2 * shape.operand_nbytes)


def _level(gpu: Gpu, values: Values) -> float:
    """The share of the peak that forward reaches with keys 128 wide."""
    return gpu.fit["flash_forward_efficiency"] * values["level"]


def _seconds(gpu: Gpu, shape: Shape, queries: Queries, level: float, work: float, nbytes: float) -> float:
    """Of `work` times the products of forward, whose peak share is `level` where the keys are 128 wide."""
    values = {**fit_of(gpu, LAWS[0]).values, **AS_ON_HOPPER}
    tiles = together(tiles_of(TRAINING, queries))
    per_score = work * _per_score(gpu, values, shape.precision, level, queries.width)
    busy = seconds_of_tiles(gpu, values, tiles, per_score, queries.width, splits=False)
    memory = nbytes / (gpu.memory_bandwidth * gpu.fit["memory_efficiency"])
    return float(max(float(busy[0]), memory)) + gpu.fit["kernel_latency"]


def _per_score(gpu: Gpu, values: Values, precision: str, level: float, width: Array) -> Array:
    """Seconds of an SM for a score forward: 4 x 128 FLOPs at the level, and other widths as prefill's compare."""
    kernel = kernel_of(gpu)
    usual = np.array([float(BLOCK)])
    relative = seconds_per_score(gpu, kernel, values, width) / seconds_per_score(gpu, kernel, values, usual)
    return relative * 4 * BLOCK * gpu.num_sms / (product_rate(gpu, precision) * level)


def _queries(shape: Shape, lengths: tuple[int, ...], batch: int, num_before: int = 0) -> Queries:
    """`num_before` keys come before those of the queries; fewer keys than queries (a negative number) have no mask."""
    num_new = np.array(lengths, np.float64)
    one = {name: np.array([getattr(shape, name)], np.float64) for name in _WIDTHS}
    return Queries(
        batch=np.full_like(num_new, batch),
        num_new=num_new,
        num_cached=np.full_like(num_new, num_before),
        window=np.array([np.inf if shape.window is None else shape.window], np.float64),
        causal=shape.causal,
        **one,
    )


_WIDTHS: Final = ("num_heads", "num_kv_heads", "head_dim", "value_dim")


def _of_points(seconds: Callable[[Gpu, Values, Shape], float], gpu: Gpu, values: Values, points: Points) -> Array:
    columns = zip(*(points[name].tolist() for name in _INPUTS), strict=True)
    return np.array([seconds(gpu, values, _shape(*map(int, point))) for point in columns])


def _shape(batch: int, seq_len: int, num_heads: int, head_dim: int, causal: int) -> Shape:
    heads = {"num_heads": num_heads, "num_kv_heads": num_heads, "head_dim": head_dim, "value_dim": head_dim}
    return Shape(batch=batch, seq_len=seq_len, precision="bf16", causal=bool(causal), **heads)


_INPUTS: Final = ("batch", "seq_len", "num_heads", "head_dim", "causal")
_LEVEL: Final = {
    "level": Parameter(start=1.0, low=0.3, high=1.5, meaning="share of what the data sheet calls achievable of it")
}
FORWARD: Final[Law[Gpu]] = Law(
    operation="attention forward",
    inputs=_INPUTS,
    parameters=_LEVEL,
    seconds=partial(_of_points, _forward),
    on_processor=processor.ATTENTION,
)
BACKWARD: Final[Law[Gpu]] = Law(
    operation="attention backward",
    inputs=_INPUTS,
    parameters=_LEVEL,
    seconds=partial(_of_points, _backward),
    on_processor=processor.ATTENTION_BACKWARD,
)
"""The kernels of training in 16 bits; nobody's tables are shipped, so that they stand at what the data sheet says."""
