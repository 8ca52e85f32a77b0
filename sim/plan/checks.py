"""Which plans can be run: what must divide what, and what needs what else.

Each check tells a plan that cannot be by the numbers which do not go together, and those that would.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from sim.models import Transformer
from sim.models.flops import RecomputeModule
from sim.models.transformer import layer_kinds
from sim.plan.pipeline import pipeline
from sim.plan.plan import Plan
from sim.plan.split import stage_layers
from topologies.document import InputError
from topologies.hardware import Cluster

SEVERAL_CHUNKS = ("interleaved", "looped")
TWO_CHUNKS = ("zb-v", "v-half", "v-min", "dualpipev")
"""Schedules whose second chunk goes back over the ranks; see sim/schedules."""

LONGEST_CHECKED = 1_000_000
"""Passes of a schedule. Longer ones are never played (sim/limits.py), so they are not made to be checked either."""

_NEEDED_BY: Mapping[RecomputeModule, str] = {
    "mla_up_proj": "latent attention",
    "moe_act": "experts",
    "moe": "experts",
    "shared_experts": "shared experts",
}
"""What a model must have for a module of selective recomputation."""

_LARGEST, _LONGEST = 10_000_000, 100_000_000


def check(plan: Plan, model: Transformer, cluster: Cluster, seq_len: int) -> None:
    """Refuse a plan that cannot be run.

    Raises InputError that names the numbers which do not go together, and those that would.
    """
    problems = itertools.chain(
        _absurd(plan, seq_len),
        tensor_problems(plan.tp, model, plan.expert_tp),
        _cluster_problems(plan, cluster),
        _sequence_problems(plan, model, seq_len),
        _context_problems(plan, model, seq_len),
        _expert_problems(plan, model),
        _sharding_problems(plan),
        _compression_problems(plan),
        _chunk_problems(plan),
        layer_problems(plan.layers, plan.pp, plan.vpp, model.num_layers) if plan.layers is not None else (),
        _recompute_problems(plan, model.num_layers),
        _module_problems(plan, model),
        _batch_problems(plan),
        _schedule_problems(plan),
    )
    for problem in problems:
        raise InputError(problem)
    stage_layers(plan, model.num_layers)


def tensor_problems(tp: int, model: Transformer, expert_tp: int | None = None) -> Iterator[str]:
    """What of the model `tp` does not divide: heads, key and value heads, the widths of its MLPs; of its experts'
    `expert_tp`, where that is another."""
    if expert_tp in (None, tp):
        yield from _undivided("tp", tp, _widths(model) | _expert_widths(model), model)
    else:
        yield from _undivided("tp", tp, _widths(model), model)
        yield from _undivided("etp", expert_tp, _expert_widths(model), model)


def _undivided(axis: str, degree: int, widths: dict[str, int], model: Transformer) -> Iterator[str]:
    for name, width in widths.items():
        if width % degree:
            fix = divisors(math.gcd(*widths.values()))
            yield f"{axis}={degree} does not divide {name}={width} of {model.name}; use {fix}"


def _widths(model: Transformer) -> dict[str, int]:
    """What tensor parallelism cuts, by its name in a model file. Latent attention has no key and value heads to cut."""
    kv_heads = {} if model.mla else {"num_kv_heads": model.num_kv_heads}
    is_dense = any(not kind.has_experts for kind in layer_kinds(model))
    dense = {"ffn": model.ffn} if is_dense else {}
    shared = {"moe.shared_ffn": model.moe.shared_ffn} if model.moe else {}
    return {"num_heads": model.num_heads} | kv_heads | dense | shared


def _expert_widths(model: Transformer) -> dict[str, int]:
    return {"moe.ffn": model.moe.ffn} if model.moe else {}


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
    for name, value in named.items():
        most = _LONGEST if name == "seq_len" else _LARGEST
        is_count = isinstance(value, int) and not isinstance(value, bool) and name != "zero"
        if is_count and not 1 <= value <= most:
            yield f"{name}={value} is not possible; use a whole number from 1 to {most:,}"


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
    unit = plan.tp * plan.cp
    if plan.sp and seq_len % unit:
        product = f"tp={plan.tp}" if plan.cp == 1 else f"tp x cp = {plan.tp} x {plan.cp} = {unit}"
        fix = multiples_around(seq_len, unit)
        yield f"sp needs seq_len={seq_len} to be a multiple of {product}; use {fix}, or sp=false"


def _context_problems(plan: Plan, model: Transformer, seq_len: int) -> Iterator[str]:
    """Two pieces of the sequence for each rank, one from either end, so that all see as many tokens before theirs
    [Llama 3, arXiv 2407.21783, section 3.3.2]; with all-to-all a rank has all tokens of some heads instead."""
    if plan.cp == 1:
        return
    unit = plan.cp if plan.cp_kind == "all-to-all" else 2 * plan.cp
    if seq_len % unit:
        product = f"cp={plan.cp}" if unit == plan.cp else f"2 x cp = {unit}"
        yield f"seq_len={seq_len} is not a multiple of {product}; use {multiples_around(seq_len, unit)}"
    if plan.cp_kind == "all-to-all":
        yield from _head_problems(plan, model)


def _head_problems(plan: Plan, model: Transformer) -> Iterator[str]:
    """Heads are dealt to the cp ranks; a key and value head is copied where there are fewer of them than ranks."""
    heads = model.num_heads // plan.tp
    kv_heads = heads if model.mla else model.num_kv_heads // plan.tp
    if heads % plan.cp:
        fix = f"use cp={divisors(heads)}, or cp_kind=ring"
        yield f"cp={plan.cp} does not divide the {heads} heads of a tp rank, as cp_kind=all-to-all needs; {fix}"
    elif kv_heads % plan.cp and plan.cp % kv_heads:
        told = f"cp={plan.cp} and the {kv_heads} key and value heads of a tp rank do not divide one another"
        yield f"{told}, as cp_kind=all-to-all needs; use cp={divisors(kv_heads)}, or cp_kind=ring"


def _expert_problems(plan: Plan, model: Transformer) -> Iterator[str]:
    if model.moe is None:
        if plan.ep > 1 or plan.etp is not None:
            said = f"ep={plan.ep}" if plan.ep > 1 else f"etp={plan.etp}"
            yield f"{said} needs a model with experts, and {model.name} has none; take it out"
        return
    if model.moe.num_experts % plan.ep:
        experts = f"num_experts={model.moe.num_experts} of {model.name}"
        yield f"ep={plan.ep} does not divide {experts}; use {divisors(model.moe.num_experts)}"
    if plan.stride % (plan.ep * plan.expert_tp):
        product = f"ep x etp = {plan.ep} x {plan.expert_tp} = {plan.ep * plan.expert_tp}"
        ranks = f"tp x cp x dp = {plan.tp} x {plan.cp} x {plan.dp} = {plan.stride}"
        yield f"{product} does not divide {ranks}; use ep x etp = {divisors(plan.stride)}"
    if plan.tp > 1 and not plan.sp and (plan.ep > 1 or plan.expert_tp != plan.tp):
        yield f"ep={plan.ep} with tp={plan.tp} needs sp, else all tp ranks would send the same tokens; use sp=true"


def _compression_problems(plan: Plan) -> Iterator[str]:
    said = f"compression={plan.compression}"
    if plan.compression != "none" and plan.shard is not None:
        yield f"{said} sums over all replicas at once, not in parts of shard={plan.shard}; take one of them out"
    if plan.compression == "low-rank" and plan.zero == 3:
        yield f"{said} needs whole gradients on every rank, and zero=3 has shares; use zero=0, 1 or 2, or int8"


def _sharding_problems(plan: Plan) -> Iterator[str]:
    if plan.shard is None:
        return
    if plan.num_replicas % plan.shard:
        ranks = f"cp x dp = {plan.cp} x {plan.dp} = {plan.num_replicas}"
        yield f"shard={plan.shard} does not divide {ranks}; use {divisors(plan.num_replicas)}"
    if plan.zero == 0:
        yield f"shard={plan.shard} says among how many ranks zero divides; use zero=1, 2 or 3, or take shard out"


def _chunk_problems(plan: Plan) -> Iterator[str]:
    """Chunks are for ranks in a row; how many of them, the schedule says itself."""
    name, vpp = plan.schedule, plan.vpp
    if plan.pp == 1 and name in TWO_CHUNKS:
        yield f"schedule={name} needs pp > 1; use pp=2 or more, or schedule=1f1b"
    elif plan.pp == 1 and vpp > 1:
        yield f"vpp={vpp} needs pp > 1; use vpp=1, or pp=2 or more"
    if vpp == 1 and name in SEVERAL_CHUNKS:
        fix = "use vpp=2 or more" if plan.pp > 1 else "use pp=2 or more and vpp=2 or more"
        yield f"schedule={name} needs vpp > 1; {fix}, or schedule=1f1b"


def layer_problems(layers: Sequence[int], pp: int, vpp: int, num_layers: int) -> Iterator[str]:
    """What is wrong with the layers of each stage, where they are said."""
    stages = f"pp x vpp = {pp} x {vpp} = {pp * vpp} stages"
    if len(layers) != pp * vpp:
        yield f"layers are said of {len(layers)} stages, but {stages}; write one number for each"
    elif min(layers) < 0 or sum(layers) != num_layers:
        yield f"layers={_listed(list(layers))} sum to {sum(layers)}; write numbers from 0 that sum to {num_layers}"
    elif 0 in layers[1:-1]:
        yield f"layers: stage {layers.index(0, 1)} has none; only the first and the last stage may be without layers"


def _recompute_problems(plan: Plan, num_layers: int) -> Iterator[str]:
    if plan.recompute_layers is None:
        return
    if plan.recompute == "none":
        yield f"recompute_layers={plan.recompute_layers} needs recompute=full or selective; use one of them"
    elif plan.recompute_layers > num_layers:
        yield f"recompute_layers={plan.recompute_layers}: there are {num_layers} layers; use fewer, or take it out"


def _module_problems(plan: Plan, model: Transformer) -> Iterator[str]:
    """Modules that no layer of the model has, as Megatron-Core refuses them too [transformer_config.py]."""
    if plan.recompute_modules is None:
        return
    said = f"recompute_modules={','.join(plan.recompute_modules)}"
    if plan.recompute != "selective":
        yield f"{said} needs recompute=selective, not {plan.recompute}; use that, or take it out"
    shared = model.moe.shared_ffn if model.moe else 0
    is_there = {"mla_up_proj": model.mla, "moe_act": model.moe, "moe": model.moe, "shared_experts": shared}
    for name in plan.recompute_modules:
        if not is_there.get(name, True):
            yield f"{said}: {model.name} has no {_NEEDED_BY[name]}, which {name} computes again; take it out"


def _batch_problems(plan: Plan) -> Iterator[str]:
    unit = plan.micro_batch * plan.dp
    if plan.global_batch % unit:
        product = f"micro_batch x dp = {plan.micro_batch} x {plan.dp} = {unit}"
        fix = multiples_around(plan.global_batch, unit)
        yield f"global_batch={plan.global_batch} is not a multiple of {product}; use {fix}"


def _schedule_problems(plan: Plan) -> Iterator[str]:
    """What the schedule itself finds wrong with so many ranks, chunks and microbatches."""
    if 2 * plan.num_stages * plan.num_microbatches > LONGEST_CHECKED:
        return
    try:
        pipeline(plan)
    except InputError as error:
        of = f"; of global_batch={plan.global_batch}, {plan.micro_batch * plan.dp} sequences are one"
        yield f"{error}{of if 'microbatches' in str(error) else ''}"
