"""A transformer layer, forward and backward, as the kernels and collectives of one tp rank for one microbatch.

Its kind says whether it has experts in place of the MLP, and a window on its attention.

Recomputation [Korthikanti et al. 2022]: full runs the whole layer forward again before its backward, its collectives
too; selective runs only the attention core again, which is cheap to compute and large to keep.
"""

from dataclasses import replace

from sim.costs import ELEMENT
from sim.instructions import Collective, Compute, Instruction
from sim.layers import attention, mlp
from sim.layers.context import Context as Context
from sim.layers.context import Pass as Pass
from sim.layers.context import join


def forward(context: Context) -> Pass:
    """One microbatch through one layer."""
    return join(attention.forward(context), mlp.forward(context))


def backward(context: Context) -> Pass:
    """Gradients of one microbatch of one layer, with what is recomputed before."""
    gradients = join(mlp.backward(context), attention.backward(context))
    if context.recompute != "full":
        return gradients
    again = {stream: tuple(map(_again, block)) for stream, block in forward(context).items()}
    return join(again, gradients)


def saved_nbytes(context: Context) -> float:
    """Bytes of activations that one layer keeps of one microbatch until its backward.

    Full recomputation keeps the layer's input: 2sbh, on every tp rank unless cut along the sequence.
    """
    if context.recompute == "full":
        return ELEMENT * context.local_hidden_elements
    return attention.saved_nbytes(context) + mlp.saved_nbytes(context)


def parameters(context: Context) -> int:
    """Parameters of one layer on one tp rank."""
    return attention.parameters(context) + mlp.parameters(context)


def replicated_parameters(context: Context) -> int:
    """Parameters of one layer that every tp rank holds whole: norms, biases after a sum over the ranks, routers,
    products down to a latent."""
    return attention.replicated_parameters(context) + mlp.replicated_parameters(context)


def _again(instruction: Instruction) -> Instruction:
    """The same, told apart by name. A forward pass runs on the compute stream only and has no flags."""
    assert isinstance(instruction, Compute | Collective)
    return replace(instruction, name=f"recompute {instruction.name}")
