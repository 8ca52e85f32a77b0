"""The schedule of a plan: what its pipeline ranks do, in which order."""

from sim.plan.plan import Plan, is_schedule_file
from sim.schedules import Schedule, schedule_of


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
