"""The core of attention: queries meet the cache. Decodes cost by their number and mean context, prompts by chunk.

A call has a floor; beyond it a chunk takes at least what it takes alone, and all of them together what their work takes
of the SMs. Chunks of one pass share a call.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from sim.costs.attention import paged_decodes, paged_prefills
from sim.costs.law import Array
from sim.models import LayerKind
from sim.serving.costs.dense import kv_heads
from sim.serving.costs.parts import Rank

MANY: Final = 32.0
"""Equal chunks in a call, at which each costs what its work takes of the SMs."""


def _grid(finest: int, coarse: float, most: float) -> Array:
    near = np.arange(finest, 32 * finest + 1, finest)
    far = np.geomspace(32 * finest, most, int(np.log(most / (32 * finest)) / np.log(coarse)) + 2)[1:]
    return np.unique(np.round(np.concatenate([[1.0], near, far])))


LENGTHS: Final = _grid(128, 1.06, 1 << 22)
"""Mean contexts of decodes at which a row holds the time; between them it is a straight line."""
NEW: Final = _grid(64, 1.15, 1 << 20)
CACHED: Final = np.concatenate([[0.0], np.geomspace(128, 1 << 22, 60)])
_NEW: Final[list[float]] = NEW.tolist()
_CACHED: Final[list[float]] = CACHED.tolist()
_LAST_NEW, _LAST_CACHED = len(_NEW) - 1, len(_CACHED) - 1


class Core(NamedTuple):
    """Attention's core of one layer on a rank. decodes: seconds by columns of sequences, their mean context (the new
    token included) and, where one is longer than the others, its length; chunks: by columns of calls (equal sequences,
    new tokens of each, tokens before them)."""

    decodes: Callable[[Array, Array, Array | None], Array]
    chunks: Callable[[Array, Array, Array], Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkTable:
    """Seconds of a stage's attention over a chunk beyond the `floor` of a call, per new token: `alone`, and `among`
    many others. Rows NEW, columns CACHED."""

    floor: float
    alone: list[list[float]]
    among: list[list[float]]

    def seconds(self, prefills: Sequence[tuple[int, int]]) -> float:
        """Of chunks that share a call, beyond its floor."""
        longest = work = 0.0
        for new, cached in prefills:
            row, column = bisect_right(_NEW, new, 1, _LAST_NEW), bisect_right(_CACHED, cached, 1, _LAST_CACHED)
            before, left = _NEW[row - 1], _CACHED[column - 1]
            down, across = (new - before) / (_NEW[row] - before), (cached - left) / (_CACHED[column] - left)
            longest = max(longest, new * _bilinear(self.alone, row, column, down, across))
            work += new * _bilinear(self.among, row, column, down, across)
        return max(longest, work)


def grouped_core(rank: Rank, kind: LayerKind) -> Core:
    """Heads of queries that share keys, split over tp; a window where the layer has one."""
    model, num_kv_heads = rank.model, kv_heads(rank)
    num_heads = max(1, model.num_heads // rank.tp)
    precision = "fp8" if rank.deployment.cache.precision == "fp8" else "bf16"

    def decodes(batch: Array, length: Array, longest: Array | None) -> Array:
        return paged_decodes(
            rank.gpu, batch, length,
            num_heads=num_heads, num_kv_heads=num_kv_heads, head_dim=model.head_dim,
            cache_precision=precision, window=kind.window, longest=longest,
        )  # fmt: skip

    def chunks(batch: Array, new: Array, cached: Array) -> Array:
        return paged_prefills(
            rank.gpu, batch, new, cached,
            num_heads=num_heads, num_kv_heads=num_kv_heads, head_dim=model.head_dim,
            cache_precision=precision, window=kind.window,
        )  # fmt: skip

    return Core(decodes=decodes, chunks=chunks)


def chunk_table(cores: Sequence[tuple[int, Core]]) -> ChunkTable:
    """The table of a stage: the sum of its layers, each kind so many times."""
    new, cached = (grid.ravel() for grid in np.meshgrid(NEW, CACHED, indexing="ij"))
    one, many = np.ones_like(new), np.full_like(new, MANY)
    tiny = np.ones(1)
    floor = sum(count * float(core.chunks(tiny, tiny, 0 * tiny)[0]) for count, core in cores)
    alone = sum(count * core.chunks(one, new, cached) for count, core in cores)
    among = sum(count * core.chunks(many, new, cached) for count, core in cores)
    shape = (len(NEW), len(CACHED))
    beyond = [np.maximum(0.0, np.asarray(times) - floor) for times in (alone, among)]
    return ChunkTable(
        floor=floor,
        alone=(beyond[0] / new).reshape(shape).tolist(),
        among=(beyond[1] / (MANY * new)).reshape(shape).tolist(),
    )


def decode_rows(cores: Sequence[tuple[int, Core]], numbers: Array) -> Array:
    """Seconds of a stage's attention over decodes: rows by how many they are, columns LENGTHS."""
    batch, length = (grid.ravel() for grid in np.meshgrid(numbers, LENGTHS, indexing="ij"))
    seconds = np.asarray(sum(count * core.decodes(batch, length, None) for count, core in cores))
    return seconds.reshape(len(numbers), len(LENGTHS))


def _bilinear(table: list[list[float]], row: int, column: int, down: float, across: float) -> float:
    """Between a point of the table and those before it."""
    low, high = table[row - 1], table[row]
    one = low[column - 1] + across * (low[column] - low[column - 1])
    other = high[column - 1] + across * (high[column] - high[column - 1])
    return one + down * (other - one)
