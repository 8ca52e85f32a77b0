"""What numbers the weights of a served model are kept in, tensor by tensor, and which kernels multiply them.

A GPU whose tensor cores do not know the format unpacks the weights to 16 bits on the way: fewer bytes, no more FLOP/s.
"""

from collections.abc import Mapping
from typing import Final

from sim.costs.gemm import FORMATS, peak_flops
from sim.deployment import WeightPrecision
from sim.models import Transformer
from topologies.hardware import Gpu

_UNPACKED: Final[Mapping[WeightPrecision, str]] = {
    "int8": "int8_weight",
    "int4": "int4_weight",
    "mxfp4": "mxfp4_weight",
}
"""Weight-only, on every GPU; mxfp4 as the kernels for gpt-oss on Hopper do [vLLM 0.19, model_executor/layers/
quantization/mxfp4.py: Triton or Marlin with activations of 16 bits]."""
_WITHOUT: Final[Mapping[WeightPrecision, str]] = {
    "fp8": "int8_weight",
    "fp8_block": "int8_weight",
    "nvfp4": "nvfp4_weight",
}
"""Where tensor cores do not know them: Marlin [vLLM 0.19, model_executor/layers/quantization/utils/marlin_utils_fp8.py,
marlin_utils_fp4.py]."""


def expert_format(gpu: Gpu, weights: WeightPrecision) -> str:
    """The format of sim.costs.gemm in which experts are multiplied."""
    if weights in _UNPACKED:
        return _UNPACKED[weights]
    if weights in _WITHOUT and not peak_flops(gpu, weights):
        return _WITHOUT[weights]
    return weights


def product_format(gpu: Gpu, weights: WeightPrecision, model: Transformer) -> str:
    """The format of the products that every token meets. In mxfp4 only experts are published, the rest in 16 bits
    [gpt-oss model card, arXiv 2508.10925, section 2.1]."""
    if weights == "mxfp4" and model.moe is not None:
        return "bf16" if "bf16" in gpu.peak_flops else "fp16"
    return expert_format(gpu, weights)


def bytes_per_number(kind: str) -> float:
    """Bytes of a weight in such a format, scales included."""
    return FORMATS[kind].weight
