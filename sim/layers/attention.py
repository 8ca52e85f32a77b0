"""The attention half of a layer: norm, query-key-value product, the core, output product, residual.

Heads are dealt to the tp ranks; the core runs on the rank's own heads without communication. Positions are added before
(learned), turned into queries and keys (rotary), or a bias on the scores (ALiBi): free, as the scores are at hand.
"""

from collections.abc import Iterable

from sim.costs import ELEMENT, memory_bound, sharing
from sim.costs.attention import Shape, flash_backward, flash_forward, unfused_backward, unfused_forward
from sim.costs.law import basis_of
from sim.costs.memory_bound import Kernel
from sim.instructions import Basis, Block, Compute, Load
from sim.layers import latent_attention
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
    return join(
        compute_pass(norm_forward(context, NORM)),
        latent_attention.forward(context) if context.model.mla else _qkv_forward(context),
        compute_pass((*core_forward(context), *_merge_heads(context))),
        row_forward(context, PROJECTION, _output_width(context), context.model.hidden),
        compute_pass(residual_forward(context, "attention")),
    )


def backward(context: Context) -> Pass:
    """Gradients of the block; with selective recomputation the core runs forward again first."""
    again = core_forward(context, "recompute ") if context.recompute == "selective" else ()
    return join(
        compute_pass(residual_backward(context, "attention")),
        row_backward(context, PROJECTION, _output_width(context), context.model.hidden),
        compute_pass((*_merge_heads(context), *again, *core_backward(context))),
        latent_attention.backward(context) if context.model.mla else _qkv_backward(context),
        compute_pass(norm_backward(context, NORM)),
    )


def core_forward(context: Context, prefix: str = "") -> Block:
    """Scores, softmax, dropout, context; `prefix` tells a recomputation apart."""
    gpu, shape, framework = context.gpu, _shape(context), context.framework
    if framework.attention == "flash":
        load = sharing.flash(gpu.fit["flash_forward_efficiency"])
        return (_flash(f"{prefix}flash forward", flash_forward(gpu, shape), load),)
    kernels = unfused_forward(gpu, shape, fused_softmax=framework.fused_softmax, dropout=context.dropout)
    return _bound_by_scores(context, ((prefix + name, seconds) for name, seconds in kernels))


def core_backward(context: Context) -> Block:
    """Gradients of queries, keys and values."""
    gpu, shape, framework = context.gpu, _shape(context), context.framework
    if framework.attention == "flash":
        load = sharing.flash(gpu.fit["flash_backward_efficiency"])
        return (_flash("flash backward", flash_backward(gpu, shape), load),)
    kernels = unfused_backward(gpu, shape, fused_softmax=framework.fused_softmax, dropout=context.dropout)
    return _bound_by_scores(context, kernels)


def _flash(name: str, seconds: float, load: Load) -> Compute:
    """The level of training's kernels is the data sheet's; the tables have those of serving."""
    return Compute(name=name, duration=seconds, load=load, basis=(Basis("flash attention", "datasheet", seconds),))


def _bound_by_scores(context: Context, kernels: Iterable[tuple[str, float]]) -> Block:
    """Unfused kernels, the products too, are as fast as the HBM takes the scores."""
    gpu, law = context.gpu, memory_bound.LAW
    load = sharing.streaming(gpu)
    return tuple(
        Compute(name=name, duration=seconds, load=load, basis=basis_of(gpu, law, seconds, is_measured=False))
        for name, seconds in kernels
    )


def saved_nbytes(context: Context) -> float:
    """Bytes kept for backward without full recomputation [Korthikanti et al. 2022, section 4.1]: norm and residual;
    queries, keys, values; the context; and the core's scores (unfused) or log-sum-exp (flash) unless recomputed."""
    inputs = latent_attention.saved_nbytes(context) if context.model.mla else _qkv_nbytes(context)
    output = ELEMENT * context.num_tokens * _output_width(context) / context.tp
    core = 0.0 if context.recompute == "selective" else _core_nbytes(context)
    return saved_norm_and_residual(context) + inputs + output + core


def parameters(context: Context) -> int:
    """Parameters on one tp rank: its columns and rows, the whole norms and output bias."""
    model = context.model
    inputs = latent_attention.parameters(context) if model.mla else _qkv_parameters(context)
    bias = model.hidden if model.bias else 0
    return inputs + _output_width(context) * model.hidden // context.tp + bias + norm_parameters(context)


def replicated_parameters(context: Context) -> int:
    """Parameters that every tp rank holds whole: norms, the bias after the sum, a latent's products."""
    model = context.model
    inputs = latent_attention.replicated_parameters(context) if model.mla else _head_norm_parameters(context)
    return inputs + (model.hidden if model.bias else 0) + norm_parameters(context)


def _qkv_forward(context: Context) -> Pass:
    """One product for queries, keys and values; norms of queries and keys per head; their rotation."""
    return join(
        column_forward(context, QKV, context.model.hidden, _qkv_width(context)),
        compute_pass((*_head_norms(context, "norm forward"), *_rotary(context, "rotary forward"))),
    )


def _qkv_backward(context: Context) -> Pass:
    return join(
        compute_pass((*_rotary(context, "rotary backward"), *_head_norms(context, "norm backward"))),
        compute_pass(_qkv_bias_gradient(context)),
        column_backward(context, QKV, context.model.hidden, _qkv_width(context)),
    )


def _qkv_nbytes(context: Context) -> float:
    """Queries, keys and values; where queries and keys are normed, both before it too."""
    model = context.model
    width = _qkv_width(context) + (model.query_width + model.kv_width if model.qk_norm else 0)
    return ELEMENT * context.num_tokens * width / context.tp


def _qkv_parameters(context: Context) -> int:
    model, width = context.model, _qkv_width(context)
    biases = width if model.bias or model.qkv_bias else 0
    return (model.hidden * width + biases) // context.tp + _head_norm_parameters(context)


def _head_norm_parameters(context: Context) -> int:
    """All heads' queries share one norm, all heads' keys another."""
    model = context.model
    return 2 * model.head_dim * (2 if model.norm == "layernorm" else 1) if model.qk_norm else 0


def _qkv_width(context: Context) -> int:
    return context.model.query_width + 2 * context.model.kv_width


def _output_width(context: Context) -> int:
    """Width of all heads' values, which the output product takes."""
    mla = context.model.mla
    return context.model.num_heads * mla.v_head_dim if mla else context.model.query_width


def _shape(context: Context) -> Shape:
    """Latent attention has made a key and a value for every head when the core runs."""
    model, mla = context.model, context.model.mla
    return Shape(
        batch=context.micro_batch,
        seq_len=context.seq_len,
        num_heads=model.num_heads // context.tp,
        num_kv_heads=(model.num_heads if mla else model.num_kv_heads) // context.tp,
        head_dim=mla.nope_head_dim + mla.rope_head_dim if mla else model.head_dim,
        value_dim=mla.v_head_dim if mla else model.head_dim,
        precision=context.precision,
        window=context.kind.window,
    )


def _core_nbytes(context: Context) -> float:
    """Unfused: softmax output 2, dropout mask 1 and dropout output 2 per score; flash: 4 per row."""
    shape = _shape(context)
    if context.framework.attention == "flash":
        return 4 * shape.num_scores / shape.seq_len
    return shape.num_scores * (ELEMENT + (1 + ELEMENT if context.dropout else 0))


def _head_norms(context: Context, what: Kernel) -> Block:
    if not context.model.qk_norm:
        return ()
    widths = {"query": context.model.query_width, "key": context.model.kv_width}
    return tuple(
        run(context, f"{name} {what}", what, context.num_tokens * width / context.tp) for name, width in widths.items()
    )


def _rotary(context: Context, name: str) -> Block:
    if context.model.position != "rotary":
        return ()
    width = (context.model.query_width + context.model.kv_width) / context.tp
    return (run(context, name, "rotary", context.num_tokens * width),)


def _merge_heads(context: Context) -> Block:
    """Unfused products leave heads outermost: the context is copied to tokens outermost, its gradient back."""
    if context.framework.attention == "flash":
        return ()
    return (run(context, "merge heads", "copy", context.num_tokens * _output_width(context) / context.tp),)


def _qkv_bias_gradient(context: Context) -> Block:
    if not (context.model.bias or context.model.qkv_bias):
        return ()
    elements = context.num_tokens * _qkv_width(context) / context.tp
    return (run(context, "qkv bias gradient", "bias gradient", elements),)
