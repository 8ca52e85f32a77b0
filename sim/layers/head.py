"""The head: last norm, logits over this rank's part of the vocabulary, and the loss without gathering the logits.

The cross entropy needs of the other ranks only each token's maximum, target logit and sum of exponentials: three small
all-reduces.
"""

import math
from typing import Final

from sim.costs import ELEMENT
from sim.costs.memory_bound import cross_entropy_backward, cross_entropy_forward
from sim.layers.context import (
    Context,
    Pass,
    collective_of,
    compute_pass,
    join,
    norm_forward,
    norm_parameters,
    run,
    streaming,
)
from sim.layers.linear import column_backward, column_forward

NORM, LOGITS = "final norm", "logits"
FLOAT: Final = 4
"""Bytes of the numbers that the loss reduces over the ranks."""


def forward(context: Context) -> Pass:
    """Norm, logits, loss."""
    seconds = cross_entropy_forward(context.gpu, _num_logits(context), context.framework.logits_nbytes)
    sums = tuple(
        instruction
        for name in ("maximum", "target", "sum")
        for instruction in collective_of(context, f"loss {name}", "all_reduce", FLOAT * context.num_tokens)
    )
    return join(
        compute_pass(norm_forward(context, NORM)),
        column_forward(context, LOGITS, context.model.hidden, _shard(context) * context.tp),
        compute_pass((streaming(context.gpu, "loss forward", seconds), *sums)),
    )


def backward(context: Context) -> Pass:
    """Gradients of the logits, of the hidden state, of the matrix; then of the norm, where no residual joins."""
    seconds = cross_entropy_backward(context.gpu, _num_logits(context), context.framework.logits_nbytes)
    return join(
        compute_pass((streaming(context.gpu, "loss backward", seconds),)),
        column_backward(context, LOGITS, context.model.hidden, _shard(context) * context.tp),
        compute_pass((run(context, f"{NORM} backward", "norm backward", context.local_hidden_elements),)),
    )


def saved_nbytes(context: Context) -> float:
    """Bytes kept for backward: the norm's input, the product's input, the probabilities (4sbv/t in fp32)."""
    inputs = 2 * ELEMENT * context.local_hidden_elements
    return inputs + context.framework.logits_nbytes * _num_logits(context)


def matrix_parameters(context: Context) -> int:
    """Parameters of the rank's part of the output matrix; tied, a last stage that is not the first holds a copy."""
    return _shard(context) * context.model.hidden


def final_norm_parameters(context: Context) -> int:
    """Parameters of the last norm."""
    return norm_parameters(context)


def _shard(context: Context) -> int:
    return math.ceil(context.model.vocab / context.tp)


def _num_logits(context: Context) -> int:
    return context.num_tokens * _shard(context)
