"""The products of a layer by number of tokens, in the precision of the weights; the cast of their input included."""

from functools import lru_cache
from typing import Final

import numpy as np

from sim.costs import ELEMENT, gemm
from sim.costs.law import Array
from sim.costs.memory_bound import streams
from sim.serving.costs.formats import product_format
from sim.serving.costs.parts import TOKENS, Rank
from topologies.document import InputError
from topologies.hardware import Gpu

_CAST: Final = ELEMENT + 1
"""Bytes of a number that is read in 16 bits and written in 8."""


@lru_cache(maxsize=64)
def product(rank: Rank, outputs: float, inputs: float, *, precision: str | None = None) -> Array:
    """Seconds of (tokens x inputs)(inputs x outputs); weights come from the HBM, as other layers' pass between."""
    kind = precision or precision_of(rank)
    columns, depth = np.full_like(TOKENS, outputs), np.full_like(TOKENS, inputs)
    casts = kind != "fp8" or rank.framework.cast == "dynamic"
    made = gemm.seconds(rank.gpu, TOKENS, columns, depth, kind, cold_weights=True, casts=casts)
    return made if casts or rank.framework.cast == "fused" else made + streams(rank.gpu, _CAST * inputs * TOKENS)


def precision_of(rank: Rank) -> str:
    """The precision of the large products; InputError where the GPU does not multiply it."""
    kind = product_format(rank.gpu, rank.deployment.weights, rank.model)
    check(rank.gpu, rank.deployment.weights, kind)
    return kind


def plain(gpu: Gpu) -> str:
    """The precision of what is never quantised: the head."""
    return "bf16" if "bf16" in gpu.peak_flops else "fp16"


def check(gpu: Gpu, weights: str, kind: str) -> None:
    """InputError where a GPU does not multiply numbers of that kind."""
    if not gemm.peak_flops(gpu, kind):
        raise InputError(f"weights: {gpu.name} does not multiply {weights}; take bf16, or int8 or int4 for less memory")
