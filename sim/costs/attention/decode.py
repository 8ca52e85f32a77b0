"""Decoding: one query per sequence meets its whole cache, so its bytes are the work, once they outgrow launches.

A tile takes the queries of all heads that share a key. Where tiles are fewer than the SMs the cache is split among
more, whose parts a second kernel adds up. A small cache that was just read stays in the L2: benchmarks that replay one
call find it there, a model whose weights pass between two calls does not.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from sim.costs.attention.kernels import (
    KEYS,
    FlashKernel,
    beside,
    by_width,
    cache_write,
    kernel_of,
    piecewise,
    width_parameters,
)
from sim.costs.law import Array, Law, Parameter, Points, Values, fit_of
from topologies.hardware import Gpu
from topologies.quantity import MICROSECOND, NANOSECOND

PLANNED: Final = 992
"""Sequences up to which FlashAttention 3 plans splits on the GPU, and starts the kernel that adds them up, for any."""
WIDE_GROUP: Final = 16
"""Heads per key up to which TensorRT-LLM's kernel keeps the small tile."""
SLACK: Final = 1.1
"""Keys of a part over an even share of all [FlashAttention 3, hopper/flash_prepare_scheduler.cu]."""
L2_EDGE: Final = 3.0
"""How much less of a cache is found in the L2 per share of its room that it takes more: an edge 1/3 wide, a guess."""
TURNS: Final = (1, 2, 3)
"""Rounds of tiles that FlashAttention 2 considers when it splits; it would consider more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Columns, a row for each sequence or for each point: `batch` sequences of `length` keys, the new one included."""

    batch: Array
    length: Array
    num_heads: Array
    num_kv_heads: Array
    head_dim: Array

    @property
    def group(self) -> Array:
        """Heads that share a key."""
        shared: Array = self.num_heads / self.num_kv_heads
        return shared


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Columns: steps of KEYS keys, tiles before the split, steps of a tile after it, and tiles then."""

    steps: Array
    whole: Array
    each: Array
    parts: Array


@lru_cache(maxsize=65536)
def paged_decode(
    gpu: Gpu,
    lengths: tuple[int, ...],
    *,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    cache_precision: str = "bf16",
    window: int | None = None,
    warm: bool = False,
) -> float:
    """Seconds of one call: sequence i has lengths[i] keys in the cache, its new token's, written first, included.

    `warm`: the same cache was read just before. The size of a page (16 tokens in the measurements) is not modelled.
    """
    law = LAWS[1] if cache_precision == "fp8" else LAWS[0]
    seen = np.minimum(np.array(lengths, np.float64), np.inf if window is None else window)
    one = {"num_heads": num_heads, "num_kv_heads": num_kv_heads, "head_dim": head_dim}
    heads = {name: np.array([value], np.float64) for name, value in one.items()}
    cache = Cache(batch=np.ones((len(seen), 1)), length=seen[:, None], **heads)
    element = 1 if cache_precision == "fp8" else 2
    return float(_seconds(gpu, fit_of(gpu, law).values, cache, element, ragged=True, warm=warm)[0])


def paged_decodes(
    gpu: Gpu,
    batch: Array,
    length: Array,
    *,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    cache_precision: str = "bf16",
    window: int | None = None,
    longest: Array | None = None,
) -> Array:
    """`paged_decode` for many calls at once: columns, of each call so many sequences, all with `length` keys.

    With `longest`, one of them has so many, the others evenly what is left of batch x length.
    """
    is_fp8 = cache_precision == "fp8"
    heads = {"num_heads": num_heads, "num_kv_heads": num_kv_heads, "head_dim": head_dim}
    columns = {name: np.full_like(batch, value) for name, value in heads.items()}
    if longest is not None:
        others = np.maximum(batch - 1, 0.0)
        rest = np.maximum((batch * length - longest) / np.maximum(others, 1.0), 1.0)
        batch, length = np.stack([np.ones_like(batch), others]), np.stack([longest, rest])
    cache = Cache(batch=batch, length=np.minimum(length, np.inf if window is None else window), **columns)
    law, ragged = LAWS[1] if is_fp8 else LAWS[0], longest is not None
    return _seconds(gpu, fit_of(gpu, law).values, cache, 1 if is_fp8 else 2, ragged=ragged, warm=False)


def _seconds(gpu: Gpu, values: Values, cache: Cache, element: int, *, ragged: bool, warm: bool) -> Array:
    """Seconds of each point; `ragged`: columns are the points, the rows those of their sequences that are alike."""
    kernel = kernel_of(gpu)
    split = _split(gpu, kernel, values, cache, ragged)
    batch, keys = cache.batch, cache.batch * cache.length
    busy = _on_sms(gpu, kernel, values, split, cache.head_dim, element, ragged)
    parts = split.parts / np.maximum(split.whole, 1.0)
    if ragged:
        batch, keys, parts = batch.sum(axis=0), keys.sum(axis=0), parts.max(axis=0)
    nbytes = 2 * element * keys * cache.num_kv_heads * cache.head_dim
    read = nbytes / gpu.memory_bandwidth * _slowness(gpu, values, nbytes, warm)
    rows = batch * cache.num_heads
    operands = 4 * rows * cache.head_dim / (gpu.memory_bandwidth * values["operand_share"])
    width = cache.num_kv_heads * cache.head_dim
    write = cache_write(gpu, batch, width, life=values["write_life"], step=values["write_step"])
    streamed = beside(busy, read, values["unhidden"])
    combine = np.where(parts > 1, _combine(values, parts, rows * cache.head_dim), 0.0)
    total: Array = values["floor"] + streamed + combine + operands + write
    return total + _beside(gpu, kernel, values, cache, batch)


def _slowness(gpu: Gpu, values: Values, nbytes: Array, warm: bool) -> Array:
    """Time of a byte over that of the data sheet's bandwidth: from the HBM, or what is still in the L2 from there."""
    if not warm:
        return np.full_like(nbytes, 1 / values["memory_share"])
    filled = nbytes / (values["l2_share"] * gpu.l2_nbytes)
    missed = np.clip(0.5 + L2_EDGE * (filled - 1), 0, 1)
    slowness: Array = missed / values["memory_share"] + (1 - missed) / values["l2_rate"]
    return slowness


def _split(gpu: Gpu, kernel: FlashKernel, values: Values, cache: Cache, ragged: bool) -> Split:
    """How many tiles share a cache."""
    steps = np.ceil(cache.length / KEYS)
    whole = cache.batch * cache.num_kv_heads * np.ceil(cache.group / kernel.decode_rows)
    tiles, work, longest = whole, whole * steps, steps
    if ragged:
        tiles, work, longest = whole.sum(axis=0), work.sum(axis=0), steps.max(axis=0)
    slots = gpu.num_sms * kernel.resident
    if kernel.even:
        parts = np.where(cache.group > 1, _even_parts(tiles, longest, slots, kernel.most_splits), 1.0)
        each = np.ceil(steps / parts)
    else:
        share = np.ceil(SLACK * work / slots)
        each = np.minimum(steps, np.maximum(share, np.ceil(steps / kernel.most_splits)))
    return Split(steps=steps, whole=whole, each=each, parts=whole * np.ceil(steps / each))


def _even_parts(tiles: Array, steps: Array, slots: int, most: int) -> Array:
    """FlashAttention 2: the fewest parts that fill the last round nearly as well as any; none where tiles fill 80 %."""
    best, parts = np.zeros_like(tiles), np.ones_like(tiles)
    for turn in TURNS:
        tried = np.clip(np.floor(turn * slots / tiles), 1, np.minimum(steps, most))
        load = tried * tiles / slots
        filled = load / np.ceil(load)
        better = 0.85 * filled > best
        parts, best = np.where(better, tried, parts), np.where(better, filled, best)
    return np.where(tiles < 0.8 * slots, parts, 1.0)


def _on_sms(
    gpu: Gpu, kernel: FlashKernel, values: Values, split: Split, head_dim: Array, element: int, ragged: bool
) -> Array:
    """Seconds until the last tile is done: it starts, then takes a step of keys after the other; the last round of
    tiles is seldom full. A step is a share of the time in which the memory would bring its bytes to that slot."""
    slots = gpu.num_sms * kernel.resident
    brought = 2 * element * KEYS * head_dim * slots / gpu.memory_bandwidth
    step = brought * by_width(values, "step", head_dim)
    tile = by_width(values, "tile", head_dim) + (split.each - 1) * step
    number, work, longest = split.parts, split.parts * tile, tile
    if ragged:
        number, work, longest = number.sum(axis=0), work.sum(axis=0), longest.max(axis=0)
    load = number / slots
    idle = values["tail"] * (np.ceil(load) - load) * work / number
    busy: Array = np.where(load > 1, np.maximum(work / slots + idle, longest), longest)
    return busy


def _combine(values: Values, parts: Array, numbers: Array) -> Array:
    """Seconds to add up the parts of split caches."""
    combined: Array = values["combine"] + values["combine_part"] * parts + values["combine_number"] * numbers * parts
    return combined


def _beside(gpu: Gpu, kernel: FlashKernel, values: Values, cache: Cache, batch: Array) -> Array:
    """What a generation's kernel does beside: FlashAttention 2 turns queries and results where sequences and heads are
    several; 3 plans by sequence and starts a second kernel by row; TensorRT-LLM's has larger tiles for wide groups."""
    rows = batch * cache.num_heads
    if kernel.even:
        turned = values["turn"] + 8 * rows * cache.head_dim / (gpu.memory_bandwidth * values["turn_share"])
        return np.where((cache.group > 1) & (batch > 1) & (cache.num_kv_heads > 1), turned, 0.0)
    if kernel.packs:
        return np.where(batch <= PLANNED, values["plan"] * batch + values["plan_row"] * rows, 0.0)
    return np.where(cache.group > WIDE_GROUP, values["wide_group"], 0.0)


def _of_points(points: Points) -> Cache:
    columns = {name: points[name] for name in ("batch", "num_heads", "num_kv_heads", "head_dim")}
    return Cache(length=points["kv_len"] + 1, **columns)


def _made(operation: str, element: int) -> Law[Gpu]:
    def seconds(gpu: Gpu, values: Values, points: Points) -> Array:
        warm = bool(np.all(points.get("warm", 1)))
        return piecewise(points, lambda some: _seconds(gpu, values, _of_points(some), element, ragged=False, warm=warm))

    return Law(
        operation=operation,
        inputs=("batch", "kv_len", "num_heads", "num_kv_heads", "head_dim"),
        parameters=PARAMETERS,
        seconds=seconds,
    )


def _microseconds(start: float, meaning: str, *, high: float = 20) -> Parameter:
    return Parameter(
        start=start * MICROSECOND, low=0.01 * NANOSECOND, high=high * MICROSECOND, meaning=f"seconds {meaning}"
    )


def _share(start: float, low: float, high: float, meaning: str) -> Parameter:
    return Parameter(start=start, low=low, high=high, meaning=meaning)


PARAMETERS: Final = {
    "floor": _microseconds(6, "of a call with nothing to do, its launches included"),
    "memory_share": _share(0.92, 0.3, 1.0, "share of the memory bandwidth at which a cache is read"),
    "l2_rate": _share(1.5, 0.5, 10, "rate at which a cache is read from the L2, over the memory bandwidth"),
    "l2_share": _share(0.65, 0.2, 3, "share of the L2 that a cache may fill and be found there"),
    **width_parameters(
        "tile", 3 * MICROSECOND, 0.1 * MICROSECOND, 20 * MICROSECOND, 0.8, 1.3, "seconds of a tile's start"
    ),
    **width_parameters("step", 0.25, 0.005, 3, 0.9, 1, "seconds of a step over those that the memory takes to feed it"),
    "tail": _share(0.9, 0.01, 1, "share of the last round's time that its empty slots cost"),
    "unhidden": _share(0.5, 0.001, 1, "share of the shorter of two times, reading and the tiles' own, that shows"),
    "combine": _microseconds(1.3, "of the kernel that adds up parts"),
    "combine_part": _microseconds(0.1, "more for each part of a cache", high=1),
    "combine_number": _share(
        0.001 * NANOSECOND, 1e-7 * NANOSECOND, NANOSECOND, "seconds more for each number of a part"
    ),
    "operand_share": _share(0.6, 0.05, 10, "share of the memory bandwidth for queries and results"),
    "plan": _microseconds(0.018, "to plan a sequence", high=0.1),
    "plan_row": _microseconds(0.00003, "to start and leave the second kernel, for each head of a sequence", high=0.01),
    "wide_group": _microseconds(1, "more where more than 16 heads share a key", high=10),
    "turn": _microseconds(6, "to turn queries and results"),
    "turn_share": _share(0.55, 0.05, 10, "share of the memory bandwidth that turning gets"),
    "write_life": _microseconds(1, "that a thread block that writes a token to the cache lives"),
    "write_step": _microseconds(0.2, "more for each number after the first that a thread of it copies", high=2),
}  # fmt: skip

LAWS: Final = (_made("attention decode bf16", 2), _made("attention decode fp8", 1))
"""One query per sequence after `kv_len` keys in the cache, of 2-byte and of fp8 numbers. Points with `warm` 0 were
measured while other layers' caches passed, all others by replaying one call."""
