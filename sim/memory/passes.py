"""What each pass of a schedule holds while it runs, and what it leaves behind.

A forward pass leaves its activations; the whole backward pass takes them away. Of its halves the input gradient takes
all but what the weight gradient needs [Qi et al. 2023, section 2.2]. Within a backward pass the worst moment is in the
head, with the logits; in the layers, where one is made again; or in the embedding, when the layers are done.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from sim import layers
from sim.layers import head, moe
from sim.layers import stage as stage_of_model
from sim.layers.context import Context
from sim.layers.stage import Stage
from sim.memory import workspace
from sim.models.transformer import LayerKind
from sim.plan import Plan
from sim.schedules import Kind, Schedule


class Change(NamedTuple):
    """Bytes that come, or go, by the holdings that change within a step."""

    activations: float = 0.0
    recomputation: float = 0.0
    logits: float = 0.0
    workspace: float = 0.0

    def plus(self, other: "Change") -> "Change":
        """Both changes."""
        return Change(*(mine + its for mine, its in zip(self, other, strict=True)))


class PassMemory(NamedTuple):
    """What comes beside all that is in flight: `during` the pass at its worst moment, and `after` it."""

    during: Change
    after: Change


Passes = Mapping[tuple[Kind, int], PassMemory]
"""By the kind of a pass and its global stage."""


def passes(context: Context, plan: Plan, schedule: Schedule) -> Passes:
    """The passes of every stage of a schedule; stages that are equal share what they hold."""
    stages = stage_of_model.stages(context, plan)
    made = {stage: _of_stage(context, plan, stage) for stage in set(stages)}
    places = range(len(schedule.homes))
    return {(kind, at): one for at in places for kind, one in made[stages[at % schedule.model_stages]].items()}


def _of_stage(context: Context, plan: Plan, stage: Stage) -> dict[Kind, PassMemory]:
    logits = head.saved_nbytes(context) if stage.has_head else 0.0
    saved = stage_of_model.saved_nbytes(context, stage) - logits
    for_weights = stage_of_model.saved_for_weights_nbytes(context, stage)
    offloaded = saved if plan.offload in ("activations", "all") else 0.0
    fetched = min(offloaded, 2 * _largest_layer(context, stage))
    forward = Change(activations=saved - offloaded, logits=logits)
    backward = Change(activations=offloaded - saved, logits=-logits)
    during = _plus_activations(_worst(context, stage, saved, logits), fetched)
    return {
        "F": PassMemory(_plus_activations(forward, fetched), forward),
        "B": PassMemory(during, backward),
        "I": PassMemory(during, _plus_activations(backward, for_weights)),
        "W": PassMemory(Change(workspace=workspace.of_layers(context, stage)), Change(activations=-for_weights)),
    }


def _plus_activations(change: Change, nbytes: float) -> Change:
    return change._replace(activations=change.activations + nbytes)


def _worst(context: Context, stage: Stage, saved: float, logits: float) -> Change:
    """The worst moment of a backward pass, beside its activations, which are still in flight when it begins."""
    moments = [
        Change(
            recomputation=_recomputed(context, stage),
            logits=-logits,
            workspace=workspace.of_layers(context, stage),
        )
    ]
    if stage.has_head:
        moments.append(Change(workspace=workspace.of_head(context)))
    if stage.has_embedding:
        moments.append(Change(activations=-saved, logits=-logits, workspace=workspace.of_embedding(context)))
    return max(moments, key=sum)


def _recomputed(context: Context, stage: Stage) -> float:
    """What a layer has computed again while its gradients are made: the layer for which that is the most."""
    kinds = {*stage.kinds[: stage.num_recomputed], *_predicting(context, stage)}
    return max((layers.recomputed_nbytes(replace(context, kind=kind)) for kind in kinds), default=0.0)


def _predicting(context: Context, stage: Stage) -> tuple[LayerKind, ...]:
    """The kind of the layers that predict one token more."""
    return moe.kinds(context)[-1:] if stage.has_head and context.model.mtp_layers else ()


def _largest_layer(context: Context, stage: Stage) -> float:
    kinds = set(stage.kinds)
    return max((layers.saved_nbytes(replace(context, kind=kind)) for kind in kinds), default=0.0)
