"""The attention half of a layer: norm, query-key-value product, the core, output product, residual.

Heads are dealt to the tp ranks; the core runs on the rank's own heads without communication.
"""

from sim.costs import ELEMENT
from sim.costs.attention import Shape, flash_backward, flash_forward, unfused_backward, unfused_forward
from sim.instructions import Block, Compute
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
    run,
    saved_norm_and_residual,
)
from sim.layers.linear import column_backward, column_forward, row_backward, row_forward

NORM, QKV, PROJECTION = "attention norm", "qkv", "projection"


def forward(context: Context) -> Pass:
    """One microbatch through the block."""
    model = context.model
    return join(
        compute_pass(norm_forward(context, NORM)),
        column_forward(context, QKV, model.hidden, _qkv_width(context)),
        compute_pass((*_rotary(context, "rotary forward"), *core_forward(context), *_merge_heads(context))),
        row_forward(context, PROJECTION, model.query_width, model.hidden),
        compute_pass(residual_forward(context, "attention")),
    )


def backward(context: Context) -> Pass:
    """Gradients of the block; with selective recomputation the core runs forward again first."""
    model = context.model
    again = core_forward(context, "recompute ") if context.recompute == "selective" else ()
    return join(
        compute_pass(residual_backward(context, "attention")),
        row_backward(context, PROJECTION, model.query_width, model.hidden),
        compute_pass((*_merge_heads(context), *again, *core_backward(context), *_rotary(context, "rotary backward"))),
        compute_pass(_qkv_bias_gradient(context)),
        column_backward(context, QKV, model.hidden, _qkv_width(context)),
        compute_pass(norm_backward(context, NORM)),
    )


def core_forward(context: Context, prefix: str = "") -> Block:
    """Scores, softmax, dropout, context; `prefix` tells a recomputation apart."""
    gpu, shape, framework = context.gpu, _shape(context), context.framework
    if framework.attention == "flash":
        return (Compute(name=f"{prefix}flash forward", duration=flash_forward(gpu, shape)),)
    kernels = unfused_forward(gpu, shape, fused_softmax=framework.fused_softmax, dropout=context.dropout)
    return tuple(Compute(name=prefix + name, duration=seconds) for name, seconds in kernels)


def core_backward(context: Context) -> Block:
    """Gradients of queries, keys and values."""
    gpu, shape, framework = context.gpu, _shape(context), context.framework
    if framework.attention == "flash":
        return (Compute(name="flash backward", duration=flash_backward(gpu, shape)),)
    kernels = unfused_backward(gpu, shape, fused_softmax=framework.fused_softmax, dropout=context.dropout)
    return tuple(Compute(name=name, duration=seconds) for name, seconds in kernels)


def saved_nbytes(context: Context) -> float:
    """Bytes kept for backward without full recomputation [Korthikanti et al. 2022, section 4.1]: norm and residual;
    queries, keys, values; the context; and the core's scores (unfused) or log-sum-exp (flash) unless recomputed."""
    model = context.model
    widths = (2 * model.query_width + 2 * model.kv_width) / context.tp
    core = 0.0 if context.recompute == "selective" else _core_nbytes(context)
    return saved_norm_and_residual(context) + ELEMENT * context.num_tokens * widths + core


def parameters(context: Context) -> int:
    """Parameters on one tp rank: its columns and rows, the whole norm and output bias."""
    model = context.model
    weights = model.hidden * (2 * model.query_width + 2 * model.kv_width) // context.tp
    biases = _qkv_width(context) // context.tp + model.hidden if model.bias else 0
    return weights + biases + norm_parameters(context)


def _qkv_width(context: Context) -> int:
    return context.model.query_width + 2 * context.model.kv_width


def _shape(context: Context) -> Shape:
    return Shape(
        batch=context.micro_batch,
        seq_len=context.seq_len,
        num_heads=context.model.num_heads // context.tp,
        num_kv_heads=context.model.num_kv_heads // context.tp,
        head_dim=context.model.head_dim,
        precision=context.precision,
    )


def _core_nbytes(context: Context) -> float:
    """Unfused: softmax output 2, dropout mask 1 and dropout output 2 per score; flash: 4 per row."""
    shape = _shape(context)
    if context.framework.attention == "flash":
        return 4 * shape.num_scores / shape.seq_len
    return shape.num_scores * (ELEMENT + (1 + ELEMENT if context.dropout else 0))


def _rotary(context: Context, name: str) -> Block:
    if context.model.position != "rotary":
        return ()
    width = (context.model.query_width + context.model.kv_width) / context.tp
    return (run(context, name, "rotary", context.num_tokens * width),)


def _merge_heads(context: Context) -> Block:
    """Unfused products leave heads outermost: the context is copied to tokens outermost, its gradient back."""
    if context.framework.attention == "flash":
        return ()
    return (run(context, "merge heads", "copy", context.num_tokens * context.model.query_width / context.tp),)


def _qkv_bias_gradient(context: Context) -> Block:
    if not context.model.bias:
        return ()
    elements = context.num_tokens * _qkv_width(context) / context.tp
    return (run(context, "qkv bias gradient", "bias gradient", elements),)
