"""The head: last norm, logits over this rank's part of the vocabulary, and the loss without gathering the logits.

The cross entropy needs of the other ranks only each token's maximum, target logit and sum of exponentials: three small
all-reduces, or where the loss is one kernel one small all-gather. All stays in 16 bits or more.
"""

from typing import Final

from sim.costs import ELEMENT
from sim.costs.memory_bound import (
    cross_entropy_backward,
    cross_entropy_forward,
    cross_entropy_metric,
    fused_cross_entropy_backward,
    fused_cross_entropy_forward,
)
from sim.instructions import Block
from sim.layers.context import (
    Context,
    Pass,
    collective_of,
    compute_pass,
    join,
    norm_forward,
    norm_parameters,
    run,
    sixteen_bits,
    streaming,
    vocab_share,
)
from sim.layers.linear import column_backward, column_forward, column_kept_nbytes, column_weights

NORM, LOGITS = "final norm", "logits"
FLOAT: Final = 4
"""Bytes of the numbers that the loss reduces over the ranks."""


def forward(context: Context) -> Pass:
    """Norm, logits, loss; and what is computed of the logits to be logged."""
    return join(
        compute_pass(norm_forward(context, NORM)),
        column_forward(sixteen_bits(context), LOGITS, context.model.hidden, _width(context)),
        compute_pass((streaming(context.gpu, "loss forward", _loss_forward(context)), *_loss_sums(context))),
        compute_pass(_metrics(context)),
    )


def backward(context: Context) -> Pass:
    """Gradients of the logits, of the hidden state, of the matrix; then of the norm, where no residual joins."""
    logits = sixteen_bits(context)
    if context.half == "weight":
        return column_weights(logits, LOGITS, context.model.hidden, _width(context))
    return join(
        compute_pass((streaming(context.gpu, "loss backward", _loss_backward(context)),)),
        column_backward(logits, LOGITS, context.model.hidden, _width(context)),
        compute_pass((run(context, f"{NORM} backward", "norm backward", context.local_hidden_elements),)),
    )


def saved_nbytes(context: Context) -> float:
    """Bytes kept for backward: the norm's input, the product's input, the probabilities (4sbv/t in fp32).

    A loss of one kernel keeps the 16-bit logits only, and puts their gradient in their place.
    """
    inputs = 2 * ELEMENT * context.local_hidden_elements
    return inputs + context.framework.logits_nbytes * _num_logits(context)


def saved_for_weights_nbytes(context: Context) -> float:
    """Bytes that a backward pass of inputs alone leaves for that of the matrix."""
    return column_kept_nbytes(sixteen_bits(context), context.model.hidden, _width(context))


def matrix_parameters(context: Context) -> int:
    """Parameters of the rank's part of the output matrix; tied, a last stage that is not the first holds a copy."""
    return vocab_share(context) * context.model.hidden


def final_norm_parameters(context: Context) -> int:
    """Parameters of the last norm."""
    return norm_parameters(context)


def _loss_forward(context: Context) -> float:
    """Seconds."""
    if context.framework.fused_cross_entropy:
        return fused_cross_entropy_forward(context.gpu, _num_logits(context), context.framework.logits_nbytes)
    return cross_entropy_forward(context.gpu, _num_logits(context), context.framework.logits_nbytes)


def _loss_backward(context: Context) -> float:
    """Seconds."""
    if context.framework.fused_cross_entropy:
        return fused_cross_entropy_backward(context.gpu, _num_logits(context), context.framework.logits_nbytes)
    return cross_entropy_backward(context.gpu, _num_logits(context), context.framework.logits_nbytes)


def _metrics(context: Context) -> Block:
    metric = streaming(context.gpu, "logged loss", cross_entropy_metric(context.gpu, _num_logits(context)))
    return (metric,) * context.framework.loss_metrics


def _loss_sums(context: Context) -> Block:
    """What the ranks tell each other; of one kernel, all three numbers of a token are gathered at once [Transformer
    Engine, triton/cross_entropy.py], of three, target and sum go together [Megatron-Core, fused_cross_entropy.py]."""
    nbytes = FLOAT * context.num_tokens
    if context.framework.fused_cross_entropy and context.framework.logits_nbytes == ELEMENT:
        return collective_of(context, "loss gather", "all_gather", 3 * nbytes * context.tp)
    if context.framework.fused_cross_entropy:
        maximum = collective_of(context, "loss maximum", "all_reduce", nbytes)
        return (*maximum, *collective_of(context, "loss sums", "all_reduce", 2 * nbytes))
    names = (f"loss {name}" for name in ("maximum", "target", "sum"))
    return tuple(entry for name in names for entry in collective_of(context, name, "all_reduce", nbytes))


def _width(context: Context) -> int:
    """Logits of a token on all ranks, those of the padding too."""
    return vocab_share(context) * context.tp


def _num_logits(context: Context) -> int:
    return context.num_tokens * vocab_share(context)
