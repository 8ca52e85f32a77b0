"""Tiles of queries dealt to the SMs: what each meets of the keys, and how long all of them take.

A tile costs a start, and its rows times the keys that its mask lets through; tiles are dealt longest first, so that the
SMs end together unless there are too few tiles. Exponentials go through a slow unit, which weighs on narrow heads.
"""

from dataclasses import dataclass

import numpy as np

from sim.costs.attention.kernels import KEYS, FlashKernel, beside, by_width, product_rate
from sim.costs.law import Array, Values
from topologies.hardware import Gpu


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """Columns, a row for each sequence or for each point: `num_new` queries after `num_cached` keys, in `batch` copies.

    `window` is how many keys a query sees, itself included, infinity for all; `causal` False: it sees all keys.
    """

    batch: Array
    num_new: Array
    num_cached: Array
    num_heads: Array
    num_kv_heads: Array
    head_dim: Array
    value_dim: Array
    window: Array
    causal: bool = True

    @property
    def width(self) -> Array:
        """The mean of keys' and values' width, to which products are proportional."""
        mean: Array = (self.head_dim + self.value_dim) / 2
        return mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """Columns: how many tiles of how many rows, and the keys that the mean and the longest of them meet."""

    number: Array
    rows: Array
    mean_keys: Array
    longest_keys: Array


def tiles_of(kernel: FlashKernel, queries: Queries) -> Tiles:
    """How a kernel cuts the queries: packed, those of all heads that share a key fill a tile together."""
    group = queries.num_heads / queries.num_kv_heads if kernel.packs else np.ones_like(queries.num_heads)
    rows = np.where(queries.width <= 64, kernel.narrow_rows, kernel.rows)
    filled = queries.num_new * group
    number = queries.batch * queries.num_heads / group * np.ceil(filled / rows)
    tokens = np.maximum(rows / group, KEYS)
    mean, longest = _keys_met(queries, tokens)
    used = np.minimum(rows, 64 * np.ceil(filled / 64)) if kernel.packs else rows
    return Tiles(number=number, rows=used, mean_keys=mean, longest_keys=longest)


def _keys_met(queries: Queries, tokens: Array) -> tuple[Array, Array]:
    """Keys that the mean and the longest tile meet, counted in blocks of `tokens`.

    Row i of n meets the cache and i blocks, or as many as its window reaches into: ceil((window - 1) / tokens) + 1.
    """
    num = np.ceil(queries.num_new / tokens)
    cached = queries.num_cached / tokens
    if not queries.causal:
        whole = tokens * (num + cached)
        return whole, whole
    reach = np.ceil((queries.window - 1) / tokens) + 1
    growing = np.clip(reach - cached, 0, num)
    beyond = num - growing
    kept = growing * (cached + (growing + 1) / 2) + beyond * np.where(beyond > 0, reach, 0.0)
    longest: Array = tokens * np.minimum(cached + num, reach)
    mean: Array = tokens * kept / num
    return mean, longest


def together(tiles: Tiles) -> Tiles:
    """The tiles of all rows, sequences of one call, in one row."""
    number, scores = tiles.number.sum(), tiles.number * tiles.rows
    return Tiles(
        number=np.array([number]),
        rows=np.array([scores.sum() / number]),
        mean_keys=np.array([(scores * tiles.mean_keys).sum() / scores.sum()]),
        longest_keys=np.array([tiles.longest_keys.max()]),
    )


def seconds_per_score(gpu: Gpu, kernel: FlashKernel, values: Values, width: Array) -> Array:
    """Seconds of one SM for one score: 4 x width FLOPs and an exponential."""
    products = 4 * width * gpu.num_sms / (product_rate(gpu) * by_width(values, "rate", width))
    seconds: Array = products + kernel.softmax
    return seconds


def seconds_of_tiles(gpu: Gpu, values: Values, tiles: Tiles, per_score: Array, width: Array, *, splits: bool) -> Array:
    """Seconds until the last SM is done; `splits`: where tiles are too few, several work on the keys of each."""
    start = by_width(values, "tile", width)
    even = tiles.number / gpu.num_sms * (start + tiles.mean_keys * tiles.rows * per_score)
    alone = tiles.longest_keys * (tiles.rows * per_score + values["step"] / KEYS)
    if not splits:
        return beside(even, start + alone, values["unevenness"])
    least = values["least_split"] * KEYS
    split = np.clip(np.minimum(gpu.num_sms / tiles.number, tiles.longest_keys / least), 1, 32)
    combine = np.minimum(split - 1, 1) * values["combine"]
    total: Array = beside(even, start + alone / split, values["unevenness"]) + combine
    return total
