"""The worst moment of each pipeline rank: what it always holds, and what the schedule has in flight then.

A schedule decides how many forward passes wait for their backward [Korthikanti et al. 2022]; the optimizer's step has
none of them left, and its own needs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sim.layers import stage as stage_of_model
from sim.layers.context import Context
from sim.layers.stage import Stage
from sim.memory import states, workspace
from sim.memory.buffers import communication
from sim.memory.passes import Change, Passes, PassMemory, passes
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


def in_flight(actions: Sequence[Action], held: Passes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each action, in order: what is in flight during it at its worst moment, and after it; a row holds the fields
    of Change."""
    which, passes_held = _passes_of(actions, held)
    return _levels(which, np.array([one.during for one in passes_held]), np.array([one.after for one in passes_held]))


def _passes_of(actions: Sequence[Action], held: Passes) -> tuple[NDArray[np.intp], list[PassMemory]]:
    """Which pass each action is, and what the different ones hold."""
    keys = [action[:2] for action in actions]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    which = np.fromiter(map(numbers.__getitem__, keys), dtype=np.intp, count=len(keys))
    return which, [held[key] for key in numbers]


def _levels(
    which: NDArray[np.intp], during: NDArray[np.float64], after: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What has come and not gone, during each pass and after it."""
    left = np.concatenate([np.zeros_like(after[:1]), after[which]]).cumsum(axis=0)
    return left[:-1] + during[which], left[1:]


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
    """When most is in flight, and what."""
    which, passes_held = _passes_of(actions, held)
    totals = np.array([(sum(one.during), sum(one.after)) for one in passes_held])
    at = int(_levels(which, totals[:, 0], totals[:, 1])[0].argmax())
    during, _ = in_flight(actions[: at + 1], held)
    return actions[at], Change(*during[-1].tolist())
