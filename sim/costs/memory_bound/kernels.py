"""The catalogue of kernels that do little arithmetic: bytes per element, each tensor once through the HBM.

Elements are fp16 or bf16 (2 bytes) unless said, dropout masks one byte, the optimizer's numbers fp32. What is reduced
to a row (means, maxima, biases) is left out: < 0.1 % of the traffic. A fused kernel keeps between its parts in
registers what separate kernels write and read again.
"""

from collections.abc import Mapping
from typing import Final, Literal

from sim.costs.memory_bound.law import stream
from sim.costs.processor import Kind
from topologies.hardware import Gpu

Kernel = Literal[
    "norm forward",
    "norm backward",
    "bias gradient",
    "add",
    "add bias",
    "copy",
    "dropout forward",
    "dropout backward",
    "bias dropout add",
    "gelu forward",
    "gelu backward",
    "swiglu forward",
    "swiglu backward",
    "rotary",
    "causal softmax forward",
    "causal softmax backward",
    "softmax forward",
    "softmax backward",
    "mask",
    "lookup",
    "top-k",
    "router softmax forward",
    "router softmax backward",
    "cast to fp32",
    "cast from fp32",
    "cast to fp8",
    "cast to fp8 and transpose",
    "transpose",
    "amax",
    "add norm forward",
    "bias gelu forward",
    "bias gelu backward",
    "causal softmax dropout forward",
    "router top-k softmax",
    "permute",
    "unpermute",
]

MEASURED: Final[frozenset[Kernel]] = frozenset({"norm forward", "add", "rotary", "swiglu forward", "lookup"})
"""The kernels that the fits were made from; of the others only the bytes are known."""

NBYTES: Final[Mapping[Kernel, float]] = {
    "norm forward": 2 + 2,
    "norm backward": (2 + 2 + 2) + (2 + 2),  # input gradient; then x and dy again for the weights' [apex, layer_norm]
    "bias gradient": 2,
    "add": 2 + 2 + 2,
    "add bias": 2 + 2,
    "copy": 2 + 2,
    "dropout forward": 2 + 2 + 1,
    "dropout backward": 2 + 1 + 2,
    "bias dropout add": 2 + 2 + 2 + 1,  # one kernel: x, residual, out, mask [Megatron-LM, bias_dropout_add_fused]
    "gelu forward": 2 + 2,  # squared ReLU the same
    "gelu backward": 2 + 2 + 2,
    "swiglu forward": 2 * 2 + 2,  # per element of the output: gate and up are read; GEGLU the same
    "swiglu backward": 2 + 2 * 2 + 2 * 2,
    "rotary": 2 + 2,
    # Above the diagonal nothing is read, but zeros are written [Megatron-LM, scaled_upper_triang_masked_softmax].
    "causal softmax forward": 2 / 2 + 2,
    "causal softmax backward": (2 + 2) / 2 + 2,
    "softmax forward": 2 + 2,
    "softmax backward": 2 + 2 + 2,
    "mask": 2 + 1 + 2,
    "lookup": 2 + 2,
    # Per score of a router [Megatron-Core, moe_utils.py, topk_softmax_with_capacity, and the loss that balances].
    "top-k": 2 + 1,  # reads scores, writes who was chosen
    "router softmax forward": (2 + 4) + (1 + 4),  # probabilities of all in fp32; those of the chosen, zeros elsewhere
    "router softmax backward": (4 + 4) + (4 + 4) + 2,
    "router top-k softmax": 2 + 1 + 4,  # fused: scores are read once, choice and probability written
    "permute": 2 + 2,
    "unpermute": 2 + 2 + 2,  # a row is read and added to its token
    "cast to fp32": 2 + 4,
    "cast from fp32": 4 + 2,
    "cast to fp8": 2 + 1,
    "cast to fp8 and transpose": 2 + 1 + 1,  # one read, two copies for the two layouts [Transformer Engine]
    "transpose": 2 + 2,
    "amax": 2,
    "add norm forward": (2 + 2) + (2 + 2),  # fused: x and residual in, their sum and its norm out
    "bias gelu forward": 2 + 2,
    "bias gelu backward": 2 + 2 + 2,
    "causal softmax dropout forward": 2 / 2 + 2 + 2 + 1,  # softmax is kept for backward, beside what is dropped
}
"""Bytes that each kernel moves per element."""


ON_PROCESSOR: Final[Mapping[Kernel, Kind]] = {
    "norm forward": "norm",
    "norm backward": "norm backward",
    "swiglu forward": "gated activation",
    "swiglu backward": "gated activation backward",
    "rotary": "rotary",
    "lookup": "lookup",
    "permute": "lookup",
    "unpermute": "lookup",
}
"""The kernels that a processor computes longer than it moves their bytes, and as what it is measured; others stream."""


def kernel(gpu: Gpu, name: Kernel, num_elements: float) -> float:
    """Seconds of a named kernel on that many elements."""
    return stream(gpu, NBYTES[name] * num_elements, ON_PROCESSOR.get(name, "stream"))
