"""What a framework file says: each fact with its source. Imported only when one is read (pydantic is slow to load)."""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Value = TypeVar("Value")


class Fact(BaseModel, Generic[Value]):
    """One fact and where it was read."""

    model_config = ConfigDict(extra="forbid", strict=True)

    value: Value
    source: Annotated[str, Field(min_length=1)]


class FrameworkFile(BaseModel):
    """The facts of `sim.frameworks.Framework`, each with its source."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    description: str
    attention: Fact[Literal["unfused", "flash"]]
    fused_softmax: Fact[bool]
    fused_bias_dropout: Fact[bool]
    dropout: Fact[bool]
    overlap_input_gradient: Fact[bool]
    overlap_pipeline_sends: Fact[bool]
    scatter_gather_pipeline: Fact[bool]
    gradient_nbytes: Fact[Literal[2, 4]]
    gradient_reduce_nbytes: Fact[Literal[2, 4]]
    logits_nbytes: Fact[Literal[2, 4]]
