"""The attention half of a layer: norm, query-key-value product, the core, output product, residual.

Heads are dealt to the tp ranks; the core runs on the rank's own heads, and talks only to ranks that share a sequence.
Positions are added before (learned), turned into queries and keys (rotary), or a bias on the scores (ALiBi): free, as
the scores are at hand.
"""

from sim.costs import ELEMENT
from sim.costs.memory_bound import Kernel
from sim.instructions import Block
from sim.layers import context_parallel, core, latent_attention, products
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
from sim.layers.linear import (
    column_backward,
    column_forward,
    column_kept_nbytes,
    column_weights,
    row_backward,
    row_forward,
    row_kept_nbytes,
    row_weights,
)
from sim.layers.overlap import again
from sim.layers.products import number_nbytes

NORM, QKV, PROJECTION = "attention norm", "qkv", "projection"


def forward(context: Context) -> Pass:
    """One microbatch through the block."""
    return join(
        compute_pass(norm_forward(context, NORM)),
        latent_attention.forward(context) if context.model.mla else _qkv_forward(context),
        context_parallel.forward(context),
        compute_pass(_merge_heads(context)),
        row_forward(context, PROJECTION, _output_width(context), context.model.hidden),
        compute_pass(residual_forward(context, "attention")),
    )


def backward(context: Context) -> Pass:
    """Gradients of the block; what is computed again comes just before what needs it."""
    if context.half == "weight":
        return _weights(context)
    return join(
        compute_pass(residual_backward(context, "attention")),
        again(_norm_again(context)),
        compute_pass(_context_cast(context)),
        row_backward(context, PROJECTION, _output_width(context), context.model.hidden),
        compute_pass(_merge_heads(context)),
        again(latent_attention.up_forward(context)) if context.recomputes("mla_up_proj") else {},
        context_parallel.forward(context, "recompute ") if context.recomputes("core_attn") else {},
        context_parallel.backward(context),
        latent_attention.backward(context) if context.model.mla else _qkv_backward(context),
        compute_pass(norm_backward(context, NORM)),
    )


def saved_nbytes(context: Context) -> float:
    """Bytes kept for backward without full recomputation [Korthikanti et al. 2022, section 4.1]: norm and residual;
    queries, keys, values; the context; and the core's scores (unfused) or log-sum-exp (flash) unless recomputed."""
    inputs = latent_attention.saved_nbytes(context) if context.model.mla else _qkv_nbytes(context)
    of_core = 0.0 if context.recomputes("core_attn") else _core_nbytes(context)
    normed = 0.0 if _recomputes_norm(context) else number_nbytes(context)
    return saved_norm_and_residual(context, normed) + inputs + _context_nbytes(context) + of_core


def saved_for_weights_nbytes(context: Context) -> float:
    """Bytes that a backward pass of inputs alone leaves for that of weights."""
    down = row_kept_nbytes(context, _output_width(context), context.model.hidden)
    if context.model.mla:
        return latent_attention.saved_for_weights_nbytes(context) + down
    return column_kept_nbytes(context, context.model.hidden, _qkv_width(context)) + down


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
        compute_pass((*_joined_gradients(context), *_qkv_bias_gradient(context))),
        column_backward(context, QKV, context.model.hidden, _qkv_width(context)),
    )


def _weights(context: Context) -> Pass:
    """The weight gradients alone."""
    before = row_weights(context, PROJECTION, _output_width(context), context.model.hidden)
    if context.model.mla:
        return latent_attention.weights(context, before)
    return column_weights(context, QKV, context.model.hidden, _qkv_width(context), before)


def _recomputes_norm(context: Context) -> bool:
    """Only latent attention has a norm of its own; else norm and product are one module, which keeps what lies between
    [Megatron-Core, gpt_layer_specs.py: linear_qkv is TELayerNormColumnParallelLinear]."""
    return context.model.mla is not None and context.recomputes("layernorm")


def _norm_again(context: Context) -> Pass:
    """The norm, and the casts of its output, which is not kept in 8 or 4 bits either [Megatron-Core,
    multi_latent_attention.py, set_for_recompute_input_layernorm]."""
    if not _recomputes_norm(context):
        return {}
    return compute_pass((*norm_forward(context, NORM), *latent_attention.input_casts(context)))


def _context_nbytes(context: Context) -> float:
    """The context, which flash attention and the output product keep together; where it came from other ranks, each
    keeps one, the core unless it is recomputed."""
    has_two = context_parallel.exchanges_heads(context) and not context.recomputes("core_attn")
    return ELEMENT * (2 if has_two else 1) * context.num_tokens * _output_width(context) / context.tp


def _context_cast(context: Context) -> Block:
    """The output product keeps the context in 16 bits, as flash attention does anyway, and casts it a second time for
    its weight gradient [Megatron-Core, attention.py: set_save_original_input of linear_proj]."""
    return products.cast(context, f"{PROJECTION} kept input", context.num_tokens, _output_width(context) // context.tp)


def _qkv_nbytes(context: Context) -> float:
    """Queries, keys and values; where queries and keys are normed, both before it too."""
    model = context.model
    kept = model.query_width + 2 * model.kv_width * context_parallel.key_value_copies(context)
    width = kept + (model.query_width + model.kv_width if model.qk_norm else 0)
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


def _core_nbytes(context: Context) -> float:
    """Unfused: softmax output 2, dropout mask 1 and dropout output 2 per score; flash: 4 per row."""
    shape = core.shape_of(context)
    if core.is_flash(context):
        return 4 * shape.num_scores / shape.keys
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
    if core.is_flash(context):
        return ()
    return (run(context, "merge heads", "copy", context.num_tokens * _output_width(context) / context.tp),)


def _joined_gradients(context: Context) -> Block:
    """Queries, keys and values were views of one output; their gradients are tensors of their own."""
    if not context.framework.qkv_gradients_joined:
        return ()
    return (run(context, "qkv gradient join", "copy", context.num_tokens * _qkv_width(context) / context.tp),)


def _qkv_bias_gradient(context: Context) -> Block:
    if not (context.model.bias or context.model.qkv_bias):
        return ()
    elements = context.num_tokens * _qkv_width(context) / context.tp
    return (run(context, "qkv bias gradient", "bias gradient", elements),)
