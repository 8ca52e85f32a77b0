"""The products of many experts in one kernel: a histogram of rows, and for each expert another weight matrix.

With few rows an expert's weights come from the HBM for hardly any work; with many it is a GEMM whose tiles, those of
all experts together, are dealt to the SMs in waves. A tile is seldom full: rows are rounded up expert by expert.
Around the products of a layer rows are permuted, activated, and added up to tokens again.
"""

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Final, NamedTuple

import numpy as np

from sim.costs import ELEMENT, processor
from sim.costs.expert_load import HEIGHTS, Load, balanced_load, load_of, power_law_load
from sim.costs.gemm.formats import FORMATS
from sim.costs.gemm.laws import values_of
from sim.costs.gemm.tiles import HOPPER, generation_of
from sim.costs.law import Array, Law, Parameter, Points, Values, fit_of
from topologies.hardware import Gpu
from topologies.quantity import MICROSECOND, NANOSECOND

TILES: Final = ((16, 64), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256))
"""Rows and columns of tiles; the fastest is taken. An assumption: with more of them the fit is no better."""

BLOCK: Final = 4096

_PLACES: Final = tuple((HEIGHTS.index(height), height, width) for height, width in TILES)


class _Format(NamedTuple):
    """Whose peak the products run against, the bytes of an operand's element and of a weight, the law whose parameters
    they take."""

    peak: str
    nbytes: float
    weight: float
    law: str


_FORMATS: Final[Mapping[str, _Format]] = {
    "bf16": _Format("bf16", 2, 2, "bf16"),
    "fp16": _Format("fp16", 2, 2, "bf16"),
    "fp8": _Format("fp8", 1, 1, "fp8"),
    "fp8_block": _Format("fp8", 1, 1, "fp8_block"),
    "mxfp8": _Format("fp8", FORMATS["mxfp8"].weight, FORMATS["mxfp8"].weight, "fp8"),
    "nvfp4": _Format("fp4", FORMATS["nvfp4"].weight, FORMATS["nvfp4"].weight, "fp8"),
    **{name: _Format("bf16", ELEMENT, FORMATS[name].weight, "bf16") for name in FORMATS if FORMATS[name].dequantises},
}
"""fp16 runs like bf16. Nobody published grouped products in mxfp8 or nvfp4: they are those of fp8 with their own bytes,
and reach of their peak as much more or less than it as dense products do. Where only weights have few bits the product
is that of bf16 with fewer bytes of weights, on tensor cores that are fed from registers."""
UNPACKED: Final = 0.629
"""Share of Hopper's rate that such instructions reach (mma.sync beside wgmma) [Luo et al. 2024, arXiv 2402.13499]."""


def _parameters(
    start: float, *, rate: float, fetch: float, prologue: float, move: float, stage: float, expert: float
) -> Mapping[str, Parameter]:
    share = "share of what the data sheet"
    return {
        "start": Parameter(start=start * MICROSECOND, low=5 * MICROSECOND, high=60 * MICROSECOND,
                           meaning="seconds of a layer's kernels that do nothing"),
        "expert": Parameter(start=expert * NANOSECOND, low=NANOSECOND, high=MICROSECOND,
                            meaning="seconds to set up one expert of the rank"),
        "rate": Parameter(start=rate, low=0.2, high=1.25, meaning=f"{share} calls an achievable GEMM, largest tile"),
        "fetch": Parameter(start=fetch, low=1.0, high=300.0,
                           meaning="multiply-adds per operand at which fetching costs as much as multiplying"),
        "prologue": Parameter(start=prologue, low=10.0, high=8000.0,
                              meaning="k that a tile's start and end are worth"),
        "memory": Parameter(start=1.2, low=0.5, high=1.25, meaning=f"{share} calls achievable of the HBM, for weights"),
        "exposed": Parameter(start=0.4, low=0.01, high=1.0,
                             meaning="part of the shorter of HBM and multiplying that the longer does not hide"),
        "l2_share": Parameter(start=0.45, low=0.05, high=1.0, meaning="part of the L2 that keeps weights between runs"),
        "l2_speed": Parameter(start=4.0, low=1.0, high=8.0, meaning="how much faster than the HBM the L2 is read"),
        "stage": Parameter(start=stage * NANOSECOND, low=0.001 * NANOSECOND, high=10 * NANOSECOND,
                           meaning="seconds per byte of k until the first tile has its operands"),
        "move": Parameter(start=move, low=0.02, high=3.0,
                          meaning="share of the HBM's bandwidth at which rows are permuted, cast and added up"),
        "activation": Parameter(start=1.0, low=0.02, high=5.0,
                                meaning="share of the HBM's bandwidth at which activations are read and written"),
        "untuned": Parameter(start=2.5, low=1.0, high=10.0,
                             meaning="how much slower the tile is that nobody chose for the shape"),
    }  # fmt: skip


@lru_cache(maxsize=16384)
def grouped_gemm(
    gpu: Gpu,
    rows_per_expert: tuple[int, ...],
    n: int,
    k: int,
    precision: str,
    *,
    output_nbytes: float = ELEMENT,
    layout: processor.Layout = "forward",
) -> float:
    """Seconds of (m_e x k)(k x n) for every expert e with m_e rows, in one kernel; forward and input gradient.

    `output_nbytes` is what an output element moves. `precision` is bf16, fp16, fp8, fp8_block, mxfp8 or nvfp4; the last
    two are extrapolated. A processor makes one product after another, and to it the `layout` matters.
    """
    if gpu.is_processor:
        return sum(processor.product(gpu, layout, rows, n, k) for rows in rows_per_expert if rows)
    values, form = _of_precision(gpu, precision)
    sizes = np.array([float(n)]), np.array([float(k)])
    seconds = _product(gpu, values, form, load_of(rows_per_expert), *sizes, output_nbytes=output_nbytes)
    return float(seconds[0]) + gpu.fit["kernel_latency"]


@lru_cache(maxsize=16384)
def grouped_weight_gradient(
    gpu: Gpu, rows_per_expert: tuple[int, ...], n: int, k: int, precision: str, *, output_nbytes: float = ELEMENT
) -> float:
    """Seconds of (k x m_e)(m_e x n) for every expert: its rows are summed over, so all tiles of one are equally long.

    Each of them runs m_e, and no SM is done before a tile of the expert with most rows is.
    """
    if gpu.is_processor:
        return sum(processor.product(gpu, "weight_gradient", k, n, rows) for rows in rows_per_expert if rows)
    values, form = _of_precision(gpu, precision)
    rows = np.array([rows for rows in rows_per_expert if rows], float)
    traffic = len(rows) * output_nbytes * n * k + form.nbytes * rows.sum() * (n + k)
    memory = traffic / (values["memory"] * gpu.memory_bandwidth * gpu.fit["memory_efficiency"])
    height, width = max(TILES)
    loops = np.ceil(k / height) * np.ceil(n / width) * (rows + values["prologue"])
    longest = max(loops.sum() / gpu.num_sms, rows.max(initial=0.0) + values["prologue"])
    tiled = longest * _seconds_per_k(gpu, values, form, height, width)
    return float(_overlapped(np.array(memory), np.array(tiled), values)) + gpu.fit["kernel_latency"]


def expert_layer(
    gpu: Gpu, load: Load, num_tokens: Array, *, hidden: int, width: float, num_experts: int, precision: str
) -> Array:
    """Seconds of a layer of experts on one rank: rows permuted, gate and up, activation, down, rows added to tokens.

    `load` is the rank's, a row for each of `num_tokens`, the tokens that it knows; `num_experts` it has, of `width`.
    `precision` is one of `grouped_gemm`'s or weight-only.
    """
    values, form = _of_precision(gpu, precision)
    sizes = np.full_like(num_tokens, hidden), np.full_like(num_tokens, width)
    return _of_load(gpu, values, form, load, num_tokens, *sizes, num_experts, 1.0)


def law_of(precision: str) -> Law[Gpu]:
    """The law that a layer of experts in a precision takes its parameters from."""
    return LAW_OF[_FORMATS[precision].law]


def is_measured(precision: str) -> bool:
    """Whether there are measurements in that very precision."""
    return precision in LAW_OF or precision == "fp16"


def _of_precision(gpu: Gpu, precision: str) -> tuple[Values, _Format]:
    form = _FORMATS[precision]
    values = fit_of(gpu, LAW_OF[form.law]).values
    if is_measured(precision):
        return values, form
    if FORMATS[precision].dequantises:
        return {**values, "rate": values["rate"] * (UNPACKED if generation_of(gpu) is HOPPER else 1.0)}, form
    ratio = values_of(gpu, precision)["rate"] / values_of(gpu, form.law)["rate"]
    return {**values, "rate": values["rate"] * ratio}, form


def _in_blocks(gpu: Gpu, values: Values, points: Points, form: _Format) -> Array:
    """`_layer` of so many points at a time that their columns stay in the processor's cache: three times as fast."""
    starts = range(0, len(points["num_tokens"]), BLOCK)
    blocks = [{name: column[start : start + BLOCK] for name, column in points.items()} for start in starts]
    seconds: Array = np.concatenate([_layer(gpu, values, block, form) for block in blocks])
    return seconds


def _layer(gpu: Gpu, values: Values, points: Points, form: _Format) -> Array:
    """A layer's gate and up, activation and down on the fullest of `ep` ranks, and what is done to rows around them.

    Of `num_tokens` tokens all ranks know all; each rank has num_experts / ep experts, 1/tp as wide.
    """
    tokens, hidden, width = points["num_tokens"], points["hidden"], points["ffn"] / points["tp"]
    local = points["num_experts"] / points["ep"]
    slower = 1 + (values["untuned"] - 1) * points["untuned"]
    return _of_load(gpu, values, form, _load(points), tokens, hidden, width, local, slower)


def _of_load(
    gpu: Gpu, values: Values, form: _Format, load: Load, tokens: Array, hidden: Array, width: Array,
    local: Array | float, slower: Array | float,
) -> Array:  # fmt: skip
    """A layer on a rank that knows so many tokens, of whose experts the load says how many rows they get."""
    products = _product(gpu, values, form, load, 2 * width, hidden, slower=slower)
    products += _product(gpu, values, form, load, hidden, width, slower=slower)
    permuted = load.rows * (form.nbytes + ELEMENT) + (np.minimum(tokens, load.rows) + tokens) * ELEMENT
    activated = load.rows * (2 * ELEMENT + form.nbytes)
    around = permuted * (hidden / values["move"]) + activated * (width / values["activation"])
    fixed = values["start"] + values["expert"] * local
    seconds: Array = products + around / gpu.memory_bandwidth + fixed
    return seconds


def _load(points: Points) -> Load:
    """Of each point by its skew: balanced ones by arithmetic, the others by draws."""
    tokens, top_k, experts, ep = (points[name] for name in ("num_tokens", "top_k", "num_experts", "ep"))
    skewed = points["skew"] > 0
    load = balanced_load(np.ceil(tokens * top_k / ep), experts / ep)
    if not skewed.any():
        return load
    drawn = power_law_load(*(points[name][skewed] for name in ("num_tokens", "top_k", "num_experts", "ep", "skew")))
    columns = zip((load.rows, load.active, *load.tiles), (drawn.rows, drawn.active, *drawn.tiles), strict=True)
    for column, other in columns:
        column[skewed] = other
    return load


def _product(
    gpu: Gpu,
    values: Values,
    form: _Format,
    load: Load,
    n: Array,
    k: Array,
    *,
    output_nbytes: float = ELEMENT,
    slower: Array | float = 1.0,
) -> Array:
    """One grouped product: weights and rows through the HBM, tiles through the SMs, each partly hidden by the other."""
    weights = load.active * n * k * form.weight
    resident = np.clip(1 - weights / (gpu.l2_nbytes * values["l2_share"]), 0, 1)
    from_hbm = weights * (1 - resident) * slower
    traffic = from_hbm + weights * resident / values["l2_speed"] + load.rows * (k * form.nbytes + n * output_nbytes)
    memory = traffic / (values["memory"] * gpu.memory_bandwidth * gpu.fit["memory_efficiency"])
    tiled = _fastest_tiles(gpu, values, form, load, n) * (k + values["prologue"]) * slower
    seconds: Array = _overlapped(memory, tiled, values) + k * (form.nbytes * values["stage"])
    return seconds


def _fastest_tiles(gpu: Gpu, values: Values, form: _Format, load: Load, n: Array) -> Array:
    """Seconds per unit of k with the tile that is fastest for the shape."""
    columns = {width: np.ceil(n / width) for width in {width for _, width in TILES}}
    best: Array | None = None
    for place, height, width in _PLACES:
        waves = np.ceil(load.tiles[place] * columns[width] * (1 / gpu.num_sms))
        waves *= _seconds_per_k(gpu, values, form, height, width)
        best = waves if best is None else np.minimum(best, waves, out=best)
    assert best is not None
    return best


def _seconds_per_k(gpu: Gpu, values: Values, form: _Format, height: int, width: int) -> float:
    """Of one tile on one SM: the smaller it is, the more operands are fetched per multiplication."""
    bytes_of_weight = form.weight / form.nbytes
    reached, largest = (_saturation(*tile, bytes_of_weight, values["fetch"]) for tile in ((height, width), max(TILES)))
    rate = gpu.peak_flops[form.peak] * gpu.fit["gemm_efficiency"] * values["rate"] / gpu.num_sms
    return 2 * height * width / (rate * reached / largest)


def _saturation(height: int, width: int, bytes_of_weight: float, fetch: float) -> float:
    """By multiply-adds for each operand fetched; a weight counts by its bytes over those of a row's number."""
    intensity = height * width / (height + width * bytes_of_weight)
    return intensity / (intensity + fetch)


def _overlapped(one: Array, other: Array, values: Values) -> Array:
    """The longer, and the part of the shorter that it does not hide."""
    seconds: Array = np.maximum(one, other) + values["exposed"] * np.minimum(one, other)
    return seconds


def _law(name: str, parameters: Mapping[str, Parameter]) -> Law[Gpu]:
    """Inputs: tokens that all ranks know, sizes of the model, degrees, `skew` (0 where balanced, else the exponent of
    the power law), `untuned` (1 where the kernel's tile was not chosen for the shape)."""
    inputs = ("num_tokens", "hidden", "ffn", "top_k", "num_experts", "tp", "ep", "skew", "untuned")
    seconds = partial(_in_blocks, form=_FORMATS[name])
    return Law(operation=f"grouped gemm {name}", inputs=inputs, parameters=parameters, seconds=seconds)


LAW_OF: Final[Mapping[str, Law[Gpu]]] = {
    "bf16": _law("bf16", _parameters(17.5, rate=1.2, fetch=100, prologue=400, move=0.6, stage=0.8, expert=20)),
    "fp8": _law("fp8", _parameters(23.4, rate=1.2, fetch=100, prologue=600, move=0.4, stage=0.5, expert=20)),
    "fp8_block": _law("fp8_block", _parameters(17, rate=1.1, fetch=7, prologue=4400, move=0.4, stage=0.9, expert=200)),
}
"""By precision: a whole layer of experts, as it is measured. Its products alone are `grouped_gemm`."""

LAWS: Final = tuple(LAW_OF.values())
