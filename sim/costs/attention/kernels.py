"""The flash kernels that GPUs of each generation run: the tiles that they cut, and how they fill the SMs.

Which one runs is told by what an SM multiplies per second, as the nearest relative of a GPU is. Sizes are those in the
sources of FlashAttention 2 and 3 as vLLM builds them; for TensorRT-LLM's, which are closed, they explain what was
measured.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from sim.costs.law import Array, Parameter, Points, Values
from topologies.hardware import Gpu
from topologies.quantity import NANOSECOND, TERA

AT_ONCE: Final = 4096

KEYS: Final = 128
"""Keys that a kernel takes in one step of its loop."""

THREADS: Final = 512
"""Threads of the block that writes a token's keys and values to the cache, at most [vLLM, csrc/cache_kernels.cu]."""
RESIDENT_THREADS: Final = 2048
"""Threads that an SM keeps at once, since Volta [CUDA C++ Programming Guide, compute capabilities]."""


BARE: Final = 0.050 * NANOSECOND
"""Seconds of an SM for the softmax of a score where nothing hides it: 16 exponentials per clock of 1.4 GHz take 44 ps
[Shah et al. 2024, FlashAttention-3, section 3.1, for the 16], scaling and sums a little."""
HIDDEN: Final = 0.017 * NANOSECOND
"""What is left of it at 1.8 GHz where it runs beside products: half of the exponentials, an assumption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashKernel:
    """`rows` of queries make a tile; where it `packs`, those of all heads that share a key, and few rows a half tile.

    Decoding, `decode_rows` of them make one, and `resident` tiles share an SM; a cache is split among `most_splits`
    tiles at most, each cache among as many where the split is `even`. `softmax` is what an SM needs for a score's.
    """

    rows: int
    narrow_rows: int
    packs: bool
    decode_rows: int
    resident: int
    most_splits: int
    softmax: float
    even: bool = False


FLASH_2: Final = FlashKernel(
    rows=64, narrow_rows=64, packs=False, decode_rows=64, resident=2, most_splits=128, softmax=BARE, even=True
)
FLASH_3: Final = FlashKernel(
    rows=128, narrow_rows=192, packs=True, decode_rows=128, resident=1, most_splits=32, softmax=HIDDEN
)
TENSORRT: Final = FlashKernel(
    rows=128, narrow_rows=128, packs=False, decode_rows=128, resident=1, most_splits=1024, softmax=HIDDEN
)

HOPPER: Final = 5 * TERA
BLACKWELL: Final = 10 * TERA
"""FLOP/s of an SM from which on a generation's own kernel runs: A100 2.9, H100 7.5, B200 15.2 tera."""


def kernel_of(gpu: Gpu) -> FlashKernel:
    """FlashAttention 2 before Hopper, 3 on Hopper, TensorRT-LLM's kernels (through FlashInfer) on Blackwell."""
    rate = product_rate(gpu) / gpu.num_sms
    return FLASH_2 if rate < HOPPER else FLASH_3 if rate < BLACKWELL else TENSORRT


def product_rate(gpu: Gpu, precision: str = "bf16") -> float:
    """Peak FLOP/s of products; fp16 where the GPU has no bf16."""
    return gpu.peak_flops.get(precision) or gpu.peak_flops["fp16"]


def by_width(values: Values, name: str, width: Array) -> Array:
    """A parameter at a head size: as it is at 128; `_narrow` and `_wide` are the ratios of 64 and 256 to that."""
    usual = values[name]
    at_sizes = [usual * values[f"{name}_narrow"], usual, usual * values[f"{name}_wide"]]
    scaled: Array = np.interp(width, [64.0, 128.0, 256.0], at_sizes)
    return scaled


def beside(one: Array, other: Array, shown: float) -> Array:
    """Two times of which the longer hides the shorter but for a share: `shown` 0 is their maximum, 1 their sum."""
    joined: Array = np.maximum(one, other) + shown * np.minimum(one, other)
    return joined


def cache_write(gpu: Gpu, num_tokens: Array, width: Array, *, life: float, step: float) -> Array:
    """Seconds to put new keys and values, each `width` numbers a token, into the pages of the cache, bytes apart.

    A token is a thread block, which lives for microseconds whatever it carries (`life`, and `step` for each number
    after the first that a thread copies), and an SM holds few blocks.
    """
    threads = np.minimum(width, THREADS)
    rounds = np.maximum(1.0, num_tokens * threads / (gpu.num_sms * RESIDENT_THREADS))
    written: Array = rounds * (life + (width / threads - 1) * step)
    return written


def piecewise(points: Points, seconds: Callable[[Points], Array]) -> Array:
    """`seconds` of many points, some thousand at a time: what lies between two operations then stays in the cache."""
    num = len(next(iter(points.values())))
    if num <= AT_ONCE:
        return seconds(points)
    parts = [{name: column[at : at + AT_ONCE] for name, column in points.items()} for at in range(0, num, AT_ONCE)]
    return np.concatenate([seconds(part) for part in parts])


def width_parameters(
    name: str, start: float, low: float, high: float, narrow: float, wide: float, meaning: str
) -> dict[str, Parameter]:
    """A parameter at head size 128, and its ratios at 64 and 256."""
    least, most = 0.2, 8.0
    return {
        name: Parameter(start=start, low=low, high=high, meaning=meaning),
        f"{name}_narrow": Parameter(
            start=narrow, low=least, high=most, meaning=f"{name} at head size 64 over that at 128"
        ),
        f"{name}_wide": Parameter(
            start=wide, low=least, high=most, meaning=f"{name} at head size 256 over that at 128"
        ),
    }
