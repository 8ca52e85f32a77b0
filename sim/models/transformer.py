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
    has experts, the last of each such run (every=2: layers 1, 3, 5, ... counted from 0).
    """

    num_experts: int
    top_k: int
    ffn: int
    shared_ffn: int = 0
    num_dense_layers: int = 0
    every: int = 1


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
    (None: it sees all that came before)."""

    has_experts: bool = False
    window: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformer:
    """A decoder. `ffn` is the width of the dense MLP. `dropout` says whether it is trained with dropout, `bias` whether
    linear layers have one, `qkv_bias` whether only the query, key and value projections do; `qk_norm` whether queries
    and keys are normed per head. `window` is the span of sliding-window layers: all but every `full_every`-th layer
    (0: all layers) see that many tokens; full_every=2 with layer 0 windowed, layer 1 full, and so on.
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

    @property
    def query_width(self) -> int:
        """Width of all query heads side by side."""
        return self.num_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all key heads (and of all value heads) side by side."""
        return self.num_kv_heads * self.head_dim


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
    layers = model.num_layers * layer_parameters(model)
    return embedding_parameters(model) + layers + norm_parameters(model) + head_parameters(model)


def layer_parameters(model: Transformer) -> int:
    """Parameters of one layer: attention, MLP and their two norms."""
    return attention_parameters(model) + mlp_parameters(model) + 2 * norm_parameters(model)


def attention_parameters(model: Transformer) -> int:
    """The query, key, value and output projections."""
    weights = model.hidden * (2 * model.query_width + 2 * model.kv_width)
    biases = model.query_width + 2 * model.kv_width + model.hidden
    return weights + (biases if model.bias else 0)


def mlp_parameters(model: Transformer) -> int:
    """Up (twice where gated) and down."""
    num_up = 2 if model.gated_mlp else 1
    biases = num_up * model.ffn + model.hidden
    return (num_up + 1) * model.hidden * model.ffn + (biases if model.bias else 0)


def norm_parameters(model: Transformer) -> int:
    """One norm: a scale, and for LayerNorm an offset."""
    return 2 * model.hidden if model.norm == "layernorm" else model.hidden


def embedding_parameters(model: Transformer) -> int:
    """Word embedding, and learned positions where the model has them."""
    positions = model.max_seq_len if model.position == "learned" else 0
    return (model.vocab + positions) * model.hidden


def head_parameters(model: Transformer) -> int:
    """The output projection; none of its own where it is tied to the embedding."""
    return 0 if model.tied_embedding else model.vocab * model.hidden
