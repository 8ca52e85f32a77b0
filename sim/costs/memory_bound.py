"""Kernels that do little arithmetic: their bytes through the HBM, once, plus the start of a kernel.

Each kernel is a number of bytes per element; elements are fp16 or bf16 (2 bytes), dropout masks one byte, the
optimizer's numbers fp32. What is reduced to a row (means, maxima, biases) is left out: < 0.1 % of the traffic.
"""

from collections.abc import Mapping
from typing import Final, Literal

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
]

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
}
"""Bytes that each kernel moves per element."""

ADAM_NBYTES: Final = 6 * 4 + 6
"""Per parameter: fp32 weight, momentum and variance read and written, then copied to the 2-byte working weight."""


def stream(gpu: Gpu, nbytes: float) -> float:
    """Seconds of one kernel that moves `nbytes` through the HBM."""
    return nbytes / (gpu.memory_bandwidth * gpu.fit["memory_efficiency"]) + gpu.fit["kernel_latency"]


def kernel(gpu: Gpu, name: Kernel, num_elements: float) -> float:
    """Seconds of a named kernel on that many elements."""
    return stream(gpu, NBYTES[name] * num_elements)


def cross_entropy_forward(gpu: Gpu, num_logits: float, logits_nbytes: int) -> float:
    """Loss over a vocabulary shard, as separate kernels [Megatron-LM, vocab_parallel_cross_entropy].

    Cast to `logits_nbytes` where that is not 2, maximum (read), subtract (read, write), exponential (read, write), sum
    (read), divide (read, write).
    """
    cast = 2 + logits_nbytes if logits_nbytes != 2 else 0
    return stream(gpu, num_logits * (cast + 8 * logits_nbytes)) + 4 * gpu.fit["kernel_latency"]


def cross_entropy_backward(gpu: Gpu, num_logits: float, logits_nbytes: int) -> float:
    """Probabilities times the loss's gradient, in place; cast back to 2 bytes."""
    cast = 2 + logits_nbytes if logits_nbytes != 2 else 0
    return stream(gpu, num_logits * (cast + 2 * logits_nbytes))


def embedding_gradient(gpu: Gpu, num_parameters: float, gradient_nbytes: int) -> float:
    """A lookup's gradient: a dense 2-byte matrix of zeros with few rows filled, added to the accumulated gradient."""
    return stream(gpu, num_parameters * (2 + 2 + 2 * gradient_nbytes)) + gpu.fit["kernel_latency"]


def gradient_scale(gpu: Gpu, num_parameters: float, gradient_nbytes: int) -> float:
    """Divide the gradients by the number of replicas before they are summed."""
    return stream(gpu, num_parameters * 2 * gradient_nbytes)


def optimizer(gpu: Gpu, num_parameters: float, precision: str, gradient_nbytes: int) -> float:
    """Seconds of a mixed-precision Adam step over `num_parameters` on this rank.

    Kernels over all parameters: unscale and check (fp16 only: read, write), norm (read), clip (read, write), Adam
    (reads the gradient), zero the gradients (write) [Megatron-LM, optimizer.py; apex, multi_tensor_adam].
    """
    gradient_passes = 5 + (2 if precision == "fp16" else 0)
    return stream(gpu, num_parameters * (gradient_passes * gradient_nbytes + ADAM_NBYTES))
