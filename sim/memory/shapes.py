"""The weight matrices of a layer on one rank, by their shape."""

from collections.abc import Iterator

from sim.layers.context import Context
from sim.models.transformer import Transformer

Shape = tuple[int, int]


def weight_shapes(context: Context) -> Iterator[Shape]:
    """(outputs, inputs) of the products of one layer; an expert's count once, however many there are."""
    yield from _of_attention(context.model, context.tp)
    moe = context.model.moe if context.kind.has_experts else None
    if moe is None:
        yield from _of_mlp(context.model, context.model.ffn // context.tp)
        return
    yield from _of_mlp(context.model, moe.ffn // context.etp)
    if moe.shared_ffn:
        yield from _of_mlp(context.model, moe.shared_ffn // context.tp)


def _of_mlp(model: Transformer, ffn: int) -> Iterator[Shape]:
    yield (2 if model.gated_mlp else 1) * ffn, model.hidden
    yield model.hidden, ffn


def _of_attention(model: Transformer, tp: int) -> Iterator[Shape]:
    """Queries, keys and values in one, and the output; latent attention goes down to latents and up again."""
    mla, hidden, heads = model.mla, model.hidden, model.num_heads // tp
    if mla is None:
        yield (model.query_width + 2 * model.kv_width) // tp, hidden
        yield hidden, model.query_width // tp
        return
    query = heads * (mla.nope_head_dim + mla.rope_head_dim)
    if mla.q_lora_rank:
        yield mla.q_lora_rank, hidden
    yield query, mla.q_lora_rank or hidden
    yield mla.kv_lora_rank + mla.rope_head_dim, hidden
    yield heads * (mla.nope_head_dim + mla.v_head_dim), mla.kv_lora_rank
    yield hidden, heads * mla.v_head_dim
