"""Tiles: the blocks of the output that an SM makes one at a time, and how long the library's choice among them takes.

A tile's main loop runs along k at the pace of the slowest of three: multiplying, fetching the operands, and the latency
of a step. A last wave that is part full still takes most of a wave. Where tiles are few, k is split over the idle SMs,
which costs a sum over the parts.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.costs.gemm.formats import Format
from sim.costs.law import Array, Values
from topologies.hardware import Gpu
from topologies.quantity import MICROSECOND, TERA

Single = NDArray[np.float32]
"""What is found for every tile and point: half as long on its way through the caches, and exact to 1e-6."""


class Tile(NamedTuple):
    """A block of the output: tokens x outputs; `split` where k is dealt to idle SMs as well."""

    tokens: int
    outputs: int
    split: bool = False

    @property
    def name(self) -> str:
        """What its rate is called among the parameters of the law."""
        return f"{self.tokens}x{self.outputs}" + (" split" if self.split else "")


STEP: Final = 64
"""How far along k a step of the main loop goes."""
LEAST_K: Final = 256
"""k is not cut into shorter parts than this."""
MOST_PARTS: Final = 16
MOST_WAVES: Final = 6
"""Products of more waves than these are not split."""
HIDING: Final = 4.0
"""The slowest of a main loop's parts hides the others, all but for a fifth where two are equal: (a^4 + b^4)^(1/4)."""
LARGEST: Final = 128 * 256 / (128 + 256)
"""Multiply-adds per fetched number of the largest tile."""
SHARPNESS_DOUBLINGS: Final = 5
WORTHLESS: Final = 0.1
"""A tile ten times as slow as the quickest is never taken."""
NEVER: Final = 1e6
"""Seconds of a tile that cannot be used."""

TILES: Final = (
    *(Tile(*sides) for sides in ((16, 32), (16, 96), (32, 64), (32, 128), (64, 64), (64, 128), (128, 128), (128, 256))),
    *(Tile(*sides, split=True) for sides in ((64, 32), (64, 64), (64, 128), (64, 256), (128, 128), (128, 256))),
)
"""What explains measured products of A100, H100 and B200 best among shapes of cuBLAS, those that split k last [NVIDIA,
Matrix Multiplication Background User's Guide, section 2.3]."""
REFERENCE: Final = "128x256"
"""The tile to whose rate those of the others are relative."""
_WHOLE = sum(not tile.split for tile in TILES)
_TOKENS = np.array([[tile.tokens] for tile in TILES], dtype=np.float64)
_OUTPUTS = np.array([[tile.outputs] for tile in TILES], dtype=np.float64)
_SIDES = (_TOKENS.astype(np.float32), _OUTPUTS.astype(np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """`refetch` are the multiply-adds per fetched number at which the tensor cores wait for their registers half the
    time; `alone` the seconds of a tile's start and end where no other tile's main loop hides them."""

    refetch: float = 0.0
    alone: float = 0.0


AMPERE: Final = Generation(refetch=25.0, alone=0.8 * MICROSECOND)
"""Tensor cores fed from registers, by kernels that end with their tile (as an A100 was measured in bf16)."""
HOPPER: Final = Generation()
"""Tensor cores that read the shared memory, and kernels that go on to the next tile while one is stored."""
HOPPER_RATE: Final = 4.6 * TERA
"""FLOP/s of an SM half-way between A100 (2.9) and H100 (7.5), as fits are borrowed."""


def generation_of(gpu: Gpu) -> Generation:
    """How fast its SMs multiply in 16 bits tells a GPU's generation."""
    rate = max(gpu.peak_flops.get("bf16", 0.0), gpu.peak_flops.get("fp16", 0.0)) / gpu.num_sms
    return HOPPER if rate > HOPPER_RATE else AMPERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Paces:
    """Columns with a row per tile: seconds of a tile per unit of k (`loop`), and before and after that (`each`).

    `dislike` is the factor by which the library takes a product for longer than it is, where it picks a tile.
    Of libraries that never split k the last rows are missing.
    """

    loop: Single
    each: Single
    dislike: Single


def paces(gpu: Gpu, values: Values, kind: Format, flops: float, output_nbytes: float) -> Paces:
    """How fast each tile goes on one SM, with `flops` the whole GPU's achievable rate."""
    generation = generation_of(gpu)
    fetch_rate = gpu.memory_bandwidth / gpu.num_sms
    intensity = _TOKENS * _OUTPUTS / (_TOKENS + _OUTPUTS)
    half = values["fetch"] + generation.refetch
    efficiency = intensity / (intensity + half) * (LARGEST + half) / LARGEST
    efficiency *= np.array([[1.0 if tile.name == REFERENCE else values[tile.name]] for tile in TILES])
    multiply = 2 * _TOKENS * _OUTPUTS * gpu.num_sms / (flops * efficiency)
    fetch = (kind.activation * _TOKENS + kind.weight * _OUTPUTS) / (values["sm_l2"] * fetch_rate)
    loop = (multiply**HIDING + fetch**HIDING + (values["step"] / STEP) ** HIDING) ** (1 / HIDING)
    store = output_nbytes * _TOKENS * _OUTPUTS / (values["store"] * fetch_rate)
    each = store + (values["tile"] + generation.alone)
    dislike = (128 * 256 / (_TOKENS * _OUTPUTS)) ** values["dislike"]
    dislike[_WHOLE:] *= values["dislike_split"]
    used = slice(_WHOLE if kind.rule else None)
    return Paces(loop=_single(loop[used]), each=_single(each[used]), dislike=_single(dislike[used]))


def quickest(gpu: Gpu, values: Values, pace: Paces, m: Array, n: Array, k: Array, batch: float) -> Array:
    """Seconds that the SMs need, without waiting for the HBM: those of the tile that the library takes, per point."""
    tokens, outputs, depth = _single(m), _single(n), _single(k)
    waves: Single = np.ceil(tokens / _SIDES[0][: len(pace.loop)])
    waves *= np.ceil(outputs / _SIDES[1][: len(pace.loop)])
    waves *= batch / gpu.num_sms
    times: Single = pace.loop * depth
    split, summed = waves[_WHOLE:], times[_WHOLE:]
    parts = _parts(split, depth)
    unused = (parts < 2) | (split > MOST_WAVES)
    split *= parts
    summed /= parts
    times += pace.each
    times *= _felt(waves, values["tail"])
    if len(split):
        parts *= tokens * outputs * (batch * 4 / (gpu.memory_bandwidth * values["reduce"]))
        parts += values["split"]
        summed += parts
        np.copyto(summed, NEVER, where=unused)
    return _taken(times, pace.dislike).astype(np.float64)


def _single(numbers: Array) -> Single:
    return numbers.astype(np.float32)


def _felt(waves: Single, tail: float) -> Single:
    """Whole waves, less what a part-full last one is quicker than a full one (`tail` of 0: nothing)."""
    felt: Single = np.ceil(waves)
    felt *= 1 - tail
    felt += tail * np.maximum(waves, 1.0)
    return felt


def _parts(waves: Single, k: Single) -> Single:
    """As many parts of k as fill the GPU once; 2 or 3, whichever leave fewer SMs idle, where it is half full."""
    three = np.ceil(3 * waves) * 2 < np.ceil(2 * waves) * 3
    parts = three.astype(np.float32)
    parts += 2
    np.maximum(parts, np.floor(1 / waves), out=parts)
    np.minimum(parts, np.minimum(k / LEAST_K, MOST_PARTS), out=parts)
    return parts


def _taken(times: Single, dislike: Single) -> Single:
    """The mean over all tiles, with weights that fall as the 32nd power of their times: the library mostly knows which
    is the quickest, and errs among tiles that are nearly as quick."""
    weights = times * dislike
    np.divide(weights.min(axis=0), weights, out=weights)
    np.maximum(weights, WORTHLESS, out=weights)
    for _ in range(SHARPNESS_DOUBLINGS):
        weights *= weights
    total = weights.sum(axis=0)
    weights *= times
    mean: Single = weights.sum(axis=0) / total
    return mean
