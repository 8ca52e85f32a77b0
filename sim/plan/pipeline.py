"""The schedule of a plan: what its pipeline ranks do, in which order, and which stages they have."""

from functools import lru_cache

from sim.plan.plan import Plan
from sim.schedules import Schedule, is_schedule_file, schedule_of
from sim.schedules.action import back_and_forth, in_rounds

BACK_AND_FORTH = ("zb-v", "v-half", "v-min", "dualpipe", "dualpipev")
"""Schedules whose second chunk, or second model, comes back."""


def pipeline(plan: Plan, *, overlap_ep: bool = False) -> Schedule:
    """The schedule of a plan; `overlap_ep` as the framework says, which counts where experts are spread at all.

    Raises InputError where it cannot be made of the plan's numbers.
    """
    counts = plan.pp, plan.vpp, plan.num_microbatches
    return schedule_of(plan.schedule, *counts, plan.group, overlap_ep=overlap_ep and plan.ep > 1)


def has_two_models(plan: Plan) -> bool:
    """Whether each pipeline holds the model twice, as DualPipe's does; of a schedule with a name that needs no schedule
    to be made."""
    return plan.schedule == "dualpipe" or (is_schedule_file(plan.schedule) and pipeline(plan).num_models == 2)


def homes(plan: Plan) -> tuple[int, ...]:
    """The pipeline rank of each stage, of two models of both; of a schedule with a name that needs no schedule to be
    made."""
    if is_schedule_file(plan.schedule):
        return pipeline(plan).homes
    return _homes_of(plan.schedule, plan.pp, plan.vpp)


@lru_cache(maxsize=64)
def _homes_of(name: str, num_ranks: int, num_chunks: int) -> tuple[int, ...]:
    return back_and_forth(num_ranks) if name in BACK_AND_FORTH else in_rounds(num_ranks, num_chunks)
