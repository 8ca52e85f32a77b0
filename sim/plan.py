"""How a model is spread over GPUs: the rank grid, its groups, and which combinations are possible.

Tensor parallelism splits every matrix, context parallelism the sequence, pipeline parallelism the layers, data
parallelism the batch. Ranks are counted as Megatron counts them: tp fastest, so that its many messages stay in a node,
then cp, dp, pp. Expert parallelism deals the experts to the ranks of a pipeline rank anew: etp fastest, then ep; what
is left over are the expert's own replicas (edp).
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal

from sim.models import Transformer
from sim.models.flops import Recompute as Recompute
from sim.models.transformer import layer_kinds
from topologies.document import InputError
from topologies.hardware import Cluster

ScheduleName = Literal[
    "gpipe", "1f1b", "interleaved", "looped", "naive", "zb-h1", "zb-h2", "zb-v", "v-half", "v-min", "dualpipe", "dualpipev"
]
"""Or the path of a CSV; see sim/schedules."""
Zero = Literal[0, 1, 2, 3]
ContextKind = Literal["ring", "all-gather", "all-to-all"]
Offload = Literal["none", "optimizer", "activations", "all"]
Compression = Literal["none", "int8", "low-rank"]
Axis = Literal["tp", "cp", "dp", "ep", "etp", "edp", "shard", "replica", "pp", "embedding"]

_LARGEST, _LONGEST = 10_000_000, 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Degrees, schedule and batch. `micro_batch` and `global_batch` count sequences.

    sp: Megatron's sequence parallelism. vpp: model chunks per pipeline rank.
    cp: ranks that share a sequence; `cp_kind` says how they see each other's keys and values: passed round a ring, all
    gathered first (Llama 3), or heads for tokens by all-to-all (Ulysses).
    ep, etp: of tp x cp x dp ranks, `ep` share the experts, each of which is cut over `etp` (None: over tp where ep is 1,
    else over 1).
    zero: 1 divides the optimizer's state over the replicas, 2 the gradients too, 3 the weights too (FSDP).
    shard: of cp x dp ranks, so many consecutive ones share what `zero` divides (HSDP); None: all.
    recompute: what is computed again in the backward pass; `recompute_layers`: only of the first so many layers of each
    stage; None: of all.
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
    def num_microbatches(self) -> int:
        """Microbatches that one pipeline runs in a step."""
        return self.global_batch // (self.micro_batch * self.dp)

    @property
    def num_stages(self) -> int:
        """Global stages: stage = chunk * pp + pipeline rank, where the schedule deals them in rounds."""
        return self.pp * self.vpp


def rank(plan: Plan, tp: int, dp: int, pp: int, cp: int = 0) -> int:
    """The global rank at these coordinates."""
    return tp + plan.tp * (cp + plan.cp * (dp + plan.dp * pp))


def groups(plan: Plan, axis: Axis) -> list[tuple[int, ...]]:
    """The ranks that communicate along an axis, each group in the axis' order; see `group_of`."""
    found = dict.fromkeys(group_of(plan, axis, member) for member in range(plan.num_gpus))
    return [group for group in found if group]


def group_of(plan: Plan, axis: Axis, member: int) -> tuple[int, ...]:
    """The group along an axis that one rank is in, itself included.

    'dp': cp x dp ranks, over which gradients are summed; 'edp' the same of an expert's. 'shard': those of them that
    share what `zero` divides, 'replica': those that hold the same part of it. 'embedding': the first and the last
    pipeline rank, which add up the gradients of a tied embedding; none if pp is 1, and none for the ranks between.
    """
    p, place = divmod(member, plan.stride)
    if axis in ("pp", "embedding"):
        ends = (0, plan.pp - 1) if plan.pp > 1 else ()
        stages = ends if axis == "embedding" else range(plan.pp)
        return tuple(place + plan.stride * other for other in stages) if p in stages else ()
    first, step, count = _places(plan, axis, place)
    start = p * plan.stride + first
    return tuple(range(start, start + step * count, step))


def _places(plan: Plan, axis: Axis, place: int) -> tuple[int, int, int]:
    """Of the group along an axis that the rank at this place of its pipeline rank is in: the first place, the step from
    one to the next, how many."""
    tp, etp, sharing = plan.tp, plan.expert_tp, plan.num_sharing
    spans = {
        "tp": (1, tp),
        "cp": (tp, plan.cp),
        "dp": (tp, plan.num_replicas),
        "shard": (tp, sharing),
        "replica": (tp * sharing, plan.num_replicas // sharing),
        "etp": (1, etp),
        "ep": (etp, plan.ep),
        "edp": (etp * plan.ep, plan.expert_dp),
    }
    step, count = spans[axis]
    block, inside = divmod(place, step * count)
    return block * step * count + inside % step, step, count


def stage_layers(plan: Plan, num_layers: int) -> tuple[int, ...]:
    """Layers per global stage: evenly, or with embedding and loss counted as one layer each where only that divides.

    So 126 layers on 16 stages are 7, 8, ..., 8, 7 [Megatron's account-for-embedding/loss-in-pipeline-split; Llama 3].
    Raises InputError where neither divides.
    """
    layers = split_layers(num_layers, plan.num_stages)
    if layers is None:
        raise InputError(_cannot_split(plan, num_layers))
    return layers


def split_layers(num_layers: int, num_stages: int) -> tuple[int, ...] | None:
    """As `stage_layers`, None where neither way divides. With one layer a stage, embedding and loss have their own."""
    if num_layers % num_stages == 0:
        return (num_layers // num_stages,) * num_stages
    each, rest = divmod(num_layers + 2, num_stages)
    if rest or not each:
        return None
    return (each - 1, *(each,) * (num_stages - 2), each - 1)


def check(plan: Plan, model: Transformer, cluster: Cluster, seq_len: int) -> None:
    """Refuse a plan that cannot be run.

    Raises InputError that names the numbers which do not go together, and those that would.
    """
    problems = itertools.chain(
        _absurd(plan, seq_len),
        tensor_problems(plan.tp, model),
        _cluster_problems(plan, cluster),
        _sequence_problems(plan, model, seq_len),
        _schedule_problems(plan),
        _batch_problems(plan),
    )
    for problem in problems:
        raise InputError(problem)
    stage_layers(plan, model.num_layers)


def tensor_problems(tp: int, model: Transformer) -> Iterator[str]:
    """What of the model `tp` does not divide: heads, key and value heads, the widths of its MLPs."""
    widths = tensor_widths(model)
    for name, width in widths.items():
        if width % tp:
            yield f"tp={tp} does not divide {name}={width} of {model.name}; use {divisors(math.gcd(*widths.values()))}"


def tensor_widths(model: Transformer) -> dict[str, int]:
    """What tensor parallelism cuts, by its name in a model file. Latent attention has no key and value heads to cut."""
    kv_heads = {} if model.mla else {"num_kv_heads": model.num_kv_heads}
    is_dense = any(not kind.has_experts for kind in layer_kinds(model))
    dense = {"ffn": model.ffn} if is_dense else {}
    experts = {"moe.ffn": model.moe.ffn, "moe.shared_ffn": model.moe.shared_ffn} if model.moe else {}
    return {"num_heads": model.num_heads} | kv_heads | dense | experts


def multiples_around(number: int, unit: int) -> str:
    """'96 or 104': the multiples of `unit` below and above a number, none of them zero."""
    below = number // unit * unit
    return f"{below} or {below + unit}" if below else str(unit)


def divisors(number: int) -> str:
    """'1, 2, 4, 8, ...': the divisors of a number, the smallest few."""
    found = [divisor for divisor in range(1, min(number, 10_000) + 1) if number % divisor == 0]
    return _listed(found)


def _listed(numbers: list[int], shown: int = 8) -> str:
    return ", ".join(str(number) for number in numbers[:shown]) + (", ..." if len(numbers) > shown else "")


def _absurd(plan: Plan, seq_len: int) -> Iterator[str]:
    named = {field.name: getattr(plan, field.name) for field in fields(plan)} | {"seq_len": seq_len}
    for name in ("tp", "pp", "vpp", "dp", "micro_batch", "global_batch", "seq_len"):
        most = _LONGEST if name == "seq_len" else _LARGEST
        if not 1 <= named[name] <= most:
            yield f"{name}={named[name]} is not possible; use a whole number from 1 to {most:,}"


def _cluster_problems(plan: Plan, cluster: Cluster) -> Iterator[str]:
    if plan.num_gpus > cluster.num_gpus:
        product = f"tp x cp x pp x dp = {plan.tp} x {plan.cp} x {plan.pp} x {plan.dp} = {plan.num_gpus} GPUs"
        yield f"{product}, but {cluster.name} has {cluster.num_gpus}; use fewer, or more nodes"
    elif cluster.is_mixed:
        yield from _unequal_groups(plan, cluster)


def _unequal_groups(plan: Plan, cluster: Cluster) -> Iterator[str]:
    """tp groups on different kinds of GPU: each would wait for its slowest in every layer, and all are costed alike."""
    for first in itertools.accumulate(pool.num_gpus for pool in cluster.pools[:-1]):
        start = first // plan.tp * plan.tp
        if first % plan.tp and first < plan.num_gpus and cluster.gpu_at(start) != cluster.gpu_at(first):
            kinds = f"{cluster.gpu_at(start).name} and {cluster.gpu_at(first).name}"
            group = f"ranks {start} to {start + plan.tp - 1} are one tp group on unequal GPUs, {kinds}"
            yield f"tp={plan.tp}: {group}, which is not supported yet; use a tp that divides {first}"


def _sequence_problems(plan: Plan, model: Transformer, seq_len: int) -> Iterator[str]:
    if model.position == "learned" and seq_len > model.max_seq_len:
        yield f"seq_len={seq_len} is more than the {model.max_seq_len} learned positions of {model.name}; use fewer"
    if plan.sp and plan.tp == 1:
        yield "sp (Megatron sequence parallelism) needs tp > 1; use sp=false, or tp=2 or more"
    if plan.sp and seq_len % plan.tp:
        fix = multiples_around(seq_len, plan.tp)
        yield f"sp needs seq_len={seq_len} to be a multiple of tp={plan.tp}; use {fix}, or sp=false"


def _schedule_problems(plan: Plan) -> Iterator[str]:
    if plan.vpp > 1 and plan.pp == 1:
        yield f"vpp={plan.vpp} needs pp > 1; use vpp=1, or pp=2 or more"
    elif plan.vpp > 1 and plan.schedule != "interleaved":
        yield f"vpp={plan.vpp} needs schedule=interleaved, not {plan.schedule}; use that, or vpp=1"
    if plan.vpp == 1 and plan.schedule == "interleaved":
        fix = "use vpp=2 or more" if plan.pp > 1 else "use pp=2 or more and vpp=2 or more"
        yield f"schedule=interleaved needs vpp > 1; {fix}, or schedule=1f1b"


def _batch_problems(plan: Plan) -> Iterator[str]:
    unit = plan.micro_batch * plan.dp
    if plan.global_batch % unit:
        product = f"micro_batch x dp = {plan.micro_batch} x {plan.dp} = {unit}"
        fix = multiples_around(plan.global_batch, unit)
        yield f"global_batch={plan.global_batch} is not a multiple of {product}; use {fix}"
    elif plan.schedule == "interleaved" and plan.num_microbatches % plan.pp:
        fix = multiples_around(plan.global_batch, unit * plan.pp)
        made = f"global_batch={plan.global_batch} makes {plan.num_microbatches} microbatches"
        yield f"{made}; schedule=interleaved needs a multiple of pp={plan.pp}; use {fix}"


def _cannot_split(plan: Plan, num_layers: int) -> str:
    """Say which vpp would divide the layers with this pp, or which pp with this vpp."""
    vpps = [vpp for vpp in range(1, num_layers + 1) if split_layers(num_layers, plan.pp * vpp)]
    pps = [pp for pp in range(1, num_layers + 1) if split_layers(num_layers, pp * plan.vpp)]
    fixes = [
        f"vpp {_listed(vpps)}" if vpps and plan.pp > 1 and plan.vpp > 1 else "",
        f"pp {_listed(pps)}" if pps else "",
    ]
    fix = " or ".join(fix for fix in fixes if fix) or "fewer stages"
    stages = f"pp x vpp = {plan.pp} x {plan.vpp} = {plan.num_stages} stages"
    also = f"nor {num_layers + 2} with embedding and loss counted"
    return f"{stages} do not divide {num_layers} layers ({also}); use {fix}"
