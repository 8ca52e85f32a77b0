"""The schedule of a plan: what its pipeline ranks do, in which order."""

from sim.plan.plan import Plan
from sim.schedules import Schedule, schedule_of


def pipeline(plan: Plan, *, overlap_ep: bool = False) -> Schedule:
    """The schedule of a plan; `overlap_ep` as the framework says, which counts where experts are spread at all.

    Raises InputError where it cannot be made of the plan's numbers.
    """
    counts = plan.pp, plan.vpp, plan.num_microbatches
    return schedule_of(plan.schedule, *counts, plan.group, overlap_ep=overlap_ep and plan.ep > 1)
