"""The noun: how a model is served, as `Plan` is how it is trained.

A replica is what one scheduler (or, with data-parallel attention, several in lock-step) runs; a router deals requests
to replicas. Prefill and decoding may have replicas of their own, between which caches are sent.
"""

from dataclasses import dataclass
from typing import Literal

Policy = Literal["vllm", "sglang", "trtllm-no-evict", "trtllm-max-utilization", "sarathi", "orca", "static"]
WeightPrecision = Literal["bf16", "fp16", "fp8", "fp8_block", "mxfp4", "nvfp4", "int8", "int4"]
CachePrecision = Literal["auto", "fp8"]
Router = Literal["round-robin", "least-loaded", "prefix-aware"]
Sampling = Literal["greedy", "top-p"]
ContextKind = Literal["ring", "all-to-all"]
ExpertExchange = Literal["all-gather", "all-to-all", "deepep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """GPUs of one replica: tp x cp x pp x dp of them.

    tp splits every matrix, pp the layers; `layers` of each stage where they are not split evenly. cp ranks share the
    tokens of a prefill: `cp_kind` by a ring or by Ulysses' all-to-all. dp ranks each have requests, a scheduler and a
    cache of their own and, where the model has experts, run in lock-step. ep of the tp x dp ranks share the experts
    out; 1: every expert is split over all of them. `ep_kind`: how dp ranks' tokens come to experts that are shared out,
    and back.
    """

    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1
    cp: int = 1
    cp_kind: ContextKind = "ring"
    ep_kind: ExpertExchange = "all-gather"
    layers: tuple[int, ...] | None = None

    @property
    def num_gpus(self) -> int:
        return self.tp * self.pp * self.dp * self.cp

    @property
    def expert_tp(self) -> int:
        """Over how many ranks each expert is split: tp is flattened over dp, and ep taken of it [vLLM 0.19,
        fused_moe/config.py, FusedMoEParallelConfig.make]."""
        return self.tp * self.dp // self.ep


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduling:
    """What the scheduler may do. None: the serving framework's own default for the GPU.

    max_num_seqs: requests that run at once; max_num_batched_tokens: the token budget of a pass; chunked_prefill: a
    prompt may be split over passes; asynchronous: the next pass is prepared while one runs; max_model_len: the longest
    prompt and answer.
    new_token_ratio: share of a request's answer for which SGLang keeps room when it admits, decaying to
    min_new_token_ratio in new_token_decay passes.
    """

    policy: Policy | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    chunked_prefill: bool | None = None
    asynchronous: bool | None = None
    max_model_len: int | None = None
    new_token_ratio: float = 0.7
    min_new_token_ratio: float = 0.098
    new_token_decay: int = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Keys and values: pages of `block_size` tokens. num_blocks: of a dp rank; None: what fits into `utilization` of
    the GPU's memory beside weights and activations. What else is None is as the framework does."""

    block_size: int | None = None
    precision: CachePrecision = "auto"
    prefix_caching: bool | None = None
    utilization: float | None = None
    num_blocks: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """Each pass proposes `tokens` more for a request, by a draft model or by the model's own multi-token prediction;
    each is right with probability `acceptance` where all before it were. `draft_share`: seconds of a draft pass for
    each proposed token, over those of the pass."""

    tokens: int
    acceptance: float
    draft_share: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertPlacement:
    """`redundant` experts beside the model's own are copies of the busiest ones; `rebalanced`: every so many passes
    copies and places follow what was measured (EPLB), else they stay as the load began."""

    redundant: int = 0
    rebalanced: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Disaggregation:
    """Prefill on `replicas` of their own `layout`; the cache is then sent to a replica that decodes."""

    layout: Layout
    replicas: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A model served: `layout` of one replica (of those that decode, where prefill is apart) and `replicas` of it.

    weights: the precision of the large products' weights; int8 and int4 are weight-only. sampling: the likeliest token,
    or one drawn from those that top-k and top-p leave. router_delay: seconds for which the router's counts are stale.
    """

    layout: Layout = Layout()
    replicas: int = 1
    scheduling: Scheduling = Scheduling()
    cache: Cache = Cache()
    weights: WeightPrecision = "bf16"
    sampling: Sampling = "greedy"
    router: Router = "round-robin"
    router_delay: float = 0.1
    speculation: Speculation | None = None
    experts: ExpertPlacement = ExpertPlacement()
    prefill: Disaggregation | None = None

    @property
    def num_gpus(self) -> int:
        apart = 0 if self.prefill is None else self.prefill.layout.num_gpus * self.prefill.replicas
        return self.layout.num_gpus * self.replicas + apart
