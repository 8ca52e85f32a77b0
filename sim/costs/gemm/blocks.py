"""DeepGEMM's rule for block-scaled fp8: 64 or 128 tokens high, and as wide as fills its waves best.

The measured library tunes its kernels at 1, 2, 4, ... tokens and takes those of its last size above; everywhere else
it goes by this rule, and pays: with narrow blocks every SM fetches the tokens again, more than the L2 can give.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.costs.law import Array, Values
from topologies.hardware import Gpu

NARROWEST: Final = 16
WIDEST: Final = 128
STEP: Final = 8
"""Widths go from 16 to 128 in steps of 8 [TensorRT-LLM, deep_gemm/compiler.cuh, get_best_gemm_config]."""
HEIGHT: Final = 128
LEAST_RULED: Final = 32
LEAST_TUNED: Final = 4096
LEAST_MULTICAST: Final = 1024
"""From so many tokens on two neighbours share what they fetch, if blocks pair up."""


def is_ruled(m: Array) -> NDArray[np.bool_]:
    """Where the rule is used: token counts from 32 to 4,095 that are no power of two, and 32."""
    mantissa, _ = np.frexp(m)
    chosen: NDArray[np.bool_] = (m >= LEAST_RULED) & (m < LEAST_TUNED) & ((mantissa != 1 / 2) | (m == LEAST_RULED))
    return chosen


def blocks(gpu: Gpu, m: Array, n: Array, batch: float) -> tuple[Array, Array]:
    """Height and width of the blocks: the fewest waves, then the fullest last wave, then the narrowest.

    The widest blocks make the fewest waves; the narrowest that make no more of them fill the last one best.
    """
    height = np.where(m <= HEIGHT // 2, HEIGHT // 2, HEIGHT).astype(np.float64)
    rows = np.ceil(m / height) * batch
    waves = np.ceil(rows * np.ceil(n / WIDEST) / gpu.num_sms)
    columns = np.floor(waves * gpu.num_sms / rows)
    return height, np.maximum(STEP * np.ceil(n / (STEP * columns)), NARROWEST)


def ruled(gpu: Gpu, values: Values, flops: float, m: Array, n: Array, k: Array, batch: float) -> Array:
    """Seconds that the SMs need with those blocks: multiplying, fetching from the L2 and latency partly hide."""
    height, width = blocks(gpu, m, n, batch)
    rows = np.ceil(m / height)
    tiles = rows * np.ceil(n / width) * batch
    paired = (m >= LEAST_MULTICAST) & (n % (2 * width) == 0)
    fetched = values["rule_tokens"] * height + np.where(rows > 1, values["rule_again"], 1.0) * width
    fetched *= np.where(paired, values["rule_pair"], 1.0)
    ragged = np.minimum(values["rule_rows"] / rows, 1.0) * np.where(rows > 1, 1.0, values["rule_alone"])
    ragged *= np.where(m % STEP == 0, 0.0, values["rule_ragged"] - 1)
    fetch = fetched * (1 + ragged) * np.minimum(tiles, gpu.num_sms) / (values["rule_l2"] * gpu.memory_bandwidth)
    multiply = 2 * height * width * gpu.num_sms / (flops * values["rule_rate"])
    power = values["rule_blend"]
    pace = (fetch**power + multiply**power + (values["rule_step"] / HEIGHT) ** power) ** (1 / power)
    seconds: Array = np.maximum(tiles / gpu.num_sms, 1.0) * pace * k
    return seconds
