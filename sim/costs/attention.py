"""Attention: two products over s x s scores forward, four backward, and a softmax between them.

Unfused, the scores are written to the HBM and read again by every kernel: their s^2 bytes cost more than the products.
Flash keeps a block of scores on the chip: it costs products only, backward five of them, since the scores are made
again. A causal flash kernel skips the blocks above the diagonal; unfused products do not.
"""

import math
from dataclasses import dataclass
from typing import Final

from sim.costs import ELEMENT
from sim.costs.gemm import gemm
from sim.costs.memory_bound import Kernel, kernel
from topologies.hardware import Gpu

BLOCK: Final = 128
"""Rows of queries that one thread block of a flash kernel works on [Dao 2023, FlashAttention-2]."""

Kernels = tuple[tuple[str, float], ...]
"""Names and seconds of kernels that run one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The attention of one rank: `num_heads` and `num_kv_heads` are those that it holds."""

    batch: int
    seq_len: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    precision: str
    causal: bool = True

    @property
    def num_scores(self) -> int:
        return self.batch * self.num_heads * self.seq_len**2

    @property
    def operand_nbytes(self) -> int:
        """Queries and output, keys and values."""
        width = 2 * (self.num_heads + self.num_kv_heads) * self.head_dim
        return ELEMENT * self.batch * self.seq_len * width


def flash_forward(gpu: Gpu, shape: Shape) -> float:
    """Seconds: two products, 4 s^2 d FLOPs per head, at the kernel's published share of the peak."""
    return _flash(gpu, shape, 4, gpu.fit["flash_forward_efficiency"], shape.operand_nbytes)


def flash_backward(gpu: Gpu, shape: Shape) -> float:
    """Seconds: five products, 10 s^2 d FLOPs per head [Dao 2023]; reads q, k, v, o, do and writes dq, dk, dv."""
    return _flash(gpu, shape, 10, gpu.fit["flash_backward_efficiency"], 2 * shape.operand_nbytes)


def unfused_forward(gpu: Gpu, shape: Shape, *, fused_softmax: bool, dropout: bool) -> Kernels:
    """Scores, softmax, dropout and context, each reading and writing the scores."""
    scores = (("scores forward", _scores_gemm(gpu, shape)),)
    drop = (("attention dropout forward", kernel(gpu, "dropout forward", shape.num_scores)),) if dropout else ()
    context = (("context forward", _context_gemm(gpu, shape)),)
    return scores + _softmax_forward(gpu, shape, fused_softmax) + drop + context


def unfused_backward(gpu: Gpu, shape: Shape, *, fused_softmax: bool, dropout: bool) -> Kernels:
    """Gradients of probabilities and values, dropout, softmax, then those of queries and keys."""
    return (
        ("probability gradient", _scores_gemm(gpu, shape)),
        ("value gradient", _context_gemm(gpu, shape)),
        *((("attention dropout backward", kernel(gpu, "dropout backward", shape.num_scores)),) if dropout else ()),
        *_softmax_backward(gpu, shape, fused_softmax),
        ("query gradient", _context_gemm(gpu, shape)),
        ("key gradient", _context_gemm(gpu, shape)),
    )


def _flash(gpu: Gpu, shape: Shape, flops_per_score: int, efficiency: float, nbytes: float) -> float:
    blocks = math.ceil(shape.seq_len / BLOCK)
    kept = (blocks + 1) / (2 * blocks) if shape.causal else 1.0
    flops = flops_per_score * shape.num_scores * shape.head_dim * kept
    math_time = flops / (gpu.peak_flops[shape.precision] * efficiency * _share_of_sms(gpu, shape, blocks))
    memory_time = nbytes / (gpu.memory_bandwidth * gpu.fit["memory_efficiency"])
    return max(math_time, memory_time) + gpu.fit["kernel_latency"]


def _share_of_sms(gpu: Gpu, shape: Shape, blocks: int) -> float:
    """Fraction of the SMs' time that has work. Causal blocks differ in length and are dealt longest first: they only
    leave SMs idle where there are too few; equal blocks come in waves."""
    num_blocks = shape.batch * shape.num_heads * blocks
    if not shape.causal:
        return num_blocks / (gpu.num_sms * math.ceil(num_blocks / gpu.num_sms))
    return min(1.0, num_blocks * (blocks + 1) / (2 * blocks) / gpu.num_sms)


def _scores_gemm(gpu: Gpu, shape: Shape) -> float:
    """Queries times keys, or the gradient of the context times values: writes s x s per head."""
    batch = shape.batch * shape.num_heads
    return gemm(gpu, shape.seq_len, shape.seq_len, shape.head_dim, shape.precision, batch=batch)


def _context_gemm(gpu: Gpu, shape: Shape) -> float:
    """Probabilities times values, and the gradients of the same form: reads s x s per head."""
    batch = shape.batch * shape.num_heads
    return gemm(gpu, shape.seq_len, shape.head_dim, shape.seq_len, shape.precision, batch=batch)


def _softmax_forward(gpu: Gpu, shape: Shape, fused: bool) -> Kernels:
    if fused:
        name: Kernel = "causal softmax forward" if shape.causal else "softmax forward"
        return (("softmax forward", kernel(gpu, name, shape.num_scores)),)
    scale = ("scale scores", kernel(gpu, "copy", shape.num_scores))
    mask = (("mask scores", kernel(gpu, "mask", shape.num_scores)),) if shape.causal else ()
    return (scale, *mask, ("softmax forward", kernel(gpu, "softmax forward", shape.num_scores)))


def _softmax_backward(gpu: Gpu, shape: Shape, fused: bool) -> Kernels:
    if fused:
        name: Kernel = "causal softmax backward" if shape.causal else "softmax backward"
        return (("softmax backward", kernel(gpu, name, shape.num_scores)),)
    mask = (("mask gradient", kernel(gpu, "mask", shape.num_scores)),) if shape.causal else ()
    softmax = ("softmax backward", kernel(gpu, "softmax backward", shape.num_scores))
    return (softmax, *mask, ("scale gradient", kernel(gpu, "copy", shape.num_scores)))
