"""The noun: how a model is spread over GPUs.

Tensor parallelism splits every matrix, context parallelism the sequence, pipeline parallelism the layers, data
parallelism the batch; expert parallelism deals experts to the ranks that the first, second and fourth make.
"""

from dataclasses import dataclass
from typing import Literal

from sim.models.flops import DEFAULT_MODULES, Recompute, RecomputeModule

ScheduleName = Literal[
    "gpipe",
    "1f1b",
    "interleaved",
    "looped",
    "naive",
    "zb-h1",
    "zb-h2",
    "zb-v",
    "v-half",
    "v-min",
    "dualpipe",
    "dualpipev",
]
"""Or the path of a CSV; see sim/schedules."""
Zero = Literal[0, 1, 2, 3]
ContextKind = Literal["ring", "all-gather", "all-to-all"]
Offload = Literal["none", "optimizer", "activations", "all"]
Compression = Literal["none", "int8", "low-rank"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Degrees, schedule and batch. `micro_batch` and `global_batch` count sequences.

    sp: Megatron's sequence parallelism. vpp: model chunks per pipeline rank.
    cp: ranks that share a sequence; `cp_kind` says how they see each other's keys and values: passed round a ring, all
    gathered first (Llama 3), or heads for tokens by all-to-all (Ulysses).
    ep, etp: of tp x cp x dp ranks, `ep` share the experts, each of which is cut over `etp` (None: over tp where ep is
    1, else over 1).
    zero: 1 divides the optimizer's state over the replicas, 2 the gradients too, 3 the weights too (FSDP).
    shard: of cp x dp ranks, so many consecutive ones share what `zero` divides (HSDP); None: all.
    recompute: what is computed again in the backward pass; `recompute_modules`: which modules of a layer, where that is
    selective (None: the attention core); `recompute_layers`: only of the first so many layers of each stage; None: of
    all.
    schedule: a name, or the path of a CSV. group: microbatches that pass one chunk before the next, where the schedule
    is interleaved; None: pp.
    layers: of each global stage; None: see `stage_layers`.
    offload: what waits in the host's memory. compression: of gradients on the wire.
    """

    tp: int
    sp: bool
    pp: int
    vpp: int
    dp: int
    zero: Zero
    recompute: Recompute
    schedule: str
    micro_batch: int
    global_batch: int
    cp: int = 1
    cp_kind: ContextKind = "ring"
    ep: int = 1
    etp: int | None = None
    shard: int | None = None
    recompute_modules: tuple[RecomputeModule, ...] | None = None
    recompute_layers: int | None = None
    group: int | None = None
    layers: tuple[int, ...] | None = None
    offload: Offload = "none"
    compression: Compression = "none"

    @property
    def num_gpus(self) -> int:
        return self.stride * self.pp

    @property
    def stride(self) -> int:
        """GPUs of one pipeline rank: from a rank to the one at its place in the next."""
        return self.tp * self.cp * self.dp

    @property
    def num_replicas(self) -> int:
        """Ranks that hold the same weights unless they are sharded: cp x dp; a gradient is summed over all of them."""
        return self.cp * self.dp

    @property
    def num_sharing(self) -> int:
        """Of these, how many share what `zero` divides."""
        return self.num_replicas if self.shard is None else self.shard

    @property
    def expert_tp(self) -> int:
        """GPUs that share one expert's matrices."""
        return (self.tp if self.ep == 1 else 1) if self.etp is None else self.etp

    @property
    def expert_dp(self) -> int:
        """Ranks that hold the same experts."""
        return self.stride // (self.ep * self.expert_tp)

    @property
    def recomputed_modules(self) -> tuple[RecomputeModule, ...]:
        """What selective recomputation computes again."""
        return DEFAULT_MODULES if self.recompute_modules is None else self.recompute_modules

    @property
    def expert_sharing(self) -> int:
        """Of these, how many share what `zero` divides."""
        return max(1, self.expert_dp * self.num_sharing // self.num_replicas)

    @property
    def num_microbatches(self) -> int:
        """Microbatches that one pipeline runs in a step."""
        return self.global_batch // (self.micro_batch * self.dp)

    @property
    def num_stages(self) -> int:
        """Global stages: stage = chunk * pp + pipeline rank, where the schedule deals them in rounds."""
        return self.pp * self.vpp
