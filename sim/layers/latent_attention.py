"""Multi-head latent attention: queries, keys and values by way of a narrow latent [DeepSeek-V2, arXiv 2405.04434].

The products down to a latent are too narrow to cut: every tp rank holds them whole and works on its tokens. Those up
are cut by heads, and gather the latents (not the hidden state) where tokens are cut. Megatron-Core does so
[multi_latent_attention.py, MLASelfAttention: down projections have parallel_mode 'duplicated'].
"""

from sim.costs import ELEMENT
from sim.instructions import Block
from sim.layers import products
from sim.layers.context import Context, Pass, compute_pass, gathered, join, run, scattered_sum
from sim.layers.linear import (
    column_backward,
    column_forward,
    column_kept_nbytes,
    column_weights,
    whole_backward,
    whole_forward,
    whole_kept_nbytes,
)
from sim.layers.products import number_nbytes
from sim.models.transformer import Mla

QUERY_DOWN, QUERY_UP, QUERY = "query down", "query up", "query"
KEY_VALUE_DOWN, KEY_VALUE_UP = "key-value down", "key-value up"


def forward(context: Context) -> Pass:
    """Queries, keys and values of this rank's heads, from the normed hidden state."""
    mla, hidden = _mla(context), context.model.hidden
    rotary_key = gathered(context, "rotary key gather", _rotary_key_nbytes(context))
    return join(
        _query_forward(context),
        compute_pass(whole_forward(context, KEY_VALUE_DOWN, hidden, mla.kv_lora_rank + mla.rope_head_dim)),
        compute_pass((*rotary_key, *_norm_forward(context, "key-value latent norm", mla.kv_lora_rank))),
        column_forward(context, KEY_VALUE_UP, mla.kv_lora_rank, _key_value_up_width(context)),
        compute_pass(_rotary(context, "forward")),
    )


def up_forward(context: Context) -> Pass:
    """From the normed latents alone: the products up, the rotation [Megatron-Core, recompute module mla_up_proj]."""
    return join(
        _query_up_forward(context),
        column_forward(context, KEY_VALUE_UP, _mla(context).kv_lora_rank, _key_value_up_width(context)),
        compute_pass(_rotary(context, "forward")),
    )


def input_casts(context: Context) -> Block:
    """The casts of the normed hidden state, which every product that takes it makes for itself."""
    names = (QUERY if _mla(context).q_lora_rank is None else QUERY_DOWN, KEY_VALUE_DOWN)
    width, tokens = context.model.hidden, context.local_tokens
    casts = (products.cast(context, f"{name} input", tokens, width, has_amax=True) for name in names)
    return tuple(kernel for block in casts for kernel in block)


def backward(context: Context) -> Pass:
    """Gradients of the products; the hidden state gets one from the queries and one from the latent, and adds them."""
    mla, hidden = _mla(context), context.model.hidden
    rotary_key = scattered_sum(context, "rotary key gradient sum", _rotary_key_nbytes(context))
    add = run(context, "query and key-value gradient sum", "add", context.local_hidden_elements)
    return join(
        compute_pass((*_rotary(context, "backward"), *rotary_key)),
        column_backward(context, KEY_VALUE_UP, mla.kv_lora_rank, _key_value_up_width(context)),
        compute_pass(_norm_backward(context, "key-value latent norm", mla.kv_lora_rank)),
        compute_pass(whole_backward(context, KEY_VALUE_DOWN, hidden, mla.kv_lora_rank + mla.rope_head_dim)),
        _query_backward(context),
        compute_pass((add,)),
    )


def weights(context: Context, before: Block) -> Pass:
    """The weight gradients alone; latents are gathered beside what runs `before` the first and between them."""
    mla, hidden = _mla(context), context.model.hidden
    up = column_weights(context, KEY_VALUE_UP, mla.kv_lora_rank, _key_value_up_width(context), before)
    down = whole_backward(context, KEY_VALUE_DOWN, hidden, mla.kv_lora_rank + mla.rope_head_dim)
    if mla.q_lora_rank is None:
        return join(up, column_weights(context, QUERY, hidden, _query_width(context), down))
    queries = column_weights(context, QUERY_UP, mla.q_lora_rank, _query_width(context), down)
    return join(up, queries, compute_pass(whole_backward(context, QUERY_DOWN, hidden, mla.q_lora_rank)))


def saved_for_weights_nbytes(context: Context) -> float:
    """Bytes that a backward pass of inputs alone leaves for that of weights."""
    mla, hidden, rank = _mla(context), context.model.hidden, _mla(context).q_lora_rank
    up = column_kept_nbytes(context, mla.kv_lora_rank, _key_value_up_width(context))
    down = whole_kept_nbytes(context, hidden, mla.kv_lora_rank + mla.rope_head_dim)
    if rank is None:
        return up + down + column_kept_nbytes(context, hidden, _query_width(context))
    queries = column_kept_nbytes(context, rank, _query_width(context)) + whole_kept_nbytes(context, hidden, rank)
    return up + down + queries


def saved_nbytes(context: Context) -> float:
    """Bytes kept for backward: each latent before and after its norm; queries, keys and values of this rank's heads.

    Where the latter are computed again, all that this starts from in 16 bits: the normed latents, the rotary key.
    """
    mla = _mla(context)
    latents = context.local_tokens * (mla.kv_lora_rank + (mla.q_lora_rank or 0))
    if context.recomputes("mla_up_proj"):
        return 2 * ELEMENT * latents + _rotary_key_nbytes(context)
    heads = 2 * _query_width(context) + context.model.num_heads * mla.v_head_dim
    return (ELEMENT + number_nbytes(context)) * latents + ELEMENT * context.num_tokens * heads / context.tp


def parameters(context: Context) -> int:
    """Parameters on one tp rank: products down and norms whole, products up by heads."""
    mla, hidden = _mla(context), context.model.hidden
    query = (mla.q_lora_rank or hidden) * _query_width(context)
    cut = query + mla.kv_lora_rank * _key_value_up_width(context)
    return cut // context.tp + replicated_parameters(context)


def replicated_parameters(context: Context) -> int:
    """Parameters that every tp rank holds whole: products down to the latents, norms of the latents."""
    mla = _mla(context)
    return down_parameters(context) + mla.kv_lora_rank + (mla.q_lora_rank or 0)


def down_parameters(context: Context) -> int:
    """Parameters of the products down."""
    mla = _mla(context)
    return context.model.hidden * (mla.kv_lora_rank + (mla.q_lora_rank or 0) + mla.rope_head_dim)


def _mla(context: Context) -> Mla:
    mla = context.model.mla
    assert mla is not None
    return mla


def _query_width(context: Context) -> int:
    """Width of all heads' queries, and of all heads' keys."""
    mla = _mla(context)
    return context.model.num_heads * (mla.nope_head_dim + mla.rope_head_dim)


def _key_value_up_width(context: Context) -> int:
    """What the latent makes: the keys' part without position, and the values."""
    mla = _mla(context)
    return context.model.num_heads * (mla.nope_head_dim + mla.v_head_dim)


def _rotary_key_nbytes(context: Context) -> float:
    """Bytes of the one rotary key that all heads share, of all tokens."""
    return ELEMENT * context.num_tokens * _mla(context).rope_head_dim


def _query_forward(context: Context) -> Pass:
    rank, hidden = _mla(context).q_lora_rank, context.model.hidden
    if rank is None:
        return _query_up_forward(context)
    return join(
        compute_pass(whole_forward(context, QUERY_DOWN, hidden, rank)),
        compute_pass(_norm_forward(context, "query latent norm", rank)),
        _query_up_forward(context),
    )


def _query_up_forward(context: Context) -> Pass:
    rank, width = _mla(context).q_lora_rank, _query_width(context)
    if rank is None:
        return column_forward(context, QUERY, context.model.hidden, width)
    return column_forward(context, QUERY_UP, rank, width)


def _query_backward(context: Context) -> Pass:
    rank, hidden, width = _mla(context).q_lora_rank, context.model.hidden, _query_width(context)
    if rank is None:
        return column_backward(context, QUERY, hidden, width)
    return join(
        column_backward(context, QUERY_UP, rank, width),
        compute_pass(_norm_backward(context, "query latent norm", rank)),
        compute_pass(whole_backward(context, QUERY_DOWN, hidden, rank)),
    )


def _norm_forward(context: Context, name: str, width: int) -> Block:
    return (run(context, f"{name} forward", "norm forward", context.local_tokens * width),)


def _norm_backward(context: Context, name: str, width: int) -> Block:
    return (run(context, f"{name} backward", "norm backward", context.local_tokens * width),)


def _rotary(context: Context, direction: str) -> Block:
    """The queries' rotary part turned in place; keys and values copied apart, the rotary key into every head's key, or
    back [Megatron-Core, fused_mla_yarn_rope_apply.py]."""
    mla = _mla(context)
    heads = context.num_tokens * context.model.num_heads / context.tp
    return (
        run(context, f"rotary {direction}", "rotary", heads * mla.rope_head_dim),
        run(context, f"keys and values {direction}", "copy", heads * (_query_head_dim(mla) + mla.v_head_dim)),
    )


def _query_head_dim(mla: Mla) -> int:
    return mla.nope_head_dim + mla.rope_head_dim
