"""The router: a score of each expert for each token, the best few, their probabilities.

It is whole on every rank, works on the rank's own tokens, and stays in 16 bits [DeepSeek-V3, arXiv 2412.19437, 3.3.1:
gating keeps its precision; Megatron-Core, moe/router.py: --moe-router-dtype, none by default].
"""

from typing import Final

from sim.instructions import Block
from sim.layers.context import Context, run, sixteen_bits
from sim.layers.linear import whole_backward, whole_forward
from sim.layers.moe.rows import moe_of

ROUTER: Final = "router"


def forward(context: Context) -> Block:
    """Scores, choice, probabilities."""
    num_experts = moe_of(context).num_experts
    scores = context.local_tokens * num_experts
    return (
        *whole_forward(sixteen_bits(context), ROUTER, context.model.hidden, num_experts),
        run(context, "router top-k", "top-k", scores),
        run(context, "router softmax forward", "router softmax forward", scores),
    )


def backward(context: Context) -> Block:
    """Gradients of the probabilities' scores, of the tokens, of the weights; the last alone in the weight half."""
    num_experts = moe_of(context).num_experts
    softmax = run(context, "router softmax backward", "router softmax backward", context.local_tokens * num_experts)
    gradients = whole_backward(sixteen_bits(context), ROUTER, context.model.hidden, num_experts)
    return gradients if context.half == "weight" else (softmax, *gradients)


def parameters(context: Context) -> int:
    """One score per expert."""
    return context.model.hidden * moe_of(context).num_experts
