"""A decoder-only transformer by its shapes, and how many parameters they make.

A layer is attention (query, key, value, output projections) and an MLP (two matrices, or three where it is gated),
each behind a norm. A gated MLP of width `ffn` has two such matrices up; grouped queries make key and value narrower.
The vocabulary is met twice, in the embedding and in the head; tied, both are one matrix.
"""

from dataclasses import dataclass
from typing import Literal

Activation = Literal["gelu", "swiglu"]
Norm = Literal["layernorm", "rmsnorm"]
Position = Literal["learned", "rotary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformer:
    """A dense decoder. `dropout` says whether it is trained with dropout; `bias` whether linear layers have one."""

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

    @property
    def query_width(self) -> int:
        """Width of all query heads side by side."""
        return self.num_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all key heads (and of all value heads) side by side."""
        return self.num_kv_heads * self.head_dim


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
