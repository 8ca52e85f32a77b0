"""Out of memory: on which rank, when, by how much, what it holds then; and what would fit.

A change is proposed only after its own memory was computed, the least change first: what costs no speed before what
costs some, and one change before two.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sim.layers.context import Context
from sim.memory.over_time import MemoryOverTime
from sim.memory.peak import memory_use
from sim.memory.use import MemoryUse, room
from sim.models.flops import DEFAULT_MODULES, RecomputeModule
from sim.models.transformer import Transformer
from sim.plan import Offload, Plan, Recompute, Zero, check
from topologies.document import InputError
from topologies.hardware import Cluster
from topologies.quantity import GIB, percent

MOST_CHANGES = 3
MOST_PAIRS = 20
LEAST_TOLD = 0.01
_KINDS = {"F": "forward pass", "B": "backward pass", "I": "input gradient", "W": "weight gradient"}


Changes = Mapping[str, object]
"""Fields of a plan with other values."""


class Fit(NamedTuple):
    """A change of the plan, as it is written, the plan with it, and what its fullest rank needs then, in bytes."""

    said: str
    plan: Plan
    need: float


def out_of_memory(
    context: Context, plan: Plan, cluster: Cluster, over_time: Sequence[MemoryOverTime] = ()
) -> tuple[str, ...]:
    """Sentences on the ranks that need more than their GPUs have, and on up to three changes that fit; none where all
    is well. `over_time` adds when in the step it happens."""
    uses, rooms = memory_use(context, plan), room(cluster, plan)
    over = [rank for rank, use in enumerate(uses) if use.reserved > rooms[rank]]
    if not over:
        return ()
    worst = max(over, key=lambda rank: uses[rank].reserved - rooms[rank])
    return (
        _shortage(over, worst, uses[worst], rooms[worst], _when(uses[worst], worst, over_time)),
        _holds(uses[worst]),
        _advice(changes_that_fit(context, plan, cluster), rooms[worst]),
    )


def changes_that_fit(context: Context, plan: Plan, cluster: Cluster) -> tuple[Fit, ...]:
    """Up to three changes of the plan with which it fits, least change first: single ones, then two at a time."""
    fitting = _fitting(context, plan, cluster)
    return tuple(itertools.islice(fitting, MOST_CHANGES))


def _fitting(context: Context, plan: Plan, cluster: Cluster) -> Iterator[Fit]:
    """Pairs are of the largest changes of kinds that do not do alone."""
    short: list[Changes] = []
    for family in _families(plan, context.model):
        changes = list(family)
        fit = next((fit for change in changes if (fit := _fit(context, plan, cluster, change))), None)
        if fit is not None:
            yield fit
        else:
            short += changes[-1:]
    pairs = itertools.islice(itertools.combinations(short, 2), MOST_PAIRS)
    yield from (fit for one, other in pairs if (fit := _fit(context, plan, cluster, {**one, **other})))


def _fit(context: Context, plan: Plan, cluster: Cluster, change: Changes) -> Fit | None:
    changed = replace(plan, **change)  # type: ignore[arg-type]  # they are the plan's own fields
    need = _need(context, changed, cluster)
    return None if need is None else Fit(_said(plan, change), changed, need)


def _need(context: Context, plan: Plan, cluster: Cluster) -> float | None:
    """Bytes of the fullest rank; None where the plan cannot be run or does not fit."""
    try:
        check(plan, context.model, cluster, context.seq_len)
        uses = memory_use(_changed(context, plan), plan)
    except InputError:
        return None
    fits = all(use.reserved <= capacity for use, capacity in zip(uses, room(cluster, plan), strict=True))
    return max(use.reserved for use in uses) if fits else None


def _changed(context: Context, plan: Plan) -> Context:
    return replace(
        context,
        tp=plan.tp,
        sp=plan.sp,
        cp=plan.cp,
        ep=plan.ep,
        etp=plan.expert_tp,
        recompute=plan.recompute,
        recompute_modules=plan.recomputed_modules,
        micro_batch=plan.micro_batch,
    )


def _families(plan: Plan, model: Transformer) -> Iterator[Iterator[Changes]]:
    """Kinds of change, each from small to large, in the order of what they cost."""
    yield _recomputations(plan, "selective")
    yield _shardings(plan)
    yield _modules(plan, model)
    yield ({"micro_batch": plan.micro_batch // 2**power} for power in range(1, plan.micro_batch.bit_length()))
    yield _recomputations(plan, "full")
    yield ({"tp": plan.tp * factor, "sp": True, "dp": plan.dp // factor} for factor in _factors(plan.dp))
    yield ({"pp": plan.pp * factor, "dp": plan.dp // factor} for factor in _factors(plan.dp))
    yield ({"cp": plan.cp * factor, "dp": plan.dp // factor} for factor in _factors(plan.dp))
    if model.moe is not None:
        yield ({"ep": plan.ep * factor} for factor in _factors(plan.expert_dp))
    yield _offloads(plan)


def _recomputations(plan: Plan, wanted: Recompute) -> Iterator[Changes]:
    order: tuple[Recompute, ...] = ("none", "selective", "full")
    if order.index(wanted) > order.index(plan.recompute):
        yield {"recompute": wanted, "recompute_modules": None, "recompute_layers": None}
    elif wanted == plan.recompute and plan.recompute_layers is not None:
        yield {"recompute_layers": None}


def _modules(plan: Plan, model: Transformer) -> Iterator[Changes]:
    """More of what is cheap to compute again: norms and activations, then products up from a latent, then the MLP."""
    there: dict[RecomputeModule, object] = {
        "layernorm": True,
        "moe_act": model.moe,
        "mla_up_proj": model.mla,
        "mlp": True,
    }
    cheap = [module for module, has in there.items() if has]
    for count in range(1, len(cheap) + 1):
        modules = (*DEFAULT_MODULES, *cheap[:count])
        if plan.recompute != "full" and not set(modules) <= set(plan.recomputed_modules):
            yield {"recompute": "selective", "recompute_modules": modules, "recompute_layers": None}


def _shardings(plan: Plan) -> Iterator[Changes]:
    levels: tuple[Zero, ...] = (1, 2, 3)
    if plan.num_sharing > 1:
        yield from ({"zero": level} for level in levels if level > plan.zero)


def _offloads(plan: Plan) -> Iterator[Changes]:
    kinds: tuple[Offload, ...] = ("optimizer", "activations", "all")
    if plan.offload != "all":
        yield from ({"offload": kind} for kind in kinds if kind != plan.offload)


def _factors(number: int) -> tuple[int, ...]:
    return tuple(factor for factor in (2, 4, 8) if number % factor == 0)


def _said(plan: Plan, change: Changes) -> str:
    """The settings that change, as a scenario says them; dp follows from the number of GPUs."""
    differs = {
        name: value
        for name, value in change.items()
        if name != "dp" and value != getattr(plan, name) and not (name == "recompute_modules" and value is None)
    }
    return " and ".join(f"{name}={_written(value)}" for name, value in differs.items())


def _written(value: object) -> str:
    """A value as a flag has it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    words = {True: "true", False: "false", None: "none"}
    return words[value] if isinstance(value, bool | None) else str(value)


def _shortage(over: Sequence[int], worst: int, use: MemoryUse, capacity: float, when: str) -> str:
    others = [str(rank) for rank in over if rank != worst]
    also = f" (and on {', '.join(others[:8])}{', ...' if len(others) > 8 else ''})" if others else ""
    missing = f"{use.reserved / GIB:.1f} GiB needed of {capacity / GIB:.1f} GiB"
    return (
        f"Out of memory on pipeline rank {worst}{also}: {missing}, {(use.reserved - capacity) / GIB:.1f} GiB too much, "
        f"{when}."
    )


def _when(use: MemoryUse, rank: int, over_time: Sequence[MemoryOverTime]) -> str:
    if use.action is None:
        what = "in the optimizer's step"
    else:
        kind, stage, microbatch = use.action
        what = f"in the {_KINDS[kind]} of microbatch {microbatch} through stage {stage}"
    return what + next((_share(one) for one in over_time if one.rank == rank), "")


def _share(one: MemoryOverTime) -> str:
    """How much of the step is over when most is held."""
    most = int(np.argmax(one.totals))
    return f", {percent(float(one.times[most] / one.times[-1]), 0)} into the step" if one.times[-1] else ""


def _holds(use: MemoryUse) -> str:
    parts = {**use.by_holding(), "reserve and CUDA": use.reserve}
    told = sorted((name for name in parts if parts[name] >= LEAST_TOLD * use.reserved), key=lambda name: -parts[name])
    return f"It holds {', '.join(f'{name} {parts[name] / GIB:.1f}' for name in told)} GiB."


def _advice(fits: Sequence[Fit], capacity: float) -> str:
    if not fits:
        return "No other recomputation, sharding, micro-batch, parallel degree or offload makes it fit: use more GPUs."
    told = "; ".join(f"{fit.said} ({fit.need / GIB:.1f} of {capacity / GIB:.1f} GiB)" for fit in fits)
    return f"Would fit: {told}."
