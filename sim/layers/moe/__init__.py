"""A mixture of experts in place of the MLP: a router sends each token to `top_k` of `num_experts` narrow MLPs.

The experts are dealt to `ep` ranks, and each is cut over `etp`. So tokens travel: they are copied once for every expert
that they go to (permuted), carried to the ranks of these experts (dispatch), multiplied there, carried back (combine)
and summed. The fullest rank decides, for all meet at every dispatch and combine. Shared experts are a dense MLP that
needs none of this: what it computes runs beside the carrying [Megatron-Core, --moe-shared-expert-overlap].
"""

from sim.layers import dense
from sim.layers.context import Context, Pass, compute_pass, join, run, sixteen_bits
from sim.layers.linear import whole_kept_nbytes
from sim.layers.moe import dispatch, experts, router, shared
from sim.layers.moe.rows import fullest_rows, moe_of, of_experts
from sim.layers.moe.rows import kinds as kinds
from sim.layers.products import number_nbytes


def forward(context: Context) -> Pass:
    """One microbatch through router, experts and shared experts."""
    return join(
        compute_pass(router.forward(context)),
        dispatch.there(context, "forward", meanwhile=shared.up_forward(context)),
        compute_pass(experts.forward(context)),
        dispatch.back(context, "forward", meanwhile=shared.down_forward(context)),
        compute_pass(shared.sum_forward(context)),
    )


def backward(context: Context) -> Pass:
    """Gradients; the hidden state gets one from experts, router and shared experts each, and adds them."""
    if context.half == "weight":
        return _weight_gradients(context)
    num_sums = 2 if moe_of(context).shared_ffn else 1
    add = run(context, "expert gradient sum", "add", context.local_hidden_elements)
    return join(
        dispatch.there(context, "backward", meanwhile=shared.down_backward(context)),
        compute_pass(experts.backward(context)),
        dispatch.back(context, "backward", meanwhile=shared.up_backward(context)),
        compute_pass((*router.backward(context), *(add,) * num_sums)),
    )


def computed_again(context: Context) -> Pass:
    """What selective recomputation runs before the gradients: all, its dispatch and combine too, or the shared experts
    [Megatron-Core, moe/moe_layer.py, forward]; the activation comes later, with the experts' gradients.

    Where the norm before is computed again, the shared experts' product does not keep its input cast either [the same,
    set_for_recompute_pre_mlp_layernorm].
    """
    whole = forward(context) if context.recomputes("moe") else {}
    if context.recomputes("shared_experts"):
        return join(whole, shared.forward(context))
    casts = context.recomputes("layernorm") and not whole
    return join(whole, compute_pass(shared.input_cast(context) if casts else ()))


def saved_nbytes(context: Context) -> float:
    """Bytes kept for backward [Megatron-Core, moe/experts.py: probabilities are multiplied in the activation].

    What the router kept; the permuted tokens, input and output of the experts' activation, of the fullest rank; input
    and output of the shared experts' activation. Less what is computed again: nothing is kept if that is all.
    """
    if context.recomputes("moe"):
        return 0.0
    moe, rows = moe_of(context), fullest_rows(context)
    permuted = number_nbytes(context) * rows * context.model.hidden
    has_output = not context.recomputes("moe_act")
    activated = dense.activation_nbytes(of_experts(context), rows, moe.ffn, has_output=has_output)
    shared_ffn = 0 if context.recomputes("shared_experts") else moe.shared_ffn
    beside = dense.activation_nbytes(context, context.num_tokens, shared_ffn)
    return dispatch.routing_nbytes(context) + permuted + activated + beside


def saved_for_weights_nbytes(context: Context) -> float:
    """Bytes that stay from the input gradient to the weight gradient: inputs and output gradients of the products of
    experts, router and shared experts."""
    num_experts, ffn = moe_of(context).num_experts, moe_of(context).shared_ffn
    scores = whole_kept_nbytes(sixteen_bits(context), context.model.hidden, num_experts)
    beside = dense.saved_for_weights_nbytes(context, ffn) if ffn else 0.0
    return experts.saved_for_weights_nbytes(context) + scores + beside


def parameters(context: Context) -> int:
    """Parameters on one rank: 1/etp of each of num_experts / ep experts, 1/tp of the shared ones, the whole router."""
    ffn = moe_of(context).shared_ffn
    beside = dense.parameters(context, ffn) if ffn else 0
    return expert_parameters(context) + beside + router.parameters(context)


def expert_parameters(context: Context) -> int:
    """Those of them whose gradients are summed over `edp` ranks and not over all replicas: the rank's experts."""
    moe = moe_of(context)
    return moe.num_experts // context.ep * dense.parameters(of_experts(context), moe.ffn)


def replicated_parameters(context: Context) -> int:
    """Parameters that every tp rank holds whole: the router, and a bias after each sum over the ranks."""
    moe, model = moe_of(context), context.model
    cut_experts = moe.num_experts // context.ep if context.etp > 1 else 0
    num_biases = cut_experts + (1 if moe.shared_ffn else 0) if model.bias else 0
    return router.parameters(context) + num_biases * model.hidden


def _weight_gradients(context: Context) -> Pass:
    weights = (*experts.weight_gradients(context), *router.backward(context))
    return join(shared.weight_gradients(context), compute_pass(weights))
