"""Unfused attention of old runs: the scores are written to the HBM and read again by every kernel.

Their s^2 bytes cost more than the products, and what the mask hides is computed too.
"""

from sim.costs.attention.shape import Shape
from sim.costs.gemm import gemm
from sim.costs.memory_bound import Kernel, kernel
from topologies.hardware import Gpu

Kernels = tuple[tuple[str, float], ...]
"""Names and seconds of kernels that run one after the other."""


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
