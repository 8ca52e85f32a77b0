"""Memory of each pipeline rank: what is kept for the whole step, and the activations in flight at the worst moment.

Weights in 2 bytes, gradients as the framework accumulates them, 12 bytes of optimizer state a parameter (fp32 weight
and two moments [Rajbhandari et al. 2020]), divided by dp with ZeRO 1. A forward pass adds its activations, the backward
pass of the same microbatch takes them away: the schedule decides how many are in flight [Korthikanti et al. 2022].
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

from sim import layers
from sim.costs import ELEMENT
from sim.layers import head
from sim.layers import stage as stage_of_model
from sim.layers.context import Context
from sim.layers.stage import Stage
from sim.plan import Plan
from sim.schedules import Action, schedule_of

OPTIMIZER_NBYTES = 12
"""fp32 weight, momentum and variance of one parameter."""


ALLOCATOR_RESERVE = 0.05
"""What the caching allocator holds beyond what is allocated: an assumption, not a measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """Bytes on every rank of one pipeline rank at its worst moment, by what they hold.

    Weights, gradients and optimizer count every expert. `recomputation` is the one layer (the largest) whose
    activations are made again while its gradients are; `logits` what the head keeps; `buffers` the messages of the
    pipeline.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    recomputation: float
    logits: float
    buffers: float

    @property
    def total(self) -> float:
        return sum(self.by_holding().values())

    @property
    def reserved(self) -> float:
        """Bytes that the process takes from the GPU for it."""
        return self.total * (1 + ALLOCATOR_RESERVE)

    def by_holding(self) -> dict[str, float]:
        """Bytes by what they hold."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@lru_cache(maxsize=8)
def memory_use(context: Context, plan: Plan) -> tuple[MemoryUse, ...]:
    """Peak bytes of every pipeline rank."""
    stages = stage_of_model.stages(context, plan)
    schedule = schedule_of(plan.schedule, plan.pp, plan.vpp, plan.num_microbatches, plan.group)
    kept = {stage: _kept(context, stage) for stage in set(stages)}
    held = (max(_in_flight(actions, [kept[stage] for stage in stages]), key=sum) for actions in schedule.rows)
    return tuple(_of_rank(context, plan, stages[rank :: plan.pp], *most) for rank, most in enumerate(held))


def _of_rank(context: Context, plan: Plan, own: Sequence[Stage], activations: float, logits: float) -> MemoryUse:
    count = sum(stage_of_model.parameters(context, stage) for stage in own)
    return MemoryUse(
        weights=float(ELEMENT * count),
        gradients=float(context.framework.gradient_nbytes * count),
        optimizer=OPTIMIZER_NBYTES * count / (plan.dp if plan.zero else 1),
        activations=activations,
        recomputation=_recomputed(context, own),
        logits=logits,
        buffers=2 * stage_of_model.message_nbytes(context) if plan.pp > 1 else 0.0,
    )


def _kept(context: Context, stage: Stage) -> tuple[float, float]:
    """Bytes that a stage keeps of one microbatch: in its layers and embedding, and in its head."""
    logits = head.saved_nbytes(context) if stage.has_head else 0.0
    return stage_of_model.saved_nbytes(context, stage) - logits, logits


def _in_flight(actions: Sequence[Action], kept: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Bytes of activations and of logits after each action."""
    activations = logits = 0.0
    for kind, stage, _ in actions:
        sign = 1 if kind == "F" else -1
        activations += sign * kept[stage][0]
        logits += sign * kept[stage][1]
        yield activations, logits


def _recomputed(context: Context, own: Sequence[Stage]) -> float:
    """What a layer keeps without recomputation beyond what it keeps with it: the layer for which that is the most."""
    different = [replace(context, kind=kind) for kind in {kind for stage in own for kind in stage.kinds}]
    return max(
        (layers.saved_nbytes(replace(one, recompute="none")) - layers.saved_nbytes(one) for one in different),
        default=0.0,
    )
