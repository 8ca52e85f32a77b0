"""The MLP half of a layer: norm, a dense MLP or a mixture of experts, residual."""

from sim.costs import ELEMENT
from sim.layers import dense, moe
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
    saved_norm_and_residual,
)
from sim.layers.overlap import again
from sim.layers.products import number_nbytes

NORM, MLP = "mlp norm", "mlp"


def forward(context: Context) -> Pass:
    """One microbatch through the block."""
    has_experts, ffn = context.kind.has_experts, context.model.ffn
    return join(
        compute_pass(norm_forward(context, NORM)),
        moe.forward(context) if has_experts else dense.forward(context, MLP, ffn),
        compute_pass(residual_forward(context, MLP)),
    )


def recomputed(context: Context) -> Pass:
    """What full recomputation runs again: all of the block, or where it stops early what gradients need. The outputs of
    experts are among that: the gradient of their weights in the sum."""
    if context.kind.has_experts or not context.framework.recompute_stops_early:
        return forward(context)
    return join(compute_pass(norm_forward(context, NORM)), dense.forward_to_activation(context, MLP, context.model.ffn))


def backward(context: Context) -> Pass:
    """Gradients of the block."""
    has_experts, ffn = context.kind.has_experts, context.model.ffn
    gradients = moe.backward(context) if has_experts else dense.backward(context, MLP, ffn)
    if context.half == "weight":
        return gradients
    return join(
        compute_pass(residual_backward(context, MLP)),
        again(_computed_again(context)),
        gradients,
        compute_pass(norm_backward(context, NORM)),
    )


def _computed_again(context: Context) -> Pass:
    """What selective recomputation runs before the gradients.

    A dense MLP has its norm inside; only in front of experts the norm is a module of its own [Megatron-Core,
    gpt_layer_specs.py: pre_mlp_layernorm; transformer_layer.py, recompute_mlp and recompute_pre_mlp_layernorm].
    """
    norm = compute_pass(norm_forward(context, NORM))
    if context.kind.has_experts:
        return join(norm if context.recomputes("layernorm") else {}, moe.computed_again(context))
    return join(norm, dense.forward(context, MLP, context.model.ffn)) if context.recomputes("mlp") else {}


def saved_nbytes(context: Context) -> float:
    """Bytes kept for backward: norm and residual, the activation's input and output [Korthikanti et al. 2022]."""
    if context.kind.has_experts:
        normed = 0.0 if context.recomputes("layernorm") else ELEMENT
        return saved_norm_and_residual(context, normed) + moe.saved_nbytes(context)
    if context.recomputes("mlp"):
        return saved_norm_and_residual(context, 0.0)
    activation = dense.activation_nbytes(context, context.num_tokens, context.model.ffn)
    return saved_norm_and_residual(context, number_nbytes(context)) + activation


def saved_for_weights_nbytes(context: Context) -> float:
    """Bytes that a backward pass of inputs alone leaves for that of weights."""
    if context.kind.has_experts:
        return moe.saved_for_weights_nbytes(context)
    return dense.saved_for_weights_nbytes(context, context.model.ffn)


def parameters(context: Context) -> int:
    """Parameters on one tp rank: its columns and rows, the whole norm and output bias."""
    has_experts, ffn = context.kind.has_experts, context.model.ffn
    return norm_parameters(context) + (moe.parameters(context) if has_experts else dense.parameters(context, ffn))


def replicated_parameters(context: Context) -> int:
    """Parameters that every tp rank holds whole: the norm, the router, biases after a sum over the ranks."""
    if context.kind.has_experts:
        return norm_parameters(context) + moe.replicated_parameters(context)
    return norm_parameters(context) + (context.model.hidden if context.model.bias else 0)
