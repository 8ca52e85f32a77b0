"""A mixture of experts in place of the MLP: a router sends each token to `top_k` of `num_experts` narrow MLPs.

Every rank has all experts, and of each 1/tp of its width. So the tokens of all tp ranks are gathered, copied `top_k`
times in the order of experts (permuted), multiplied, put back and summed over the ranks [Megatron-Core, moe/:
MoEAllGatherTokenDispatcher with experts cut over tp]. Routing is taken as balanced: in truth the fullest expert sets
the time of a product.
"""

import math
from typing import Final

from sim.costs import ELEMENT, sharing
from sim.costs.expert_load import balanced_rows
from sim.costs.grouped_gemm import grouped_gemm, grouped_weight_gradient, law_of
from sim.costs.law import basis_of
from sim.instructions import Block, Compute
from sim.layers import dense
from sim.layers.context import Context, Pass, compute_pass, gathered, join, run, scattered_sum
from sim.layers.linear import whole_backward, whole_forward
from sim.models.transformer import Moe

ROUTER, SHARED, EXPERTS = "router", "shared expert", "experts"
UP, DOWN = f"{EXPERTS} up", f"{EXPERTS} down"

PROBABILITY: Final = 4
"""Bytes of a router's probability."""

CHOICE: Final = 1
"""Bytes that say whether a token goes to an expert."""


def forward(context: Context) -> Pass:
    """One microbatch through shared experts, router and experts."""
    return join(_shared_forward(context), compute_pass((*_route(context), *_experts_forward(context))))


def backward(context: Context) -> Pass:
    """Gradients; the hidden state gets one from experts, router and shared experts each, and adds them."""
    num_sums = 2 if _moe(context).shared_ffn else 1
    add = run(context, "expert gradient sum", "add", context.local_hidden_elements)
    return join(
        compute_pass((*_experts_backward(context), *_route_backward(context))),
        _shared_backward(context),
        compute_pass((add,) * num_sums),
    )


def saved_nbytes(context: Context) -> float:
    """Bytes kept for backward [Megatron-Core, moe/experts.py: probabilities are multiplied in the activation].

    The router's probabilities, of its tokens and gathered, and choices; the permuted tokens, whole on every tp rank;
    input and output of the experts' activation, and of the shared experts'.
    """
    moe, rows = _moe(context), _num_rows(context)
    routing = PROBABILITY * context.local_tokens + (PROBABILITY + CHOICE) * context.num_tokens
    permuted = ELEMENT * rows * context.model.hidden
    shared = dense.activation_nbytes(context, context.num_tokens, moe.shared_ffn)
    return moe.num_experts * routing + permuted + dense.activation_nbytes(context, rows, moe.ffn) + shared


def parameters(context: Context) -> int:
    """Parameters on one tp rank: 1/tp of each expert, the whole router."""
    moe = _moe(context)
    shared = dense.parameters(context, moe.shared_ffn) if moe.shared_ffn else 0
    return moe.num_experts * dense.parameters(context, moe.ffn) + shared + _router_parameters(context)


def replicated_parameters(context: Context) -> int:
    """Parameters that every tp rank holds whole: the router, and a bias after each expert's sum over the ranks."""
    moe, model = _moe(context), context.model
    num_biases = moe.num_experts + (1 if moe.shared_ffn else 0) if model.bias else 0
    return _router_parameters(context) + num_biases * model.hidden


def _moe(context: Context) -> Moe:
    moe = context.model.moe
    assert moe is not None
    return moe


def _num_rows(context: Context) -> int:
    """Rows of the permuted tokens: each token once for every expert that it goes to."""
    return context.num_tokens * _moe(context).top_k


def _router_parameters(context: Context) -> int:
    return context.model.hidden * _moe(context).num_experts


def _route(context: Context) -> Block:
    """Scores of all experts, the best few, their probabilities; all ranks' choices and probabilities gathered."""
    num_experts = _moe(context).num_experts
    scores = context.local_tokens * num_experts
    return (
        *whole_forward(context, ROUTER, context.model.hidden, num_experts),
        run(context, "router top-k", "top-k", scores),
        run(context, "router softmax forward", "router softmax forward", scores),
        *gathered(context, "choice gather", CHOICE * context.num_tokens * num_experts),
        *gathered(context, "probability gather", PROBABILITY * context.num_tokens * num_experts),
    )


def _route_backward(context: Context) -> Block:
    num_experts = _moe(context).num_experts
    scores = context.local_tokens * num_experts
    return (
        *scattered_sum(context, "probability gradient sum", PROBABILITY * context.num_tokens * num_experts),
        run(context, "router softmax backward", "router softmax backward", scores),
        *whole_backward(context, ROUTER, context.model.hidden, num_experts),
    )


def _experts_forward(context: Context) -> Block:
    """Tokens are copied to the order of experts, and each expert's results added to its tokens' sums."""
    ffn, hidden, rows = _moe(context).ffn, context.model.hidden, _num_rows(context)
    return (
        *gathered(context, "token gather", context.hidden_nbytes),
        run(context, "permute", "permute", rows * hidden),
        _grouped(context, f"{UP} forward", hidden, dense.up_width(context, ffn) // context.tp),
        *dense.activation_forward(context, EXPERTS, rows, ffn),
        _grouped(context, f"{DOWN} forward", ffn // context.tp, hidden),
        run(context, "unpermute", "unpermute", rows * hidden),
        *scattered_sum(context, "token sum", context.hidden_nbytes),
    )


def _experts_backward(context: Context) -> Block:
    """The permuted tokens were kept, so nothing is gathered but the gradient."""
    ffn, hidden, rows = _moe(context).ffn, context.model.hidden, _num_rows(context)
    up, local = dense.up_width(context, ffn) // context.tp, ffn // context.tp
    bias = (run(context, f"{DOWN} bias gradient", "bias gradient", rows * hidden),) if context.model.bias else ()
    return (
        *gathered(context, "token gradient gather", context.hidden_nbytes),
        run(context, "unpermute gradient", "permute", rows * hidden),
        *bias,
        _grouped(context, f"{DOWN} input gradient", hidden, local),
        _grouped_weight_gradient(context, DOWN, local, hidden),
        *dense.activation_backward(context, EXPERTS, rows, ffn),
        _grouped(context, f"{UP} input gradient", up, hidden),
        _grouped_weight_gradient(context, UP, hidden, up),
        run(context, "permute gradient", "unpermute", rows * hidden),
        *scattered_sum(context, "token gradient sum", context.hidden_nbytes),
    )


def _grouped(context: Context, name: str, width_in: int, width_out: int) -> Compute:
    """One product per expert, all in one kernel; where there are fewer rows than experts, some have none."""
    rows, num_busy = _mean_rows(context)
    shape = rows, width_out, width_in, context.precision
    seconds = grouped_gemm(context.gpu, _rows_per_expert(context), *shape[1:])
    load = sharing.product(context.gpu, seconds, *shape, batch=num_busy)
    basis = basis_of(context.gpu, law_of(context.precision), seconds, is_measured=name.endswith("forward"))
    return Compute(name=name, duration=seconds, load=load, basis=basis)


def _grouped_weight_gradient(context: Context, name: str, width_in: int, width_out: int) -> Compute:
    """Every microbatch each busy expert's accumulated gradient is read, and written with the product added."""
    rows, num_busy = _mean_rows(context)
    nbytes = 2 * context.framework.gradient_nbytes
    shape = width_out, width_in, rows, context.precision
    all_rows = _rows_per_expert(context)
    seconds = grouped_weight_gradient(
        context.gpu, all_rows, width_out, width_in, context.precision, output_nbytes=nbytes
    )
    load = sharing.product(context.gpu, seconds, *shape, batch=num_busy, output_nbytes=nbytes)
    basis = basis_of(context.gpu, law_of(context.precision), seconds, is_measured=False)
    return Compute(name=f"{name} weight gradient", duration=seconds, load=load, basis=basis)


def _rows_per_expert(context: Context) -> tuple[int, ...]:
    """Routing is balanced: experts' rows differ by one at most."""
    return balanced_rows(_num_rows(context), _moe(context).num_experts)


def _mean_rows(context: Context) -> tuple[int, int]:
    """Rows of an expert that has any, and how many have."""
    num_busy = min(_moe(context).num_experts, _num_rows(context))
    return math.ceil(_num_rows(context) / num_busy), num_busy


def _shared_forward(context: Context) -> Pass:
    """Shared experts are one dense MLP with its own collectives; its result is added to that of the others."""
    ffn = _moe(context).shared_ffn
    if not ffn:
        return {}
    add = run(context, "shared expert sum", "add", context.local_hidden_elements)
    return join(dense.forward(context, SHARED, ffn), compute_pass((add,)))


def _shared_backward(context: Context) -> Pass:
    ffn = _moe(context).shared_ffn
    return dense.backward(context, SHARED, ffn) if ffn else {}
