"""Pipeline schedules as data: each is a function (num_ranks, num_chunks, num_microbatches) -> actions per rank."""

import functools
from collections.abc import Callable
from pathlib import Path

from sim.schedules.action import Action, Deadlock, Grid, Kind, Schedule, picture
from sim.schedules.controllable_memory import v_half, v_min
from sim.schedules.dry_run import dry_run
from sim.schedules.dualpipe import dualpipe, dualpipev
from sim.schedules.exchange import is_schedule_file, load
from sim.schedules.gpipe import gpipe, looped
from sim.schedules.interleaved import interleaved
from sim.schedules.naive import naive
from sim.schedules.one_f_one_b import one_f_one_b
from sim.schedules.zero_bubble import zb_h1, zb_h2, zb_v
from topologies.document import InputError

__all__ = ["SCHEDULES", "Action", "Deadlock", "Grid", "Kind", "Schedule", "is_schedule_file", "picture", "schedule_of"]

SCHEDULES: dict[str, Callable[[int, int, int], Schedule]] = {
    "gpipe": gpipe,
    "1f1b": one_f_one_b,
    "interleaved": interleaved,
    "looped": looped,
    "naive": naive,
    "zb-h1": zb_h1,
    "zb-h2": zb_h2,
    "zb-v": zb_v,
    "v-half": v_half,
    "v-min": v_min,
    "dualpipe": dualpipe,
    "dualpipev": dualpipev,
}


def schedule_of(
    name: str,
    num_ranks: int,
    num_chunks: int,
    num_microbatches: int,
    group: int | None = None,
    *,
    overlap_ep: bool = False,
) -> Schedule:
    """The schedule of a name, or of a CSV by its path; kept, since memory and timeline read the same one.

    `group`: see Plan.group. overlap_ep: forwards and backwards of two microbatches run as one, for which 1f1b and
    interleaved warm up once more [Megatron-Core]. Raises InputError where it cannot be made of these numbers.
    """
    counts = num_ranks, num_chunks, num_microbatches
    if is_schedule_file(name):
        path = Path(name)
        return _from_file(path, *counts, path.stat().st_mtime_ns if path.is_file() else 0)
    return _from_name(name, *counts, group, overlap_ep)


@functools.lru_cache(maxsize=4)
def _from_name(
    name: str, num_ranks: int, num_chunks: int, num_microbatches: int, group: int | None, overlap_ep: bool
) -> Schedule:
    if group is not None and name != "interleaved":
        raise InputError(f"group={group} is for schedule interleaved, not {name}; leave it out")
    if name == "interleaved":
        return interleaved(num_ranks, num_chunks, num_microbatches, group, is_paired=overlap_ep)
    if name == "1f1b":
        return one_f_one_b(num_ranks, num_chunks, num_microbatches, is_paired=overlap_ep)
    schedule = SCHEDULES[name](num_ranks, num_chunks, num_microbatches)
    if overlap_ep and not schedule.is_paired:
        fix = "1f1b, interleaved, dualpipe or dualpipev"
        raise InputError(f"framework.overlap_ep pairs forwards with backwards, but schedule {name} has none; use {fix}")
    return schedule


@functools.lru_cache(maxsize=4)
def _from_file(path: Path, num_ranks: int, num_chunks: int, num_microbatches: int, changed: int) -> Schedule:
    """As the file was when it was last `changed`.

    Raises InputError where it is of another size, or comes to no end.
    """
    schedule = load(path)
    try:
        dry_run(schedule)
    except Deadlock as deadlock:
        raise InputError(f"{path.name}: this order comes to no end: {', '.join(deadlock.waits)}") from None
    found = {
        "pp": (schedule.num_ranks, num_ranks),
        "vpp": (schedule.model_stages / schedule.num_ranks, num_chunks),
        "microbatches": (1 + max(action.microbatch for row in schedule.rows for action in row), num_microbatches),
    }
    for noun, (count, wanted) in found.items():
        if count != wanted:
            raise InputError(
                f"{path.name}: a schedule of {noun}={count:g}, but the plan has {noun}={wanted}; change either"
            )
    return schedule
