"""Tiles: the blocks of the output that an SM makes one at a time, and how long the quickest choice among them takes.

A tile's main loop runs along k at the pace of the slowest of three: multiplying, fetching the operands, and the latency
of a step. A last wave that is part full still takes most of a wave. Where tiles are few, k is split over the idle SMs,
which costs a sum over the parts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from sim.costs.gemm.formats import Format
from sim.costs.law import Array, Values
from topologies.hardware import Gpu
from topologies.quantity import MICROSECOND, TERA


class Tile(NamedTuple):
    """A block of the output: tokens x outputs; `split` where k is dealt to idle SMs as well."""

    tokens: int
    outputs: int
    split: bool = False


STEP: Final = 64
"""How far along k a step of the main loop goes."""
LEAST_K: Final = 256
"""k is not cut into shorter parts than this."""
MOST_PARTS: Final = 16
HIDING: Final = 4.0
"""The slowest of a main loop's parts hides the others, all but for a fifth where two are equal: (a^4 + b^4)^(1/4)."""
LARGEST: Final = 128 * 256 / (128 + 256)
"""Multiply-adds per fetched number of the largest tile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The tiles that a library has kernels of, those that split k last; `tokens` and `outputs` are columns.

    `refetch` are the multiply-adds per fetched number at which the tensor cores wait for their registers half the time;
    `alone` the seconds of a tile's start and end where no other tile's main loop hides them.
    """

    tiles: tuple[Tile, ...]
    num_whole: int
    tokens: Array
    outputs: Array
    refetch: float
    alone: float


def _family(
    whole: Iterable[tuple[int, int]], split: Iterable[tuple[int, int]], refetch: float = 0.0, alone: float = 0.0
) -> Family:
    tiles = (*(Tile(*sides) for sides in whole), *(Tile(*sides, split=True) for sides in split))
    tokens = np.array([[tile.tokens] for tile in tiles], dtype=np.float64)
    outputs = np.array([[tile.outputs] for tile in tiles], dtype=np.float64)
    num_whole = sum(not tile.split for tile in tiles)
    return Family(tiles=tiles, num_whole=num_whole, tokens=tokens, outputs=outputs, refetch=refetch, alone=alone)


AMPERE: Final = _family(
    whole=((16, 32), (32, 64), (64, 64), (64, 96), (64, 128), (128, 128), (128, 256)),
    split=((64, 32), (64, 96), (64, 256), (128, 128), (128, 256), (256, 192)),
    refetch=25.0,
    alone=0.8 * MICROSECOND,
)
"""For tensor cores fed from registers, by kernels that end with their tile (both figures as an A100 was measured in
bf16); Hopper's read the shared memory, and go on to the next tile while one is stored. Each family is what explains
measured products best among shapes of cuBLAS [NVIDIA, Matrix Multiplication Background User's Guide, section 2.3]."""
HOPPER_RATE: Final = 4.6 * TERA
"""FLOP/s of an SM half-way between A100 (2.9) and H100 (7.5), as fits are borrowed."""
HOPPER: Final = _family(
    whole=((16, 96), (32, 128), (64, 64), (64, 128), (96, 128), (128, 96), (128, 128), (128, 256)),
    split=((64, 64), (64, 128), (128, 128), (192, 128), (256, 128)),
)
FP4: Final = _family(
    whole=((16, 64), (16, 192), (64, 64), (64, 128), (96, 192), (128, 128), (128, 256)), split=((128, 128),)
)


def family_of(gpu: Gpu, kind: Format) -> Family:
    """The kernels that a format has on a GPU: how fast its SMs multiply in 16 bits tells its generation."""
    if kind.peaks == ("fp4",):
        return FP4
    rate = max(gpu.peak_flops.get("bf16", 0.0), gpu.peak_flops.get("fp16", 0.0)) / gpu.num_sms
    return HOPPER if rate > HOPPER_RATE else AMPERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Paces:
    """Columns with a row per tile: seconds of a tile per unit of k (`loop`), and before and after that (`each`)."""

    family: Family
    loop: Array
    each: Array


def paces(gpu: Gpu, values: Values, kind: Format, flops: float, output_nbytes: float) -> Paces:
    """How fast each tile goes on one SM, with `flops` the whole GPU's achievable rate."""
    family = family_of(gpu, kind)
    tokens, outputs = family.tokens, family.outputs
    fetch_rate = gpu.memory_bandwidth / gpu.num_sms
    intensity = tokens * outputs / (tokens + outputs)
    half = values["fetch"] + family.refetch
    efficiency = intensity / (intensity + half) * (LARGEST + half) / LARGEST
    rows = tokens + (values["unpack"] if kind.dequantises else 0.0)
    multiply = 2 * rows * outputs * gpu.num_sms / (flops * efficiency)
    fetch = (kind.activation * tokens + kind.weight * outputs) / (values["sm_l2"] * fetch_rate)
    loop = (multiply**HIDING + fetch**HIDING + (values["step"] / STEP) ** HIDING) ** (1 / HIDING)
    store = output_nbytes * tokens * outputs / (values["store"] * fetch_rate)
    return Paces(family=family, loop=loop, each=store + (values["tile"] + family.alone))


def quickest(gpu: Gpu, values: Values, pace: Paces, m: Array, n: Array, k: Array, batch: float) -> Array:
    """Seconds that the SMs need, without waiting for the HBM: the least over all tiles, for each point."""
    family, whole = pace.family, slice(pace.family.num_whole)
    waves = np.ceil(m / family.tokens)
    waves *= np.ceil(n / family.outputs)
    waves /= gpu.num_sms / batch
    loop = pace.loop * k
    split = _split(gpu, values, pace, m * n * batch, k, waves[whole.stop :], loop[whole.stop :])
    once = loop[whole]
    once += pace.each[whole]
    once *= _felt(waves[whole], values["tail"])
    best: Array = np.minimum(once.min(axis=0), split)
    return best


def _felt(waves: Array, tail: float) -> Array:
    """Whole waves, less what a part-full last one is quicker than a full one (`tail` of 0: nothing)."""
    felt = np.ceil(waves)
    felt *= 1 - tail
    felt += tail * np.maximum(waves, 1.0)
    return felt


def _split(gpu: Gpu, values: Values, pace: Paces, area: Array, k: Array, filled: Array, loop: Array) -> Array:
    """The least over tiles with k split: as many parts as fill the GPU once, and 4 bytes moved per part of the sum."""
    parts = np.floor(1 / filled)
    np.minimum(parts, np.minimum(k / LEAST_K, MOST_PARTS), out=parts)
    too_few = parts < 2
    np.maximum(parts, 1.0, out=parts)
    loop /= parts
    parts *= area * (4 / (gpu.memory_bandwidth * values["reduce"]))
    loop += parts
    loop += pace.each[pace.family.num_whole :] + values["split"]
    loop[too_few] = np.inf
    best: Array = loop.min(axis=0)
    return best
