"""What a model file may say; imported only when one is read, because pydantic is slow to load."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from sim.models.transformer import Mla, Moe, Transformer, is_gated

_Name = Annotated[str, Field(min_length=1, max_length=100)]
_Width = Annotated[int, Field(gt=0, le=1_000_000)]
_Depth = Annotated[int, Field(gt=0, le=10_000)]
_Count = Annotated[int, Field(gt=0, le=100_000)]
_Tokens = Annotated[int, Field(gt=0, le=100_000_000)]
_Published = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=(), use_attribute_docstrings=True)


class MoeFile(_Section):
    """A mixture of experts in place of the MLP."""

    num_experts: _Count
    """Experts among which the router chooses."""
    top_k: _Count
    """Experts that each token goes to."""
    ffn: _Width
    """Width of one expert."""
    shared_ffn: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Width of all shared experts together, which every token meets; 0 where there are none."""
    num_dense_layers: Annotated[int, Field(ge=0, le=10_000)] = 0
    """So many layers at the beginning keep the dense MLP."""
    every: _Depth = 1
    """Of the other layers every so many has experts, the last of each run: with 2 the layers 1, 3, 5, ... from 0."""
    num_groups: _Count = 1
    """Equal groups of experts; a token goes to experts of some of them only."""
    top_groups: _Count = 1
    """Groups that each token's experts are chosen from."""

    @model_validator(mode="after")
    def _enough_experts(self) -> Self:
        if self.top_k > self.num_experts:
            raise ValueError(f"top_k={self.top_k} is more than num_experts={self.num_experts}")
        self._groups_fit()
        return self

    def _groups_fit(self) -> None:
        if self.num_experts % self.num_groups:
            raise ValueError(f"num_groups={self.num_groups} does not divide num_experts={self.num_experts}")
        if self.top_groups > self.num_groups:
            raise ValueError(f"top_groups={self.top_groups} is more than num_groups={self.num_groups}")
        available = self.num_experts // self.num_groups * self.top_groups
        if self.top_k > available:
            raise ValueError(f"top_k={self.top_k} is more than the {available} experts of top_groups={self.top_groups}")


class MlaFile(_Section):
    """Multi-head latent attention, as in DeepSeek-V2 and V3."""

    q_lora_rank: _Width | None = None
    """Width of the latent of queries; left out where queries come straight from the hidden state."""
    kv_lora_rank: _Width
    """Width of the latent of keys and values."""
    nope_head_dim: _Width
    """Width of the part of a head's query and key that has no position."""
    rope_head_dim: _Width
    """Width of the rotary part of a head's query, and of the rotary key that all heads share."""
    v_head_dim: _Width
    """Width of a head's value."""


class ModelFile(_Section):
    """The shapes of a decoder. What is left out is as in Llama."""

    name: _Name
    """What the model is called in results."""
    source: str = ""
    """Where the shapes were read."""
    published_parameters: _Published | None = None
    """Parameters as counted or printed by its makers."""
    published_active_parameters: _Published | None = None
    """Parameters that one token meets, as printed by its makers."""
    aliases: list[_Name] = []
    """Other names of a model of the catalogue."""
    num_layers: _Depth
    """Transformer layers."""
    hidden: _Width
    """Width of the hidden state."""
    num_heads: _Width
    """Query heads."""
    num_kv_heads: _Width | None = None
    """Key and value heads, each for equally many query heads; left out where there are as many as query heads."""
    head_dim: _Width | None = None
    """Width of one head; left out where it is hidden / num_heads."""
    ffn: _Width | None = None
    """Width of the dense MLP; may be left out where every layer has experts."""
    vocab: Annotated[int, Field(gt=0, le=10_000_000)]
    """Rows of the embedding."""
    max_seq_len: _Tokens
    """Tokens of a sequence in pre-training; a training step uses it unless another length is given."""
    activation: Literal["gelu", "swiglu", "geglu", "relu2"] = "swiglu"
    """swiglu and geglu are gated: the MLP has three matrices; gelu and relu2 (squared ReLU): two."""
    norm: Literal["layernorm", "rmsnorm"] = "rmsnorm"
    """RMS norm has a scale, LayerNorm a scale and an offset."""
    bias: bool = False
    """Whether linear layers have a bias."""
    qkv_bias: bool = False
    """Whether query, key and value projections have a bias, and no others."""
    qk_norm: bool = False
    """Whether queries and keys are normed, each head by itself."""
    position: Literal["learned", "rotary", "alibi"] = "rotary"
    """Learned positions are parameters, max_seq_len of them."""
    tied_embedding: bool = False
    """Whether the head is the embedding's matrix."""
    dropout: bool = False
    """Whether it is trained with dropout."""
    window: _Tokens | None = None
    """Tokens that a sliding-window layer sees, its own included."""
    full_every: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Every so many layers one sees all tokens, the last of each run: with 2 the layers 1, 3, 5, ...; 0: none does."""
    moe: MoeFile | None = None
    """Experts in place of the MLP."""
    mla: MlaFile | None = None
    """Latent attention; then the widths of heads are given here, not by head_dim and num_kv_heads."""
    mtp_layers: Annotated[int, Field(ge=0, le=100)] = 0
    """Tokens after the next that are predicted too in training, each by a layer more (multi-token prediction)."""

    longest_context: _Tokens | None = None
    """Tokens that a server takes in one request (max_position_embeddings); left out where that is max_seq_len."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self._heads_fit() if self.mla is None else self._latents_fit(self.mla)
        self._mlp_fits()
        if self.full_every and self.window is None:
            raise ValueError("full_every is for models with a window; add window, or take full_every out")
        return self

    def _heads_fit(self) -> None:
        if self.head_dim is None and self.hidden % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide hidden={self.hidden}; add head_dim")
        if self.num_heads % (self.num_kv_heads or self.num_heads):
            raise ValueError(
                f"num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}; "
                "each key/value head serves equally many query heads"
            )

    def _latents_fit(self, mla: MlaFile) -> None:
        """What latent attention has its own words for may be repeated, not contradicted."""
        if self.num_kv_heads not in (None, self.num_heads):
            raise ValueError(f"num_kv_heads={self.num_kv_heads}: with mla every head has its own keys; take it out")
        if self.head_dim not in (None, mla.v_head_dim):
            raise ValueError(f"head_dim={self.head_dim}: with mla heads are as wide as mla says; take it out")
        for name in ("qk_norm", "qkv_bias"):
            if getattr(self, name):
                raise ValueError(f"{name}: mla has norms of its own and no such biases; take it out")

    def _mlp_fits(self) -> None:
        moe = self.moe
        if moe is not None and moe.num_dense_layers + moe.every > self.num_layers:
            raise ValueError(
                f"moe: with num_dense_layers={moe.num_dense_layers} and every={moe.every} "
                f"none of num_layers={self.num_layers} has experts; take moe out or change one of them"
            )
        if self.ffn is None and (moe is None or moe.num_dense_layers or moe.every > 1):
            raise ValueError("ffn is missing, the width of the dense MLP; add it")

    def transformer(self) -> Transformer:
        """The model that the file describes."""
        moe, mla = self.moe, self.mla
        return Transformer(
            name=self.name,
            num_layers=self.num_layers,
            hidden=self.hidden,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads or self.num_heads,
            head_dim=mla.v_head_dim if mla else self.head_dim or self.hidden // self.num_heads,
            ffn=self.ffn or (moe.ffn if moe else 0),
            vocab=self.vocab,
            gated_mlp=is_gated(self.activation),
            activation=self.activation,
            norm=self.norm,
            bias=self.bias,
            position=self.position,
            max_seq_len=self.max_seq_len,
            tied_embedding=self.tied_embedding,
            dropout=self.dropout,
            qkv_bias=self.qkv_bias,
            qk_norm=self.qk_norm,
            moe=Moe(**moe.model_dump()) if moe else None,
            mla=Mla(**mla.model_dump()) if mla else None,
            window=self.window,
            full_every=self.full_every,
            mtp_layers=self.mtp_layers,
            longest_context=self.longest_context,
        )


def schema() -> dict[str, JsonValue]:
    """The JSON Schema of a model file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **ModelFile.model_json_schema()}
