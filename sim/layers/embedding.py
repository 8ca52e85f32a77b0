"""The embedding: each tp rank looks up the tokens of its part of the vocabulary, and the ranks' results are summed.

With sequence parallelism the sum is a reduce-scatter, and positions and dropout work on 1/tp of the tokens.
"""

from sim.costs import ELEMENT
from sim.costs.memory_bound import embedding_gradient
from sim.layers.context import Context, Pass, compute_pass, gathered, run, scattered_sum, streaming, vocab_share


def forward(context: Context) -> Pass:
    """Lookup, zeros for the other ranks' tokens, their sum, positions, dropout."""
    elements, local = context.hidden_elements, context.local_hidden_elements
    lookup = (run(context, "embedding lookup", "lookup", elements),)
    mask = (run(context, "embedding mask", "copy", elements),) if context.tp > 1 else ()
    add = scattered_sum(context, "embedding sum", context.hidden_nbytes)
    learned = context.model.position == "learned"
    position = (run(context, "position embedding", "add", local),) if learned else ()
    drop = (run(context, "embedding dropout forward", "dropout forward", local),) if context.dropout else ()
    return compute_pass((*lookup, *mask, *add, *position, *drop))


def backward(context: Context) -> Pass:
    """Dropout, the gradient gathered where it is cut along the sequence, rows added to the weight gradient.

    There is no input gradient: of a split pass all of it is the weight half.
    """
    if context.half == "input":
        return {}
    local = context.local_hidden_elements
    drop = (run(context, "embedding dropout backward", "dropout backward", local),) if context.dropout else ()
    gather = gathered(context, "embedding gradient gather", context.hidden_nbytes)
    seconds = embedding_gradient(context.gpu, parameters(context), context.framework.gradient_nbytes)
    return compute_pass((*drop, *gather, streaming(context.gpu, "embedding weight gradient", seconds)))


def saved_nbytes(context: Context) -> float:
    """Bytes kept for backward: the dropout mask [Korthikanti et al. 2022, section 4.3]; token ids are < 0.1 % of it."""
    return context.local_hidden_elements if context.dropout else 0.0


def saved_for_weights_nbytes(context: Context) -> float:
    """Bytes that wait for a separate weight pass: the gradient of the output, and the mask that it goes through."""
    return ELEMENT * context.local_hidden_elements + saved_nbytes(context)


def parameters(context: Context) -> int:
    """Parameters on one tp rank: its part of the vocabulary, and all learned positions."""
    model = context.model
    positions = model.max_seq_len if model.position == "learned" else 0
    return (vocab_share(context) + positions) * model.hidden
