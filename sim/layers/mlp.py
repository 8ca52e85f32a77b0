"""The MLP half of a layer: norm, up (with its gate), activation, down, residual. tp ranks share its width."""

from sim.costs import ELEMENT
from sim.costs.memory_bound import Kernel
from sim.instructions import Block
from sim.layers.context import (
    Context,
    Pass,
    compute_pass,
    join,
    norm_backward,
    norm_forward,
    norm_parameters,
    residual_backward,
    residual_forward,
    run,
    saved_norm_and_residual,
)
from sim.layers.linear import column_backward, column_forward, row_backward, row_forward

NORM, UP, DOWN = "mlp norm", "mlp up", "mlp down"


def forward(context: Context) -> Pass:
    """One microbatch through the block."""
    model = context.model
    return join(
        compute_pass(norm_forward(context, NORM)),
        column_forward(context, UP, model.hidden, _up_width(context)),
        compute_pass(_activation_forward(context)),
        row_forward(context, DOWN, model.ffn, model.hidden),
        compute_pass(residual_forward(context, "mlp")),
    )


def backward(context: Context) -> Pass:
    """Gradients of the block."""
    model = context.model
    return join(
        compute_pass(residual_backward(context, "mlp")),
        row_backward(context, DOWN, model.ffn, model.hidden),
        compute_pass(_activation_backward(context)),
        column_backward(context, UP, model.hidden, _up_width(context)),
        compute_pass(norm_backward(context, NORM)),
    )


def saved_nbytes(context: Context) -> float:
    """Bytes kept for backward: norm and residual, the activation's input and output [Korthikanti et al. 2022]."""
    widths = (_up_width(context) + context.model.ffn) / context.tp
    return saved_norm_and_residual(context) + ELEMENT * context.num_tokens * widths


def parameters(context: Context) -> int:
    """Parameters on one tp rank: its columns and rows, the whole norm and output bias."""
    model = context.model
    weights = model.hidden * (_up_width(context) + model.ffn) // context.tp
    biases = _up_width(context) // context.tp + model.hidden if model.bias else 0
    return weights + biases + norm_parameters(context)


def _up_width(context: Context) -> int:
    return context.model.ffn * (2 if context.model.gated_mlp else 1)


def _activation_forward(context: Context) -> Block:
    elements = context.num_tokens * context.model.ffn / context.tp
    kernel: Kernel = "swiglu forward" if context.model.gated_mlp else "gelu forward"
    alone = context.model.bias and not context.framework.fused_bias_dropout
    bias = (run(context, "mlp up bias", "add bias", context.num_tokens * _up_width(context) / context.tp),)
    return (*(bias if alone else ()), run(context, "activation forward", kernel, elements))


def _activation_backward(context: Context) -> Block:
    tokens, tp = context.num_tokens, context.tp
    kernel: Kernel = "swiglu backward" if context.model.gated_mlp else "gelu backward"
    activation = run(context, "activation backward", kernel, tokens * context.model.ffn / tp)
    bias = run(context, "mlp up bias gradient", "bias gradient", tokens * _up_width(context) / tp)
    return (activation, bias) if context.model.bias else (activation,)
