"""A decoder-only transformer by its shapes, and how many parameters they make.

A layer is attention (query, key, value, output projections) and an MLP (two matrices, or three where it is gated),
each behind a norm. A gated MLP of width `ffn` has two such matrices up; grouped queries make key and value narrower;
latent attention keeps keys and values as one small vector; in a mixture of experts each token meets few of many MLPs.
The vocabulary is met twice, in the embedding and in the head; tied, both are one matrix.
"""

from dataclasses import dataclass
from typing import Literal

Activation = Literal["gelu", "swiglu", "geglu", "relu2"]
Norm = Literal["layernorm", "rmsnorm"]
Position = Literal["learned", "rotary", "alibi"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moe:
    """A mixture of experts in place of the MLP: a router sends each token to `top_k` of `num_experts` MLPs.

    `ffn` is the width of one expert; `shared_ffn` that of all shared experts together, which every token meets (0 where
    there are none). The first `num_dense_layers` layers keep the dense MLP, and of the others every `every`-th layer
    has experts, the last of each such run (every=2: layers 1, 3, 5, ... counted from 0). A token chooses its experts
    from the best `top_groups` of `num_groups` equal groups of them, so that it goes to few nodes.
    """

    num_experts: int
    top_k: int
    ffn: int
    shared_ffn: int = 0
    num_dense_layers: int = 0
    every: int = 1
    num_groups: int = 1
    top_groups: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Mla:
    """Multi-head latent attention [DeepSeek-V2, arXiv 2405.04434]: keys and values come from `kv_lora_rank` numbers a
    token, and one rotary key of `rope_head_dim` that all heads share; queries from `q_lora_rank` numbers, or straight
    from the hidden state where that is None. A head's query and key are `nope_head_dim` + `rope_head_dim` wide, its
    value `v_head_dim`."""

    q_lora_rank: int | None
    kv_lora_rank: int
    nope_head_dim: int
    rope_head_dim: int
    v_head_dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerKind:
    """What makes a layer other than its neighbours: experts in place of the MLP; a window on its attention, in tokens
    (None: it sees all that came before); where layers load their experts differently, which of the histograms."""

    has_experts: bool = False
    window: int | None = None
    histogram: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformer:
    """A decoder. `ffn` is the width of the dense MLP. `dropout` says whether it is trained with dropout, `bias` whether
    linear layers have one, `qkv_bias` whether only the query, key and value projections do; `qk_norm` whether queries
    and keys are normed per head. `window` is the span of sliding-window layers: all but every `full_every`-th layer
    (0: all layers) see that many tokens; full_every=2 with layer 0 windowed, layer 1 full, and so on. Where there is
    `mla`, it has the widths of the heads; then num_kv_heads is num_heads and head_dim the width of a value. `moe` and
    `mla` have no biases but those of the MLPs and of the output projection. `longest_context` is the tokens that it may
    be served with where they are not the `max_seq_len` of pre-training.
    """

    name: str
    num_layers: int
    hidden: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    gated_mlp: bool
    activation: Activation
    norm: Norm
    bias: bool
    position: Position
    max_seq_len: int
    tied_embedding: bool
    dropout: bool
    qkv_bias: bool = False
    qk_norm: bool = False
    moe: Moe | None = None
    mla: Mla | None = None
    window: int | None = None
    full_every: int = 0
    mtp_layers: int = 0
    longest_context: int | None = None

    @property
    def query_width(self) -> int:
        """Width of all query heads side by side."""
        return self.num_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all key heads (and of all value heads) side by side."""
        return self.num_kv_heads * self.head_dim


def is_gated(activation: Activation) -> bool:
    """Whether the MLP has a gate beside its way up, and so three matrices."""
    return activation in ("swiglu", "geglu")


def layer_kind(model: Transformer, layer: int) -> LayerKind:
    """What kind of layer the one with this number (from 0) is."""
    return LayerKind(has_experts=_has_experts(model.moe, layer), window=_window(model, layer))


def layer_kinds(model: Transformer) -> tuple[LayerKind, ...]:
    """The kind of every layer, first to last."""
    return tuple(layer_kind(model, layer) for layer in range(model.num_layers))


def _has_experts(moe: Moe | None, layer: int) -> bool:
    if moe is None or layer < moe.num_dense_layers:
        return False
    return (layer - moe.num_dense_layers) % moe.every == moe.every - 1


def _window(model: Transformer, layer: int) -> int | None:
    is_full = model.full_every > 0 and layer % model.full_every == model.full_every - 1
    return None if is_full else model.window


def num_parameters(model: Transformer) -> int:
    """Parameters of the whole model, the vocabulary as given (a framework may pad it)."""
    layers = sum(layer_parameters(model, kind) for kind in layer_kinds(model))
    return embedding_parameters(model) + layers + norm_parameters(model) + head_parameters(model)


def active_parameters(model: Transformer) -> int:
    """Parameters that one token meets: of the experts its own and the shared ones.

    The embedding is looked up, not multiplied, and not counted; the head is, also where it is tied [gpt-oss model card,
    arXiv 2508.10925, Table 1; DeepSeek-V3 counts so too, README_WEIGHTS]. Mistral and Qwen count the embedding as well.
    """
    idle = 0 if model.moe is None else (model.moe.num_experts - model.moe.top_k) * expert_parameters(model)
    kinds = layer_kinds(model)
    layers = sum(layer_parameters(model, kind) - (idle if kind.has_experts else 0) for kind in kinds)
    return layers + norm_parameters(model) + model.vocab * model.hidden


def layer_parameters(model: Transformer, layer: int | LayerKind = LayerKind()) -> int:
    """Parameters of one layer, by its number or its kind: attention, MLP or experts, and their two norms."""
    kind = layer_kind(model, layer) if isinstance(layer, int) else layer
    mlp = moe_parameters(model) if kind.has_experts else mlp_parameters(model)
    return attention_parameters(model) + mlp + 2 * norm_parameters(model)


def attention_parameters(model: Transformer) -> int:
    """The projections, and the norms of queries and keys (two of one head's width), or of the latents in MLA."""
    return attention_weights(model) + _attention_biases(model) + _attention_norms(model)


def mlp_parameters(model: Transformer) -> int:
    """The dense MLP: up (twice where gated) and down."""
    return _mlp_of_width(model, model.ffn)


def moe_parameters(model: Transformer) -> int:
    """Router, all experts, shared experts."""
    assert model.moe is not None
    shared = shared_expert_parameters(model)
    return router_parameters(model) + model.moe.num_experts * expert_parameters(model) + shared


def router_parameters(model: Transformer) -> int:
    """One score per expert, hidden x num_experts. Biases that some routers have (one number an expert) are left out."""
    return 0 if model.moe is None else model.hidden * model.moe.num_experts


def expert_parameters(model: Transformer) -> int:
    """One of the experts among which the router chooses."""
    return 0 if model.moe is None else _mlp_of_width(model, model.moe.ffn)


def shared_expert_parameters(model: Transformer) -> int:
    """All shared experts together, one MLP of width `shared_ffn`."""
    return _mlp_of_width(model, model.moe.shared_ffn) if model.moe and model.moe.shared_ffn else 0


def norm_parameters(model: Transformer) -> int:
    """One norm of the hidden state: a scale, and for LayerNorm an offset."""
    return _norm_of_width(model, model.hidden)


def embedding_parameters(model: Transformer) -> int:
    """Word embedding, and learned positions where the model has them."""
    positions = model.max_seq_len if model.position == "learned" else 0
    return (model.vocab + positions) * model.hidden


def head_parameters(model: Transformer) -> int:
    """The output projection; none of its own where it is tied to the embedding."""
    return 0 if model.tied_embedding else model.vocab * model.hidden


def attention_weights(model: Transformer) -> int:
    """Elements of the matrices around the attention core, each of which multiplies every token once.

    Queries, keys, values and output; in MLA hidden to the two latents and the shared rotary key, the latents to
    queries, and to keys without position and values, and the output [DeepSeek-V2, arXiv 2405.04434, section 2.1].
    """
    mla, hidden, heads = model.mla, model.hidden, model.num_heads
    if mla is None:
        return hidden * (2 * model.query_width + 2 * model.kv_width)
    query_width = heads * (mla.nope_head_dim + mla.rope_head_dim)
    query = (hidden + query_width) * mla.q_lora_rank if mla.q_lora_rank else hidden * query_width
    down = hidden * (mla.kv_lora_rank + mla.rope_head_dim)
    up = mla.kv_lora_rank * heads * (mla.nope_head_dim + mla.v_head_dim)
    return query + down + up + heads * mla.v_head_dim * hidden


def mlp_weights(model: Transformer, ffn: int) -> int:
    """Elements of the matrices of an MLP of that width: up (twice where gated) and down."""
    return (3 if model.gated_mlp else 2) * model.hidden * ffn


def _mlp_of_width(model: Transformer, ffn: int) -> int:
    biases = (2 if model.gated_mlp else 1) * ffn + model.hidden
    return mlp_weights(model, ffn) + (biases if model.bias else 0)


def _attention_biases(model: Transformer) -> int:
    inputs = 0 if model.mla else model.query_width + 2 * model.kv_width
    return (inputs if model.bias or model.qkv_bias else 0) + (model.hidden if model.bias else 0)


def _attention_norms(model: Transformer) -> int:
    """Norms of the latents are RMS norms: a scale."""
    if model.mla:
        return model.mla.kv_lora_rank + (model.mla.q_lora_rank or 0)
    return 2 * _norm_of_width(model, model.head_dim) if model.qk_norm else 0


def _norm_of_width(model: Transformer, width: int) -> int:
    return 2 * width if model.norm == "layernorm" else width
