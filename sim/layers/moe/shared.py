"""Shared experts: one dense MLP that every token meets, cut over tp as dense layers are, with its own collectives.

Its way up runs beside the dispatch of tokens and its way down beside the combine, and so do their gradients
[Megatron-Core, moe/shared_experts.py: overlap of fc1 with the first all-to-all and of fc2 with the second].
"""

from typing import Final

from sim.instructions import Block
from sim.layers import dense
from sim.layers.context import Context, Pass, compute_pass, join, run
from sim.layers.linear import column_backward, column_forward, row_backward, row_forward
from sim.layers.moe.rows import moe_of
from sim.layers.products import cast

SHARED: Final = "shared expert"
UP, DOWN = f"{SHARED} up", f"{SHARED} down"


def forward(context: Context) -> Pass:
    """All of them, before the others' gradients, where they are computed again: beside the dispatch that is refused
    [Megatron-Core, transformer_config.py: not with moe_shared_expert_overlap]."""
    return join(up_forward(context), down_forward(context))


def input_cast(context: Context) -> Block:
    """The cast of what they take."""
    if not moe_of(context).shared_ffn:
        return ()
    return cast(context, f"{UP} input", context.local_tokens, context.model.hidden, has_amax=True)


def up_forward(context: Context) -> Pass:
    """Up, with the gate, and the activation."""
    ffn = moe_of(context).shared_ffn
    if not ffn:
        return {}
    up = column_forward(context, UP, context.model.hidden, dense.up_width(context, ffn))
    return join(up, compute_pass(dense.activation_forward(context, SHARED, context.num_tokens, ffn)))


def down_forward(context: Context) -> Pass:
    """Down, and the sum over the tp ranks."""
    ffn = moe_of(context).shared_ffn
    return row_forward(context, DOWN, ffn, context.model.hidden) if ffn else {}


def sum_forward(context: Context) -> Block:
    """The result is added to that of the other experts."""
    add = run(context, "shared expert sum", "add", context.local_hidden_elements)
    return (add,) if moe_of(context).shared_ffn else ()


def down_backward(context: Context) -> Pass:
    """Gradients of the way down."""
    ffn = moe_of(context).shared_ffn
    return row_backward(context, DOWN, ffn, context.model.hidden) if ffn else {}


def up_backward(context: Context) -> Pass:
    """Gradients of the activation and of the way up."""
    ffn = moe_of(context).shared_ffn
    if not ffn:
        return {}
    activation = dense.activation_backward(context, SHARED, context.num_tokens, ffn)
    return join(
        compute_pass(activation), column_backward(context, UP, context.model.hidden, dense.up_width(context, ffn))
    )


def weight_gradients(context: Context) -> Pass:
    """Both weight gradients, the weight half of a backward pass."""
    ffn = moe_of(context).shared_ffn
    return dense.backward(context, SHARED, ffn) if ffn else {}
