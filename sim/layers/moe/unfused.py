"""What runs around the products of biased experts, gpt-oss's, where no kernel does it with them: eager PyTorch.

Rows go through the HBM in each operation, in 4 bytes wherever a probability, which has 4, takes part. Only with
biases: they are what one activation that clamps its input [Megatron-Core, activation_func_clamp_value] comes with.
"""

from typing import Final

from sim.costs.memory_bound import stream
from sim.instructions import Block
from sim.layers.context import Context, streaming

# The bias times the probability is written; read, with the row, and their sum written; the experts' rows are put
# together, and cast [Megatron-Core, moe/experts.py, TEGroupedMLP._apply_bias].
_BIAS: Final = 4 + (2 + 4 + 4) + (4 + 4) + (4 + 2)
# Cast; the row's gradient cast back; gradient times probability summed over rows, times bias over the width.
_BIAS_GRADIENT: Final = (2 + 4) + (4 + 2) + 2 * ((4 + 4) + 4)
# Both halves clamped, and put together [fusions/fused_bias_geglu.py, weighted_bias_quick_geglu_impl].
_CLAMP: Final = (2 + 2) + (2 + 2)
# Gradient and input in, gradient out; the halves' gradients put together.
_CLAMP_GRADIENT: Final = (2 + 2 + 2) + (2 + 2)


def bias(context: Context, name: str, num_rows: int, width: int) -> Block:
    """A bias of the row's expert, times the row's probability, is added."""
    return _over(context, f"{name} bias", _BIAS, num_rows * width)


def bias_gradient(context: Context, name: str, num_rows: int, width: int) -> Block:
    """Gradients of biases and of probabilities."""
    return _over(context, f"{name} bias gradient", _BIAS_GRADIENT, num_rows * width)


def clamp(context: Context, name: str, num_rows: int, width: int) -> Block:
    """What the activation takes is kept within limits."""
    return _over(context, f"{name} clamp", _CLAMP, num_rows * width)


def clamp_gradient(context: Context, name: str, num_rows: int, width: int) -> Block:
    """No gradient where a limit held."""
    return _over(context, f"{name} clamp gradient", _CLAMP_GRADIENT, num_rows * width)


def _over(context: Context, name: str, nbytes: float, elements: float) -> Block:
    """Several kernels in one instruction: what they move is what they take."""
    return (streaming(context.gpu, name, stream(context.gpu, nbytes * elements)),)
