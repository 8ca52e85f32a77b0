"""A transformer layer, forward and backward, as the kernels and collectives of one tp rank for one microbatch.

Its kind says whether it has experts in place of the MLP, and a window on its attention.

Recomputation [Korthikanti et al. 2022]: full runs the whole layer forward again before its backward, its collectives
too; selective only modules of it, by default the attention core: cheap to compute and large to keep. Of some the output
goes too (norms, activations, the products up from MLA's latents) [Megatron-Core, CheckpointWithoutOutput].
"""

from dataclasses import replace

from sim.costs import ELEMENT
from sim.instructions import Compute
from sim.layers import attention, latent_attention, mlp, moe, products
from sim.layers.context import Context as Context
from sim.layers.context import Pass as Pass
from sim.layers.context import join
from sim.layers.overlap import again


def forward(context: Context) -> Pass:
    """One microbatch through one layer."""
    return join(attention.forward(context), mlp.forward(context))


def backward(context: Context) -> Pass:
    """Gradients of one microbatch of one layer, with what is recomputed before; or half of them (`context.half`).

    What is recomputed is there for the weight gradients too, so it runs with those of the inputs.
    """
    gradients = join(mlp.backward(context), attention.backward(context))
    if context.recompute != "full" or context.half == "weight":
        return gradients
    return join(again(join(attention.forward(context), mlp.recomputed(context))), gradients)


def saved_nbytes(context: Context) -> float:
    """Bytes of activations that one layer keeps of one microbatch until its backward.

    Full recomputation keeps the layer's input: 2sbh, on every tp rank unless cut along the sequence.
    """
    if context.recompute == "full":
        return ELEMENT * context.local_hidden_elements
    return attention.saved_nbytes(context) + mlp.saved_nbytes(context)


def recomputed_nbytes(context: Context) -> float:
    """Bytes of what a layer has computed again while its gradients are made, beyond what it keeps: all of it, or
    selectively of the half that the gradients are in."""
    whole = replace(context, recompute="none")
    if context.recompute == "full":
        return saved_nbytes(whole) - saved_nbytes(context)
    of_attention = attention.saved_nbytes(whole) - attention.saved_nbytes(context)
    return max(of_attention, mlp.saved_nbytes(whole) - mlp.saved_nbytes(context))


def saved_for_weights_nbytes(context: Context) -> float:
    """Bytes that a layer keeps of one microbatch from the gradients of inputs to those of weights: what the products of
    the latter take, whatever was recomputed."""
    return attention.saved_for_weights_nbytes(context) + mlp.saved_for_weights_nbytes(context)


def weight_casts(context: Context) -> tuple[Compute, ...]:
    """The cast of one layer's weights to 8 or 4 bits, once a step; none in 16 bits. Biases are counted in, < 0.1 %."""
    down = latent_attention.down_parameters(context) if context.model.mla else 0
    return products.weight_casts(context, parameters(context) - replicated_parameters(context) + down)


def parameters(context: Context) -> int:
    """Parameters of one layer on one tp rank."""
    return attention.parameters(context) + mlp.parameters(context)


def expert_parameters(context: Context) -> int:
    """Those of them that belong to experts, whose gradients are summed over other ranks."""
    return moe.expert_parameters(context) if context.kind.has_experts else 0


def replicated_parameters(context: Context) -> int:
    """Parameters of one layer that every tp rank holds whole: norms, biases after a sum over the ranks, routers,
    products down to a latent."""
    return attention.replicated_parameters(context) + mlp.replicated_parameters(context)
