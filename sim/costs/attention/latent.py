"""Decoding with latent attention (MLA): all heads read one latent and one rotary key per token, 576 numbers.

Keys and values are products of the latent that were moved into the queries' and the output's weights, so a token of the
cache costs 2 (576 + 512) FLOPs per head: with 128 heads the products bind, with few the memory.
"""

import math
from functools import lru_cache
from typing import Final

import numpy as np

from sim.costs import ELEMENT
from sim.costs.attention.kernels import product_rate
from sim.costs.law import Array
from topologies.hardware import Gpu

PRODUCT_SHARE: Final = 0.667
"""Share of the peak where products bind: 660 of 989 TFLOP/s on H800 [deepseek-ai/FlashMLA, README, dense decoding]."""
MEMORY_SHARE: Final = 0.896
"""Share of the bandwidth where the memory binds: 3000 of 3350 GB/s on H800 [deepseek-ai/FlashMLA, README]."""
ROWS: Final = 64
"""Rows of queries of a tile [deepseek-ai/FlashMLA, docs/20250422-new-kernel-deep-dive.md]."""
FP8_NBYTES: Final = 656
"""Bytes of a token in an fp8 cache: 512 numbers, their scales, 64 rotary ones in bf16 [the same]."""


@lru_cache(maxsize=65536)
def latent_decode(
    gpu: Gpu,
    lengths: tuple[int, ...],
    *,
    num_heads: int,
    latent_dim: int = 512,
    rope_dim: int = 64,
    cache_precision: str = "bf16",
) -> float:
    """Seconds of one call over sequences of `lengths` cached tokens, at a kernel's published rates: data-sheet values.

    The kernel deals tokens evenly to the SMs, so that uneven lengths cost nothing beside their sum. An fp8 cache is
    turned to bf16 before the products.
    """
    columns = np.array([float(len(lengths))]), np.array([float(sum(lengths))])
    seconds = latent_decodes(
        gpu, *columns, num_heads=num_heads, latent_dim=latent_dim, rope_dim=rope_dim, cache_precision=cache_precision
    )
    return float(seconds[0])


def latent_decodes(
    gpu: Gpu,
    batch: Array,
    tokens: Array,
    *,
    num_heads: int,
    latent_dim: int = 512,
    rope_dim: int = 64,
    cache_precision: str = "bf16",
) -> Array:
    """`latent_decode` for many calls at once: columns of sequences, and of their cached tokens together."""
    rows = ROWS * math.ceil(num_heads / ROWS)
    flops = 2 * tokens * rows * (latent_dim + rope_dim + latent_dim)
    width = ELEMENT * (latent_dim + rope_dim)
    cached = FP8_NBYTES * width / (ELEMENT * (512 + 64)) if cache_precision == "fp8" else width
    operands = ELEMENT * batch * num_heads * (latent_dim + rope_dim + latent_dim)
    products = flops / (product_rate(gpu) * PRODUCT_SHARE)
    memory = (tokens * cached + operands) / (gpu.memory_bandwidth * MEMORY_SHARE)
    seconds: Array = np.maximum(products, memory) + 2 * gpu.fit["kernel_latency"]
    return seconds
