"""Which rank has which part, and which ranks communicate.

Ranks are counted as Megatron counts them: tp fastest, so that its many messages stay in a node, then cp, dp, pp. Expert
parallelism deals the experts to the ranks of a pipeline rank anew: etp fastest, then ep; what is left over are the
expert's own replicas (edp).
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from sim.plan.pipeline import homes
from sim.plan.plan import Plan

Axis = Literal[
    "tp", "cp", "dp", "ep", "etp", "experts", "edp", "shard", "replica", "eshard", "ereplica", "pp", "embedding"
]


def rank(plan: Plan, tp: int, dp: int, pp: int, cp: int = 0) -> int:
    """The global rank at these coordinates."""
    return tp + plan.tp * (cp + plan.cp * (dp + plan.dp * pp))


def groups(plan: Plan, axis: Axis) -> list[tuple[int, ...]]:
    """The ranks that communicate along an axis, each group in the axis' order; see `group_of`."""
    if axis in ("pp", "embedding"):
        stages = _pipeline_ranks(plan, axis)
        return [_across(plan, place, stages) for place in range(plan.stride)] if stages else []
    found: list[tuple[int, ...]] = []
    known: set[int] = set()
    for member in range(plan.num_gpus):
        if member not in known:
            found.append(group_of(plan, axis, member))
            known.update(found[-1])
    return found


def group_of(plan: Plan, axis: Axis, member: int) -> tuple[int, ...]:
    """The group along an axis that one rank is in, itself included.

    'dp': cp x dp ranks, over which gradients are summed; 'edp' the same of an expert's. 'shard': those of them that
    share what `zero` divides, 'replica': those that hold the same part of it; 'eshard' and 'ereplica' the same of an
    expert's. 'embedding': the pipeline ranks of the first stage and of the last, which add up the gradients of a tied
    embedding; none where one rank has both, and none for all others.
    'experts': ep x etp ranks, which have all experts together.
    """
    p, place = divmod(member, plan.stride)
    if axis in ("pp", "embedding"):
        stages = _pipeline_ranks(plan, axis)
        return _across(plan, place, stages) if p in stages else ()
    first, step, count = _places(plan, axis, place)
    start = p * plan.stride + first
    return tuple(range(start, start + step * count, step))


def spans(plan: Plan) -> dict[Axis, tuple[int, int]]:
    """Along each axis inside a pipeline rank: the step from one member of a group to the next, how many they are.

    Groups of `count` members, `step` apart, fill blocks of step x count ranks, which lie one behind the other.
    """
    tp, etp, sharing = plan.tp, plan.expert_tp, plan.num_sharing
    return {
        "tp": (1, tp),
        "cp": (tp, plan.cp),
        "dp": (tp, plan.num_replicas),
        "shard": (tp, sharing),
        "replica": (tp * sharing, plan.num_replicas // sharing),
        "etp": (1, etp),
        "ep": (etp, plan.ep),
        "experts": (1, etp * plan.ep),
        "edp": (etp * plan.ep, plan.expert_dp),
        "eshard": (etp * plan.ep, plan.expert_sharing),
        "ereplica": (etp * plan.ep * plan.expert_sharing, plan.expert_dp // plan.expert_sharing),
    }


def _pipeline_ranks(plan: Plan, axis: Axis) -> Sequence[int]:
    """The pipeline ranks that meet: all, or those of a model's first stage and its last, where these are two.

    Of two models the second ends where the first begins.
    """
    if axis == "pp":
        return range(plan.pp)
    first, *_, last = homes(plan) if plan.pp > 1 else (0, 0)
    return sorted((first, last)) if first != last else ()


def _across(plan: Plan, place: int, stages: Iterable[int]) -> tuple[int, ...]:
    """The ranks at one place of these pipeline ranks."""
    return tuple(place + plan.stride * stage for stage in stages)


def _places(plan: Plan, axis: Axis, place: int) -> tuple[int, int, int]:
    """Of the group along an axis that the rank at this place of its pipeline rank is in: the first place, the step from
    one to the next, how many."""
    step, count = spans(plan)[axis]
    block, inside = divmod(place, step * count)
    return block * step * count + inside % step, step, count
