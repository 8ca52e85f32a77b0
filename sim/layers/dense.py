"""A dense MLP: up (with its gate), activation, down. tp ranks share its width, and sum what comes down.

SwiGLU and GEGLU move the same bytes, and so do GeLU and squared ReLU: the activation's formula costs nothing.
"""

from sim.costs import ELEMENT
from sim.costs.memory_bound import Kernel
from sim.instructions import Block
from sim.layers.context import Context, Pass, compute_pass, join, run
from sim.layers.linear import (
    column_backward,
    column_forward,
    column_kept_nbytes,
    column_weights,
    row_backward,
    row_forward,
    row_kept_nbytes,
    row_weights,
)
from sim.layers.products import number_nbytes


def forward(context: Context, name: str, ffn: int) -> Pass:
    """One microbatch through an MLP that is `ffn` wide on all tp ranks together."""
    return join(
        forward_to_activation(context, name, ffn), row_forward(context, f"{name} down", ffn, context.model.hidden)
    )


def forward_to_activation(context: Context, name: str, ffn: int) -> Pass:
    """The same without its last product, which no gradient needs."""
    return join(
        column_forward(context, f"{name} up", context.model.hidden, up_width(context, ffn)),
        compute_pass(activation_forward(context, name, context.num_tokens, ffn)),
    )


def backward(context: Context, name: str, ffn: int) -> Pass:
    """Gradients of the MLP."""
    if context.half == "weight":
        down = row_weights(context, f"{name} down", ffn, context.model.hidden)
        return column_weights(context, f"{name} up", context.model.hidden, up_width(context, ffn), down)
    return join(
        row_backward(context, f"{name} down", ffn, context.model.hidden),
        compute_pass(activation_backward(context, name, context.num_tokens, ffn)),
        column_backward(context, f"{name} up", context.model.hidden, up_width(context, ffn)),
    )


def saved_for_weights_nbytes(context: Context, ffn: int) -> float:
    """Bytes that a backward pass of inputs alone leaves for that of weights."""
    up = column_kept_nbytes(context, context.model.hidden, up_width(context, ffn))
    return up + row_kept_nbytes(context, ffn, context.model.hidden)


def parameters(context: Context, ffn: int) -> int:
    """Parameters of one MLP on one tp rank: its columns and rows, the whole output bias."""
    width, hidden = up_width(context, ffn), context.model.hidden
    biases = width // context.tp + hidden if context.model.bias else 0
    return hidden * (width + ffn) // context.tp + biases


def up_width(context: Context, ffn: int) -> int:
    """Width of what the activation takes: twice the MLP's where it is gated."""
    return ffn * (2 if context.model.gated_mlp else 1)


def activation_forward(context: Context, name: str, num_tokens: int, ffn: int) -> Block:
    """The activation of this rank's part of the width; the bias before it where no kernel does both."""
    kernel: Kernel = "swiglu forward" if context.model.gated_mlp else "gelu forward"
    framework = context.framework
    alone = context.model.bias and not framework.fused_bias_dropout and not framework.bias_in_product
    bias = (run(context, f"{name} up bias", "add bias", num_tokens * up_width(context, ffn) / context.tp),)
    return (*(bias if alone else ()), run(context, "activation forward", kernel, num_tokens * ffn / context.tp))


def activation_backward(context: Context, name: str, num_tokens: int, ffn: int) -> Block:
    """Gradients of the activation's input and of the bias."""
    kernel: Kernel = "swiglu backward" if context.model.gated_mlp else "gelu backward"
    activation = run(context, "activation backward", kernel, num_tokens * ffn / context.tp)
    bias = run(context, f"{name} up bias gradient", "bias gradient", num_tokens * up_width(context, ffn) / context.tp)
    return (activation, bias) if context.model.bias else (activation,)


def activation_nbytes(context: Context, num_tokens: int, ffn: int, *, has_output: bool = True) -> float:
    """Bytes of the activation's input and output on this rank, which are kept for backward; the output as the product
    down takes it, unless it is computed again."""
    output = number_nbytes(context) * ffn if has_output else 0.0
    return num_tokens * (ELEMENT * up_width(context, ffn) + output) / context.tp
