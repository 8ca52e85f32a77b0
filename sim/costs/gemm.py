"""A matrix product: tiles of the output, dealt to the SMs in waves; the last wave is seldom full.

A tile needs its main loop, then stores its output. A large tile fetches less per multiplication and so runs nearer the
peak, a small one leaves less of the last wave idle; the library picks what is fastest, and so does this. However the
tiles go, operands and result cross the HBM once.
"""

import math
from typing import Final

from sim.costs import ELEMENT
from topologies.hardware import Gpu

TILES: Final = ((256, 128), (128, 256), (128, 128), (256, 64), (64, 256), (128, 64), (64, 128), (64, 64))
"""Tile shapes of cuBLAS [NVIDIA, Matrix Multiplication Background User's Guide, section 2.3]."""

FETCH_COST: Final = 10.0
"""Multiply-adds per fetched operand at which fetching costs as much as multiplying: the small-tile penalty.

The guide ranks tiles in this order and prints no figures; an assumption, one for all GPUs: 64 x 64 tiles run at 85 % of
the largest. 5 and 20 explain the measured A100 and H100 products as well; large products move by less than 1 %.
"""

STORE_SPEEDUP: Final = 2.0
"""A tile is stored to the L2, which takes data at least twice as fast as the HBM; the store overlaps no main loop."""


def gemm(gpu: Gpu, m: int, n: int, k: int, precision: str, *, batch: int = 1, output_nbytes: float = ELEMENT) -> float:
    """Seconds of `batch` products (m x k)(k x n) with 2-byte operands.

    `output_nbytes` is what an output element moves: 2 to write fp16, 8 to add it to an fp32 sum (read and write).
    Without split-K: a product of few tiles and a long k is up to 2x faster in truth.
    """
    traffic = batch * (ELEMENT * (m * k + n * k) + output_nbytes * m * n)
    memory = traffic / (gpu.memory_bandwidth * gpu.fit["memory_efficiency"])
    tiled = min(_tiled(gpu, tile, m, n, k, precision, batch, output_nbytes) for tile in TILES)
    return max(tiled, memory) + gpu.fit["kernel_latency"]


def num_waves(gpu: Gpu, tile: tuple[int, int], m: int, n: int, batch: int = 1) -> int:
    """Rounds of one tile per SM that the output takes."""
    return math.ceil(batch * math.ceil(m / tile[0]) * math.ceil(n / tile[1]) / gpu.num_sms)


def tile_efficiency(tile: tuple[int, int]) -> float:
    """Rate of a tile's main loop relative to the largest tile's: multiply-adds per fetched operand decide it."""
    return _saturation(tile) / _saturation(TILES[0])


def _saturation(tile: tuple[int, int]) -> float:
    intensity = tile[0] * tile[1] / (tile[0] + tile[1])
    return intensity / (intensity + FETCH_COST)


def _tiled(
    gpu: Gpu, tile: tuple[int, int], m: int, n: int, k: int, precision: str, batch: int, output_nbytes: float
) -> float:
    area = tile[0] * tile[1]
    rate = gpu.peak_flops[precision] * gpu.fit["gemm_efficiency"] * tile_efficiency(tile) / gpu.num_sms
    store = STORE_SPEEDUP * gpu.memory_bandwidth * gpu.fit["memory_efficiency"] / gpu.num_sms
    return num_waves(gpu, tile, m, n, batch) * (2 * area * k / rate + area * output_nbytes / store)
