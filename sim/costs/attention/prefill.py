"""Prefill of a serving engine: new tokens attend to themselves and to a cache, into which they are written first.

The time is a floor (several launches, one of which cuts the work), tiles on the SMs, queries and results through the
memory, and the write of new keys and values, which costs more than the attention where prompts are short.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from sim.costs.attention.decode import paged_decode
from sim.costs.attention.kernels import (
    cache_write,
    kernel_of,
    piecewise,
    width_parameters,
)
from sim.costs.attention.tiles import Queries, seconds_of_tiles, seconds_per_score, tiles_of, together
from sim.costs.law import Array, Law, Parameter, Points, Values, fit_of
from topologies.hardware import Gpu
from topologies.quantity import MICROSECOND, MILLISECOND

GOVERNOR: Final = 30 * MILLISECOND
"""About how long a kernel runs before the clock has followed the power limit down."""


@lru_cache(maxsize=65536)
def paged_prefill(
    gpu: Gpu,
    num_new: tuple[int, ...],
    num_cached: tuple[int, ...],
    *,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    cache_precision: str = "bf16",
    window: int | None = None,
) -> float:
    """Seconds of one call over a batch: sequence i has num_new[i] new tokens after num_cached[i] in the cache.

    The call writes keys and values of the new tokens to the cache; `cache_precision` is "bf16" or "fp8". Where all are
    single tokens it is decoding. How a long cache and a window change it follows from the tiles, nobody measured it.
    """
    if max(num_new) == 1:
        lengths = tuple(cached + 1 for cached in num_cached)
        heads = {"num_heads": num_heads, "num_kv_heads": num_kv_heads, "head_dim": head_dim}
        return paged_decode(gpu, lengths, **heads, cache_precision=cache_precision, window=window)
    law = _law(cache_precision)
    queries = _ragged(num_new, num_cached, num_heads, num_kv_heads, head_dim, window)
    return float(_seconds(gpu, fit_of(gpu, law).values, queries, _element(cache_precision), ragged=True)[0])


def paged_prefills(
    gpu: Gpu,
    batch: Array,
    num_new: Array,
    num_cached: Array,
    *,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    cache_precision: str = "bf16",
    window: int | None = None,
) -> Array:
    """`paged_prefill` for many calls at once: columns, of each call so many equal sequences."""
    like = np.full_like
    queries = Queries(
        batch=batch,
        num_new=num_new,
        num_cached=num_cached,
        num_heads=like(num_new, num_heads),
        num_kv_heads=like(num_new, num_kv_heads),
        head_dim=like(num_new, head_dim),
        value_dim=like(num_new, head_dim),
        window=like(num_new, np.inf if window is None else window),
    )
    values = fit_of(gpu, _law(cache_precision)).values
    return _seconds(gpu, values, queries, _element(cache_precision), ragged=False)


def _ragged(
    num_new: Sequence[int],
    num_cached: Sequence[int],
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    window: int | None,
) -> Queries:
    return Queries(
        batch=np.ones(len(num_new)),
        num_new=np.array(num_new, np.float64),
        num_cached=np.array(num_cached, np.float64),
        num_heads=np.array([num_heads], np.float64),
        num_kv_heads=np.array([num_kv_heads], np.float64),
        head_dim=np.array([head_dim], np.float64),
        value_dim=np.array([head_dim], np.float64),
        window=np.array([np.inf if window is None else window], np.float64),
    )


def _of_points(points: Points) -> Queries:
    num_new = points["seq_len"]
    return Queries(
        batch=points["batch"],
        num_new=num_new,
        num_cached=points.get("num_cached", np.zeros_like(num_new)),
        num_heads=points["num_heads"],
        num_kv_heads=points["num_kv_heads"],
        head_dim=points["head_dim"],
        value_dim=points["head_dim"],
        window=np.full_like(num_new, np.inf),
    )


def _seconds(gpu: Gpu, values: Values, queries: Queries, element: int, *, ragged: bool) -> Array:
    """Seconds of each point; `ragged`: the rows are the sequences of one call."""
    kernel = kernel_of(gpu)
    tiles = tiles_of(kernel, queries)
    num_tokens = queries.batch * queries.num_new
    if ragged:
        tiles, num_tokens = together(tiles), np.array([num_tokens.sum()])
    per_score = seconds_per_score(gpu, kernel, values, queries.width)
    busy = seconds_of_tiles(gpu, values, tiles, per_score, queries.width, splits=kernel.packs)
    busy = busy * (1 + values["throttling"] * busy / (busy + GOVERNOR))
    operands = 4 * num_tokens * queries.num_heads * queries.head_dim / (gpu.memory_bandwidth * values["operand_share"])
    width = queries.num_kv_heads * queries.head_dim
    write = cache_write(gpu, num_tokens, width, life=values["write_life"], step=0.0)
    written = 2 * num_tokens * width * (2 + element) / (gpu.memory_bandwidth * values["write_share"])
    total: Array = values["floor"] + busy + operands + write + written
    return total


def _element(cache_precision: str) -> int:
    return 1 if cache_precision == "fp8" else 2


def _law(cache_precision: str) -> Law[Gpu]:
    return LAWS[1] if cache_precision == "fp8" else LAWS[0]


def _made(operation: str, element: int) -> Law[Gpu]:
    def seconds(gpu: Gpu, values: Values, points: Points) -> Array:
        return piecewise(points, lambda some: _seconds(gpu, values, _of_points(some), element, ragged=False))

    return Law(
        operation=operation,
        inputs=("batch", "seq_len", "num_heads", "num_kv_heads", "head_dim"),
        parameters=PARAMETERS,
        seconds=seconds,
    )


def _microseconds(start: float, meaning: str) -> Parameter:
    return Parameter(
        start=start * MICROSECOND, low=0.001 * MICROSECOND, high=20 * MICROSECOND, meaning=f"seconds {meaning}"
    )


def _share(start: float, low: float, high: float, meaning: str) -> Parameter:
    return Parameter(start=start, low=low, high=high, meaning=meaning)


PARAMETERS: Final = {
    "floor": _microseconds(7, "of a call with nothing to do, its launches included"),
    **width_parameters("rate", 0.9, 0.2, 1.3, 0.95, 1.05, "share of the peak that a tile's products reach"),
    **width_parameters("tile", 1.5 * MICROSECOND, 0.05 * MICROSECOND, 20 * MICROSECOND, 1, 1, "seconds a tile starts"),
    "step": _microseconds(0.2, "that a step of 128 keys waits where an SM has one tile only"),
    "unevenness": _share(0.3, 0.001, 1, "share of the longest tile's time that others do not hide"),
    "least_split": _share(4, 1, 20, "steps of 128 keys that a split has at least"),
    "combine": _microseconds(4, "to add up the parts of split keys"),
    "throttling": _share(0.15, 0.001, 0.6, "how much longer a long kernel takes as the clock sinks"),
    "operand_share": _share(0.8, 0.05, 4, "share of the memory bandwidth for queries and results"),
    "write_life": _microseconds(2, "that a thread block that writes a token to the cache lives"),
    "write_share": _share(0.8, 0.1, 3, "share of the memory bandwidth that this write gets"),
}

LAWS: Final = (_made("attention prefill bf16", 2), _made("attention prefill fp8kv", 1))
"""Causal self-attention of new tokens, with a cache of 2-byte and of fp8 numbers; points may say how many tokens before
them are cached (`num_cached`), else none is."""
