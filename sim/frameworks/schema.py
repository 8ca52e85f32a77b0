"""What a framework file says: each fact with its source. Imported only when one is read (pydantic is slow to load)."""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Value = TypeVar("Value")
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=0.2)]
Ratio = Annotated[float, Field(gt=0, le=10)]


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
    zero: Fact[Literal[0, 1, 2, 3]]
    attention: Fact[Literal["unfused", "flash"]]
    flash_speed: Fact[Ratio]
    flash_speed_hopper: Fact[Ratio]
    flash_speed_narrow: Fact[Ratio]
    flash_latent_blackwell: Fact[bool]
    fused_softmax: Fact[bool]
    fused_bias_dropout: Fact[bool]
    bias_in_product: Fact[bool]
    qkv_gradients_joined: Fact[bool]
    fused_cross_entropy: Fact[bool]
    loss_metrics: Fact[Whole]
    recompute_stops_early: Fact[bool]
    fused_permute: Fact[bool]
    fused_experts: Fact[Literal["never", "unbiased", "always"]]
    fused_optimizer: Fact[bool]
    dropout: Fact[bool]
    vocab_multiple: Fact[Count]
    weight_nbytes: Fact[Literal[2, 4]]
    optimizer_nbytes: Fact[Count]
    gradient_nbytes: Fact[Literal[2, 4]]
    gradient_reduce_nbytes: Fact[Literal[2, 4]]
    gradient_copy_nbytes: Fact[Whole]
    weight_gather_nbytes: Fact[Literal[1, 2]]
    logits_nbytes: Fact[Literal[2, 4]]
    fp8_scaling: Fact[Literal["delayed", "current"]]
    overlap_input_gradient: Fact[bool]
    overlap_tp: Fact[bool]
    overlap_grad_reduce: Fact[bool]
    overlap_param_gather: Fact[bool]
    bucket_parameters: Fact[Count]
    bucket_parameters_per_replica: Fact[Whole]
    prefetch: Fact[Whole]
    reshard_after_forward: Fact[bool]
    collectives_per_layer: Fact[Count]
    copies_each_share: Fact[bool]
    regather_recompute: Fact[bool]
    overlap_pipeline_sends: Fact[bool]
    scatter_gather_pipeline: Fact[bool]
    overlap_ep: Fact[bool]
    token_dispatcher: Fact[Literal["all-gather", "all-to-all", "deepep"]]
    launch_seconds: Fact[Amount]
    expert_launch_seconds: Fact[Amount]
    scaled_launch_seconds: Fact[Amount]
    cuda_graphs: Fact[bool]
    host_seconds: Fact[Amount]
    data_seconds: Fact[Amount]
    moe_sync_seconds: Fact[Amount]
    gpu_spread: Fact[Share]
    step_spread: Fact[Amount]
    dummy_gradients: Fact[bool]
    allocator_reserve: Fact[Amount]
    context_nbytes: Fact[Amount]
