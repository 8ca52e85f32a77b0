"""The worst moment of each pipeline rank: what it always holds, and what the schedule has in flight then.

A schedule decides how many forward passes wait for their backward [Korthikanti et al. 2022]; the optimizer's step has
none of them left, and its own needs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sim.layers import stage as stage_of_model
from sim.layers.context import Context
from sim.layers.stage import Stage
from sim.memory import states, workspace
from sim.memory.buffers import communication
from sim.memory.passes import Change, Passes, passes
from sim.memory.use import MemoryUse, reserve
from sim.plan import Plan, pipeline
from sim.schedules import Action, Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Always:
    """Bytes that a rank holds throughout the step; `optimizer_step`: what more in the optimizer's step."""

    weights: float
    gradients: float
    optimizer: float
    buffers: float
    workspace: float
    optimizer_step: float


@lru_cache(maxsize=32)
def memory_use(context: Context, plan: Plan) -> tuple[MemoryUse, ...]:
    """Peak bytes of every pipeline rank."""
    schedule = pipeline(plan, overlap_ep=context.framework.overlap_ep)
    held = passes(context, plan, schedule)
    ranks = enumerate(always(context, plan, schedule))
    return tuple(_peak(context, one, schedule.rows[rank], held) for rank, one in ranks)


def always(context: Context, plan: Plan, schedule: Schedule) -> tuple[Always, ...]:
    """What each pipeline rank holds throughout; ranks with the same stages share it."""
    stages = stage_of_model.stages(context, plan)
    own = [tuple(stages[at % schedule.model_stages] for at in schedule.stages_of(rank)) for rank in range(plan.pp)]
    made = {one: _always(context, plan, one) for one in set(own)}
    return tuple(made[one] for one in own)


def _always(context: Context, plan: Plan, own: Sequence[Stage]) -> Always:
    count = states.parameters_of(context, plan, own)
    return Always(
        weights=states.weights(context, plan, count),
        gradients=states.gradients(context, plan, count),
        optimizer=states.optimizer(context, plan, count),
        buffers=communication(context, plan, own, count),
        workspace=workspace.libraries(context, {kind for stage in own for kind in stage.kinds}),
        optimizer_step=states.optimizer_workspace(context, plan, count),
    )


def in_flight(actions: Sequence[Action], held: Passes) -> Iterator[tuple[Change, Change]]:
    """Of each action, in order: what is in flight during it at its worst moment, and after it."""
    now = Change()
    for kind, stage, _ in actions:
        during, after = held[kind, stage]
        yield now.plus(during), now.plus(after)
        now = now.plus(after)


def _peak(context: Context, one: Always, actions: Sequence[Action], held: Passes) -> MemoryUse:
    worst, change = _worst_action(actions, held)
    if one.optimizer_step > sum(change):
        worst, change = None, Change(workspace=one.optimizer_step)
    allocated = one.weights + one.gradients + one.optimizer + one.buffers + one.workspace + sum(change)
    return MemoryUse(
        weights=one.weights,
        gradients=one.gradients,
        optimizer=one.optimizer,
        activations=change.activations,
        recomputation=change.recomputation,
        logits=change.logits,
        buffers=one.buffers,
        workspace=one.workspace + change.workspace,
        reserve=reserve(context.framework, allocated),
        action=worst,
    )


def _worst_action(actions: Sequence[Action], held: Passes) -> tuple[Action | None, Change]:
    """When most is in flight. Sums first: a schedule may have 100,000 actions, and only one of them is told."""
    totals = {key: (sum(one.during), sum(one.after)) for key, one in held.items()}
    now, most, at = 0.0, float("-inf"), 0
    for place, (kind, stage, _) in enumerate(actions):
        during, after = totals[kind, stage]
        if now + during > most:
            most, at = now + during, place
        now += after
    before = Change()
    for kind, stage, _ in actions[:at]:
        before = before.plus(held[kind, stage].after)
    kind, stage, _ = actions[at]
    return actions[at], before.plus(held[kind, stage].during)
