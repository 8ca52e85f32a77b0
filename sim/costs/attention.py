"""Attention: two products over s x s scores forward, four backward, and a softmax between them.

Unfused, the scores are written to the HBM and read again by every kernel: their s^2 bytes cost more than the products.
Flash keeps a block of scores on the chip: it costs products only, backward five of them, since the scores are made
again. A flash kernel skips the blocks above the diagonal and those before the window; unfused products do not.
"""

import math
from dataclasses import dataclass
from typing import Final

from sim.costs import ELEMENT
from sim.costs.gemm import gemm
from sim.costs.memory_bound import Kernel, kernel
from topologies.hardware import Gpu

BLOCK: Final = 128
"""Rows of queries that one thread block of a flash kernel works on, and the keys of one step of its loop [Dao 2023]."""

Kernels = tuple[tuple[str, float], ...]
"""Names and seconds of kernels that run one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The attention of one rank: `num_heads` and `num_kv_heads` are those that it holds.

    A query and a key are `head_dim` wide, a value `value_dim`. A query sees itself and the `window` - 1 tokens before
    it (None: all before it).
    """

    batch: int
    seq_len: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    value_dim: int
    precision: str
    causal: bool = True
    window: int | None = None

    @property
    def num_scores(self) -> int:
        return self.batch * self.num_heads * self.seq_len**2

    @property
    def operand_nbytes(self) -> int:
        """Queries and output, keys and values."""
        width = (self.num_heads + self.num_kv_heads) * (self.head_dim + self.value_dim)
        return ELEMENT * self.batch * self.seq_len * width


def flash_forward(gpu: Gpu, shape: Shape) -> float:
    """Seconds: two products, 4 s^2 d FLOPs per head, at the kernel's published share of the peak.

    The share was published for values as wide as keys, 128; at other widths it is a guess.
    """
    flops_per_score = 2 * (shape.head_dim + shape.value_dim)
    return _flash(gpu, shape, flops_per_score, gpu.fit["flash_forward_efficiency"], shape.operand_nbytes)


def flash_backward(gpu: Gpu, shape: Shape) -> float:
    """Seconds: five products, 10 s^2 d FLOPs per head [Dao 2023]; reads q, k, v, o, do and writes dq, dk, dv.

    Three are as wide as keys (scores, gradients of queries and keys), two as values.
    """
    flops_per_score = 2 * (3 * shape.head_dim + 2 * shape.value_dim)
    return _flash(gpu, shape, flops_per_score, gpu.fit["flash_backward_efficiency"], 2 * shape.operand_nbytes)


def num_kept_blocks(shape: Shape) -> int:
    """Blocks of scores that a flash kernel works on, of the whole square for one head.

    Block i of the queries meets the keys of its own block, and of those before it as far as its first row's window
    reaches: min(i, ceil((window - 1) / BLOCK)) + 1 blocks.
    """
    blocks = _num_blocks(shape)
    if not shape.causal:
        return blocks**2
    longest = _longest_row(shape)
    return longest * (longest + 1) // 2 + (blocks - longest) * longest


def unfused_forward(gpu: Gpu, shape: Shape, *, fused_softmax: bool, dropout: bool) -> Kernels:
    """Scores, softmax, dropout and context, each reading and writing the scores."""
    scores = (("scores forward", _scores_gemm(gpu, shape, shape.head_dim)),)
    drop = (("attention dropout forward", kernel(gpu, "dropout forward", shape.num_scores)),) if dropout else ()
    context = (("context forward", _context_gemm(gpu, shape, shape.value_dim)),)
    return scores + _softmax_forward(gpu, shape, fused_softmax) + drop + context


def unfused_backward(gpu: Gpu, shape: Shape, *, fused_softmax: bool, dropout: bool) -> Kernels:
    """Gradients of probabilities and values, dropout, softmax, then those of queries and keys."""
    return (
        ("probability gradient", _scores_gemm(gpu, shape, shape.value_dim)),
        ("value gradient", _context_gemm(gpu, shape, shape.value_dim)),
        *((("attention dropout backward", kernel(gpu, "dropout backward", shape.num_scores)),) if dropout else ()),
        *_softmax_backward(gpu, shape, fused_softmax),
        ("query gradient", _context_gemm(gpu, shape, shape.head_dim)),
        ("key gradient", _context_gemm(gpu, shape, shape.head_dim)),
    )


def _flash(gpu: Gpu, shape: Shape, flops_per_score: int, efficiency: float, nbytes: float) -> float:
    kept = num_kept_blocks(shape) / _num_blocks(shape) ** 2
    flops = flops_per_score * shape.num_scores * kept
    math_time = flops / (gpu.peak_flops[shape.precision] * efficiency * _share_of_sms(gpu, shape))
    memory_time = nbytes / (gpu.memory_bandwidth * gpu.fit["memory_efficiency"])
    return max(math_time, memory_time) + gpu.fit["kernel_latency"]


def _num_blocks(shape: Shape) -> int:
    return math.ceil(shape.seq_len / BLOCK)


def _longest_row(shape: Shape) -> int:
    """Blocks of keys that the last block of queries meets."""
    blocks = _num_blocks(shape)
    return blocks if shape.window is None else min(blocks, math.ceil((shape.window - 1) / BLOCK) + 1)


def _share_of_sms(gpu: Gpu, shape: Shape) -> float:
    """Fraction of the SMs' time that has work. Causal rows of blocks differ in length and are dealt longest first: they
    only leave SMs idle where there are too few; equal ones come in waves."""
    num_heads = shape.batch * shape.num_heads
    if not shape.causal:
        num_rows = num_heads * _num_blocks(shape)
        return num_rows / (gpu.num_sms * math.ceil(num_rows / gpu.num_sms))
    return min(1.0, num_heads * num_kept_blocks(shape) / _longest_row(shape) / gpu.num_sms)


def _scores_gemm(gpu: Gpu, shape: Shape, width: int) -> float:
    """Queries times keys, or the gradient of the context times values: writes s x s per head."""
    batch = shape.batch * shape.num_heads
    return gemm(gpu, shape.seq_len, shape.seq_len, width, shape.precision, batch=batch)


def _context_gemm(gpu: Gpu, shape: Shape, width: int) -> float:
    """Probabilities times values, and the gradients of the same form: reads s x s per head."""
    batch = shape.batch * shape.num_heads
    return gemm(gpu, shape.seq_len, width, shape.seq_len, shape.precision, batch=batch)


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
