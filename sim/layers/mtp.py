"""Multi-token prediction: after the last layer one more layer predicts the token after the next, and so on.

It sees the hidden state so far beside the embedding of the next token: both normed, put side by side and projected back
to one width; then comes a layer of the last kind, and the head's product and loss once more, with the weights that
embedding and head have already [DeepSeek-V3, arXiv 2412.19437, section 2.2; Megatron-Core, multi_token_prediction.py].
"""

from dataclasses import replace
from typing import Final

from sim import layers
from sim.costs import ELEMENT
from sim.instructions import Record, Wait
from sim.layers import embedding, head
from sim.layers.context import (
    Context,
    Pass,
    collective_of,
    compute_pass,
    join,
    norm_forward,
    norm_parameters,
    run,
)
from sim.layers.linear import column_backward, column_forward, column_kept_nbytes
from sim.layers.overlap import again

PREDICTION: Final = "prediction"
PROJECTION: Final = f"{PREDICTION} projection"


def forward(context: Context) -> Pass:
    """One microbatch through all predictions, one after the other; `context.kind` is that of the last layer."""
    once = join(embedding.forward(context), _entrance_forward(context), layers.forward(context), head.forward(context))
    return _for_each(context, once)


def backward(context: Context) -> Pass:
    """Gradients, last prediction first, with what is recomputed before; the embedding's rows are added to its own."""
    layer = layers.backward(context)
    repeats = context.recompute == "full" and context.half != "weight"
    once = join(
        head.backward(context),
        again(_entrance_forward(context)) if repeats else {},
        layer,
        _entrance_backward(context),
        embedding.backward(context) if context.half != "input" else {},
    )
    return _for_each(context, once)


def saved_nbytes(context: Context) -> float:
    """Bytes kept for backward of all predictions: what both norms take and, unless it is computed again, the
    projection's input; then layer and head."""
    wide = 2 * ELEMENT * context.local_hidden_elements
    entrance = wide if context.recompute == "full" else 2 * wide
    once = entrance + layers.saved_nbytes(context) + head.saved_nbytes(context) + embedding.saved_nbytes(context)
    return context.model.mtp_layers * once


def saved_for_weights_nbytes(context: Context) -> float:
    """Bytes that stay from the input gradient to the weight gradient of all predictions: what layer, head and embedding
    keep, and the projection's input and output gradient."""
    projection = column_kept_nbytes(context, 2 * context.model.hidden, context.model.hidden)
    ends = head.saved_for_weights_nbytes(context) + embedding.saved_for_weights_nbytes(context)
    return context.model.mtp_layers * (projection + layers.saved_for_weights_nbytes(context) + ends)


def parameters(context: Context) -> int:
    """Parameters of all predictions on one rank, experts included: three norms, the projection's columns, a layer.

    The matrices of embedding and head are those of the model; a last stage that is not the first has a copy of the
    embedding (`sim.layers.embedding.parameters`).
    """
    hidden = context.model.hidden
    once = 3 * norm_parameters(context) + 2 * hidden * hidden // context.tp + layers.parameters(context)
    return context.model.mtp_layers * once


def replicated_parameters(context: Context) -> int:
    """Parameters of all predictions that every tp rank holds whole: norms, and those of the layer."""
    return context.model.mtp_layers * (3 * norm_parameters(context) + layers.replicated_parameters(context))


def _entrance_forward(context: Context) -> Pass:
    """Two norms, both results side by side, the projection; its columns are gathered over the tp ranks."""
    hidden = context.model.hidden
    return join(
        compute_pass(
            (
                *norm_forward(context, f"{PREDICTION} embedding norm"),
                *norm_forward(context, f"{PREDICTION} hidden norm"),
                run(context, f"{PREDICTION} side by side", "copy", 2 * context.local_hidden_elements),
            )
        ),
        column_forward(context, PROJECTION, 2 * hidden, hidden),
        compute_pass(collective_of(context, f"{PROJECTION} output gather", "all_gather", context.hidden_nbytes)),
    )


def _entrance_backward(context: Context) -> Pass:
    """With sequence parallelism the gradient of the gathered columns comes in pieces of the sequence."""
    hidden, elements = context.model.hidden, context.local_hidden_elements
    projection = column_backward(context, PROJECTION, 2 * hidden, hidden)
    if context.half == "weight":
        return projection
    nbytes = context.hidden_nbytes
    name = f"{PROJECTION} output gradient gather"
    gather = collective_of(context, name, "all_gather", nbytes) if context.sp else ()
    norms = (
        run(context, f"{PREDICTION} embedding norm backward", "norm backward", elements),
        run(context, f"{PREDICTION} hidden norm backward", "norm backward", elements),
        run(context, f"{PREDICTION} gradient sum", "add", elements),
    )
    return join(compute_pass(gather), projection, compute_pass(norms))


def _for_each(context: Context, once: Pass) -> Pass:
    """The pass of all predictions, the flags of each told apart from those of the others."""
    return join(*(_numbered(once, number) for number in range(context.model.mtp_layers)))


def _numbered(work: Pass, number: int) -> Pass:
    if number == 0:
        return work
    return {
        stream: tuple(
            replace(entry, flag=f"{entry.flag} {number}") if isinstance(entry, Record | Wait) else entry
            for entry in block
        )
        for stream, block in work.items()
    }
