"""Pipeline schedules as data: each is a function (num_ranks, num_chunks, num_microbatches) -> actions per rank."""

import functools
from collections.abc import Callable

from sim.schedules.action import Action, Deadlock, Grid, Kind, Schedule, picture
from sim.schedules.gpipe import gpipe
from sim.schedules.interleaved import interleaved
from sim.schedules.one_f_one_b import one_f_one_b

__all__ = ["SCHEDULES", "Action", "Deadlock", "Grid", "Kind", "Schedule", "picture", "schedule_of"]

SCHEDULES: dict[str, Callable[[int, int, int], Schedule]] = {
    "gpipe": gpipe,
    "1f1b": one_f_one_b,
    "interleaved": interleaved,
}


@functools.lru_cache(maxsize=4)
def schedule_of(name: str, num_ranks: int, num_chunks: int, num_microbatches: int, group: int | None = None) -> Schedule:
    """The schedule of a name, or of a CSV by its path; kept, since memory and timeline read the same one.

    `group`: see Plan.group. Raises InputError where it cannot be made of these numbers.
    """
    return SCHEDULES[name](num_ranks, num_chunks, num_microbatches)
