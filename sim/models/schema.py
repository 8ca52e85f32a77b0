"""What a model file may say; imported only when one is read, because pydantic is slow to load."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sim.models.transformer import Transformer

Name = Annotated[str, Field(min_length=1, max_length=100)]
Width = Annotated[int, Field(gt=0, le=1_000_000)]


class ModelFile(BaseModel):
    """The shapes of a dense decoder. What is left out is as in Llama; `max_seq_len` is the length it is trained at."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())

    name: Name
    source: str = ""
    published_parameters: Annotated[float, Field(gt=0)] | None = None
    aliases: list[Name] = []
    num_layers: Annotated[int, Field(gt=0, le=10_000)]
    hidden: Width
    num_heads: Width
    num_kv_heads: Width | None = None
    head_dim: Width | None = None
    ffn: Width
    vocab: Annotated[int, Field(gt=0, le=10_000_000)]
    max_seq_len: Annotated[int, Field(gt=0, le=10_000_000)]
    activation: Literal["gelu", "swiglu"] = "swiglu"
    norm: Literal["layernorm", "rmsnorm"] = "rmsnorm"
    bias: bool = False
    position: Literal["learned", "rotary"] = "rotary"
    tied_embedding: bool = False
    dropout: bool = False

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.head_dim is None and self.hidden % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide hidden={self.hidden}; add head_dim")
        if self.num_heads % (self.num_kv_heads or self.num_heads):
            raise ValueError(
                f"num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}; "
                "each key/value head serves equally many query heads"
            )
        return self

    def transformer(self) -> Transformer:
        return Transformer(
            name=self.name,
            num_layers=self.num_layers,
            hidden=self.hidden,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads or self.num_heads,
            head_dim=self.head_dim or self.hidden // self.num_heads,
            ffn=self.ffn,
            vocab=self.vocab,
            gated_mlp=self.activation == "swiglu",
            activation=self.activation,
            norm=self.norm,
            bias=self.bias,
            position=self.position,
            max_seq_len=self.max_seq_len,
            tied_embedding=self.tied_embedding,
            dropout=self.dropout,
        )
