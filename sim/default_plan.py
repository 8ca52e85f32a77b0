"""What a plan is where it is not said.

Where any degree is given, the others are 1 and dp fills the GPUs. Where none is, tensor parallelism grows up to the
node, then pipeline parallelism [Narayanan et al. 2021, takeaways 1 and 2]: as little of both as fits in memory, and
more of both before layers are recomputed, which costs a third of the compute.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sim.models import Transformer
from sim.plan import (
    Compression,
    ContextKind,
    Offload,
    Plan,
    Recompute,
    Zero,
    check,
    divisors,
    split_layers,
    tensor_problems,
    tensor_widths,
)
from topologies.document import InputError
from topologies.hardware import Cluster

RECOMPUTES: tuple[Recompute, ...] = ("none", "selective", "full")
DEFAULT_TOKENS = 2**22  # about 4 million a step, as GPT-3 (3.2) and Llama 3 (4 to 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialPlan:
    """A plan of which only some is said. schedule 'none' is how tables of runs call 1F1B without a pipeline."""

    tp: int | None = None
    sp: bool | None = None
    pp: int | None = None
    vpp: int | None = None
    dp: int | None = None
    zero: Zero | None = None
    recompute: Recompute | None = None
    schedule: str | None = None
    micro_batch: int | None = None
    global_batch: int | None = None
    cp: int | None = None
    cp_kind: ContextKind | None = None
    ep: int | None = None
    etp: int | None = None
    shard: int | None = None
    recompute_layers: int | None = None
    group: int | None = None
    layers: tuple[int, ...] | None = None
    offload: Offload | None = None
    compression: Compression | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Degrees:
    tp: int
    pp: int
    vpp: int
    dp: int


def options(
    partial: PartialPlan, model: Transformer, cluster: Cluster, num_gpus: int, seq_len: int
) -> tuple[Plan, ...]:
    """The plans that the partial one allows, in the order to try them: the first that fits in memory is the default.

    The least recomputation comes first, and for each the smallest model-parallel size. Every plan has passed `check`.
    Raises InputError where there is none: that of the plan tried first.
    """
    _check_gpus(cluster, num_gpus)
    recomputes = RECOMPUTES if partial.recompute is None else (partial.recompute,)
    chosen = (
        [_given(partial, model, num_gpus)]
        if _any_degree(partial)
        else list(_grown(partial, model, cluster, num_gpus, seq_len))
    )
    possible, errors = [], []
    for recompute, degrees in itertools.product(recomputes, chosen):
        try:
            plan = _fill(partial, degrees, recompute, seq_len)
            check(plan, model, cluster, seq_len)
            possible.append(plan)
        except InputError as error:
            errors.append(error)
    if not possible:
        raise errors[0]
    return tuple(possible)


def undivided(model: Transformer, tp: int, num_gpus: int) -> str:
    """Where no pipeline cuts both the layers and the GPUs into equal parts: which there are, and a number of GPUs that
    one of them cuts; empty where some does."""
    room = num_gpus // tp
    sizes = [pp for pp in range(2, min(room, model.num_layers) + 1) if split_layers(model.num_layers, pp)]
    if not sizes or any(room % pp == 0 for pp in sizes):
        return ""
    gpus = tp * max(room // pp * pp for pp in sizes)
    stages = f"{model.num_layers} layers make pipelines of pp={', '.join(map(str, sizes))}"
    return f"{stages}, none of which divides {num_gpus} GPUs with tp={tp}, though one divides gpus={gpus}; "


def _check_gpus(cluster: Cluster, num_gpus: int) -> None:
    if num_gpus < 1:
        raise InputError(f"gpus={num_gpus} is not possible; use 1 or more")
    if num_gpus > cluster.num_gpus:
        raise InputError(f"gpus={num_gpus}, but {cluster.name} has {cluster.num_gpus}; use fewer, or more nodes")


def _any_degree(partial: PartialPlan) -> bool:
    return any(degree is not None for degree in (partial.tp, partial.pp, partial.vpp, partial.dp))


def _given(partial: PartialPlan, model: Transformer, num_gpus: int) -> _Degrees:
    """The degrees as given, the others 1, dp filling the GPUs.

    Raises InputError where they do not multiply to the GPUs.
    """
    tp, pp, vpp = _one(partial.tp), _one(partial.pp), _one(partial.vpp)
    if min(tp, pp, vpp, _one(partial.dp)) < 1:
        raise InputError(f"tp={tp}, pp={pp}, vpp={vpp}, dp={_one(partial.dp)}: every degree must be 1 or more")
    for problem in tensor_problems(tp, model):
        raise InputError(problem)
    return _Degrees(tp=tp, pp=pp, vpp=vpp, dp=_fill_gpus(tp, pp, partial.dp, num_gpus))


def _fill_gpus(tp: int, pp: int, dp: int | None, num_gpus: int) -> int:
    """The dp that fills the GPUs, which is also the one given."""
    product = f"tp x pp = {tp} x {pp} = {tp * pp}"
    filling, rest = divmod(num_gpus, tp * pp)
    if rest:
        more = num_gpus - rest + tp * pp
        fix = f"gpus={num_gpus - rest} or {more}" if filling else f"gpus={more}"
        raise InputError(f"{product} does not divide gpus={num_gpus}; use tp x pp = {divisors(num_gpus)}, or {fix}")
    if dp not in (None, filling):
        made = tp * pp * _one(dp)
        raise InputError(f"{product}, times dp={dp} is {made}, but gpus={num_gpus}; use dp={filling}, or gpus={made}")
    return filling


def _one(degree: int | None) -> int:
    return 1 if degree is None else degree


def _grown(
    partial: PartialPlan, model: Transformer, cluster: Cluster, num_gpus: int, seq_len: int
) -> Iterator[_Degrees]:
    """tp = 1, 2, 4, ... as far as it divides the heads and stays in a node; with the largest then pp = 2, 3, ..."""
    tps = [tp for tp in _tensor_sizes(model, cluster, seq_len) if num_gpus % tp == 0]
    yield from (_Degrees(tp=tp, pp=1, vpp=1, dp=num_gpus // tp) for tp in tps)
    pipelines = num_gpus // tps[-1]
    for pp in range(2, min(pipelines, model.num_layers) + 1):
        if pipelines % pp == 0 and split_layers(model.num_layers, pp):
            dp = pipelines // pp
            yield _Degrees(tp=tps[-1], pp=pp, vpp=_num_chunks(partial, model, pp, dp), dp=dp)


def _tensor_sizes(model: Transformer, cluster: Cluster, seq_len: int) -> list[int]:
    width = math.gcd(*tensor_widths(model).values(), seq_len)
    sizes = [2**power for power in range(cluster.node.num_gpus.bit_length())]
    return [size for size in sizes if width % size == 0]


def _num_chunks(partial: PartialPlan, model: Transformer, pp: int, dp: int) -> int:
    """The fewest chunks, at least two, that interleaving could have; one where it is not wanted or not possible."""
    if partial.schedule not in (None, "interleaved"):
        return 1
    unit = _one(partial.micro_batch) * dp * pp
    if partial.global_batch is not None and (unit < 1 or partial.global_batch % unit):
        return 1
    chunks = range(2, model.num_layers // pp + 1)
    return next((vpp for vpp in chunks if split_layers(model.num_layers, pp * vpp)), 1)


def _fill(partial: PartialPlan, degrees: _Degrees, recompute: Recompute, seq_len: int) -> Plan:
    micro_batch = _one(partial.micro_batch)
    default = _default_batch(max(1, degrees.dp * degrees.pp), max(1, micro_batch), seq_len)
    return Plan(
        tp=degrees.tp,
        sp=degrees.tp > 1 if partial.sp is None else partial.sp,
        pp=degrees.pp,
        vpp=degrees.vpp,
        dp=degrees.dp,
        zero=(1 if degrees.dp > 1 else 0) if partial.zero is None else partial.zero,
        recompute=recompute,
        schedule=_schedule(partial, degrees),
        micro_batch=micro_batch,
        global_batch=default if partial.global_batch is None else partial.global_batch,
        cp=_one(partial.cp),
        cp_kind=partial.cp_kind or "ring",
        ep=_one(partial.ep),
        etp=partial.etp,
        shard=partial.shard,
        recompute_layers=partial.recompute_layers,
        group=partial.group,
        layers=partial.layers,
        offload=partial.offload or "none",
        compression=partial.compression or "none",
    )


def _default_batch(num_ranks: int, micro_batch: int, seq_len: int) -> int:
    """Each of dp x pp ranks gets 1, 2, 4, 8, ... sequences, by that which comes closest to 4 million tokens a step.

    So the batch stays the same for every micro-batch that is a power of two, as long as each rank gets one; for others
    it goes up to the next multiple of micro_batch x dp x pp.
    """
    wanted = DEFAULT_TOKENS / max(1, seq_len) / num_ranks
    each = 1 << max(0, round(math.log2(wanted)))
    return num_ranks * micro_batch * math.ceil(each / micro_batch)


def _schedule(partial: PartialPlan, degrees: _Degrees) -> str:
    if partial.schedule == "none" and degrees.pp > 1:
        raise InputError(f"schedule=none is for pp=1, not pp={degrees.pp}; use gpipe, 1f1b or interleaved")
    if partial.schedule is None or partial.schedule == "none":
        return "interleaved" if degrees.vpp > 1 else "1f1b"
    return partial.schedule
