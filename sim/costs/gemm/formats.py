"""The number formats of a product: bytes per number, whose peak it runs against, and how an activation gets there.

Dynamic quantisation reads the 16-bit activation: once for the largest magnitude where one scale holds for the whole
tensor, and once to cast it. Scales of blocks are found while casting. Weights are cast when they are loaded or updated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sim.costs import ELEMENT
from topologies.hardware import Gpu

_BLOCK_SCALE = 4 / 128
_MX_SCALE = 1 / 32
_NV_SCALE = 1 / 16
_GROUP_SCALE = ELEMENT / 128
_MX_RATE = 0.95
"""The twelve products of a layer on a B300: 7.16 ms, with one scale a tensor 6.81 (Transformer Engine,
docs/examples/gemm_profiling, pre-quantized)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """`weight` and `activation` are bytes per number, scales included; `peaks` the rows of the data sheet to look in.

    `cast` is the bytes that quantising moves per number of the activation: 0 where it stays as it is. `fit` is the
    operation whose fitted parameters the product takes, and `rate` its own rate as a share of that one's. `rule` tells
    that DeepGEMM's rule for blocks is in use.
    """

    weight: float = ELEMENT
    activation: float = ELEMENT
    peaks: tuple[str, ...]
    cast: float = 0.0
    fit: str = ""
    rule: bool = False
    rate: float = 1.0

    @property
    def quantises(self) -> bool:
        return self.cast > 0

    @property
    def dequantises(self) -> bool:
        """Whether the weights are unpacked to 16 bits on their way to the tensor cores."""
        return self.weight < self.activation and not self.quantises


FORMATS: Final[Mapping[str, Format]] = {
    "bf16": Format(peaks=("bf16",), fit="gemm bf16"),
    "fp16": Format(peaks=("fp16",), fit="gemm bf16"),
    "fp8": Format(weight=1, activation=1, peaks=("fp8",), cast=2 * ELEMENT + 1, fit="gemm fp8"),
    "fp8_block": Format(
        weight=1, activation=1 + _BLOCK_SCALE, peaks=("fp8",), cast=ELEMENT + 1 + _BLOCK_SCALE, fit="gemm fp8_block",
        rule=True,
    ),
    "mxfp8": Format(
        weight=1 + _MX_SCALE, activation=1 + _MX_SCALE, peaks=("fp8",), cast=ELEMENT + 1 + _MX_SCALE, fit="gemm fp8",
        rate=_MX_RATE,
    ),
    "nvfp4": Format(
        weight=0.5 + _NV_SCALE, activation=0.5 + _NV_SCALE, peaks=("fp4",), cast=ELEMENT + 0.5 + _NV_SCALE,
        fit="gemm nvfp4",
    ),
    "int8_weight": Format(weight=1 + _GROUP_SCALE, peaks=("bf16", "fp16"), fit="gemm bf16"),
    "int4_weight": Format(weight=0.5 + _GROUP_SCALE, peaks=("bf16", "fp16"), fit="gemm bf16"),
    "mxfp4_weight": Format(weight=0.5 + _MX_SCALE, peaks=("bf16", "fp16"), fit="gemm bf16"),
    "nvfp4_weight": Format(weight=0.5 + _NV_SCALE, peaks=("bf16", "fp16"), fit="gemm bf16"),
}  # fmt: skip
"""By precision. fp8 has one scale per tensor; fp8_block scales of 1 x 128 and 128 x 128 [DeepSeek-V3, 2024]; mxfp8 and
nvfp4 scales of 32 and 16 numbers [OCP MX specification 1.0; NVIDIA, cuDNN documentation]; weight-only formats groups of
128 [Frantar et al. 2024, Marlin, arXiv 2408.11743]."""


BLACKWELLS: Final = ("mxfp8", "nvfp4")
"""The formats with scales in blocks that only tensor cores with fp4 know."""


def peak_flops(gpu: Gpu, precision: str) -> float:
    """Dense FLOP/s of products in a precision, 0 where the GPU has none such."""
    if precision in BLACKWELLS and "fp4" not in gpu.peak_flops:
        return 0.0
    return next((gpu.peak_flops[peak] for peak in FORMATS[precision].peaks if peak in gpu.peak_flops), 0.0)
