"""What each pipeline rank holds from the beginning of the step to its end, as a step function.

The schedule says in which order activations come and go, the timeline when. A pass counts at its worst moment from its
start to its end, so the highest level is the peak that the schedule alone gives.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.layers.context import Context
from sim.memory.passes import Change, passes
from sim.memory.peak import Always, always, in_flight
from sim.memory.use import HOLDINGS
from sim.plan import Plan, pipeline
from sim.program import COMPUTE
from sim.schedules import Action
from sim.timeline import KINDS, NO_ACTION, Timeline
from topologies.quantity import GIB

MOST_LEVELS = 4000
"""Of all pipeline ranks in a file; where there are more, runs of levels become their highest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryOverTime:
    """From times[i] on (seconds from the step's start, up to times[i + 1] or the end of the step) a rank of this
    pipeline rank holds nbytes[i], in the order of HOLDINGS. Times may repeat: what comes later counts."""

    rank: int
    times: NDArray[np.float64]
    nbytes: NDArray[np.float64]

    @property
    def totals(self) -> NDArray[np.float64]:
        """Bytes allocated from each time on."""
        return np.asarray(self.nbytes.sum(axis=1), dtype=np.float64)


def memory_over_time(context: Context, plan: Plan, timeline: Timeline) -> tuple[MemoryOverTime, ...]:
    """What each pipeline rank holds over the step that was played; of its ranks the first that was."""
    schedule = pipeline(plan, overlap_ep=context.framework.overlap_ep)
    held = passes(context, plan, schedule)
    tracks = _compute_tracks(timeline, plan)
    return tuple(
        _over_time(rank, one, list(in_flight(schedule.rows[rank], held)), timeline, tracks[rank], schedule.rows[rank])
        for rank, one in enumerate(always(context, plan, schedule))
        if rank in tracks
    )


def thinned(one: MemoryOverTime, most: int) -> MemoryOverTime:
    """At most so many levels: of each run of equal length the highest, from the run's first time on."""
    count = len(one.times)
    if count <= most:
        return one
    starts = np.arange(most) * count // most
    runs = np.split(one.totals, starts[1:])
    highest = starts + np.array([int(run.argmax()) for run in runs])
    return MemoryOverTime(rank=one.rank, times=one.times[starts], nbytes=one.nbytes[highest])


def memory_csv(ranks: Sequence[MemoryOverTime]) -> str:
    """All levels as CSV: pipeline rank, seconds, GiB by holding and in total."""
    most = max(2, MOST_LEVELS // max(1, len(ranks)))
    header = ",".join(("rank", "time_s", *(f"{name}_gib" for name in HOLDINGS), "total_gib"))
    return "\n".join([header, *(line for one in ranks for line in _lines(thinned(one, most)))]) + "\n"


def _lines(one: MemoryOverTime) -> Iterator[str]:
    for time, held in zip(one.times.tolist(), (one.nbytes / GIB).tolist(), strict=True):
        cells = ",".join(f"{amount:.6g}" for amount in (*held, sum(held)))
        yield f"{one.rank},{time:.9g},{cells}"


def _compute_tracks(timeline: Timeline, plan: Plan) -> dict[int, int]:
    """Of each pipeline rank the compute track of its first rank that was played."""
    found: dict[int, int] = {}
    for index, track in enumerate(timeline.tracks):
        if track.stream == COMPUTE:
            found.setdefault(track.rank // plan.stride, index)
    return found


def _over_time(
    rank: int,
    one: Always,
    levels: Sequence[tuple[Change, Change]],
    timeline: Timeline,
    track: int,
    actions: Sequence[Action],
) -> MemoryOverTime:
    starts, ends = _times(timeline, track, actions)
    first, last = _optimizer(timeline, track)
    idle = Change()
    times = [0.0, *np.column_stack([starts, ends]).ravel().tolist(), first, last]
    changes = [idle, *(change for pair in levels for change in pair), Change(workspace=one.optimizer_step), idle]
    return MemoryOverTime(
        rank=rank,
        times=np.maximum.accumulate(np.array(times)),
        nbytes=np.array([_level(one, change) for change in changes]),
    )


def _level(one: Always, change: Change) -> tuple[float, ...]:
    """In the order of HOLDINGS."""
    return (
        one.weights,
        one.gradients,
        one.optimizer,
        change.activations,
        change.recomputation,
        change.logits,
        one.buffers,
        one.workspace + change.workspace,
    )


def _times(
    timeline: Timeline, track: int, actions: Sequence[Action]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """When each action starts and ends. One that runs within the next, as of a pair, is over when that begins: so what
    it brings is there when the other is at its worst."""
    rows = np.flatnonzero((timeline.track == track) & (timeline.kind != NO_ACTION) & ~_stalls(timeline))
    keys = _keys(timeline.kind[rows], timeline.stage[rows], timeline.microbatch[rows])
    known, which = np.unique(keys, return_inverse=True)
    starts, ends = np.full(len(known) + 1, np.inf), np.full(len(known) + 1, -np.inf)
    np.minimum.at(starts, which, timeline.start[rows])
    np.maximum.at(ends, which, timeline.end[rows])
    kinds, stages, microbatches = zip(*actions, strict=True)
    wanted = _keys(*(np.array(column) for column in ([KINDS.index(kind) for kind in kinds], stages, microbatches)))
    places = np.searchsorted(known, wanted)
    places[(places == len(known)) | (np.append(known, -1)[places] != wanted)] = len(known)
    starts = np.minimum.accumulate(starts[places][::-1])[::-1].clip(max=timeline.duration)
    ends = np.maximum(ends[places], starts)
    ends[:-1] = np.minimum(ends[:-1], starts[1:])
    return starts, ends


def _keys(kind: NDArray[np.generic], stage: NDArray[np.generic], microbatch: NDArray[np.generic]) -> NDArray[np.int64]:
    """One number for each action."""
    wide = (column.astype(np.int64) for column in (kind, stage, microbatch))
    kind_number, stage_number, microbatch_number = wide
    return (microbatch_number << 32) + (stage_number << 2) + kind_number


def _stalls(timeline: Timeline) -> NDArray[np.bool_]:
    """Of every span whether nothing ran."""
    return np.array([label.is_stall for label in timeline.labels], dtype=bool)[timeline.label]


def _optimizer(timeline: Timeline, track: int) -> tuple[float, float]:
    """When the optimizer's step starts and ends; both the end of the step where there is none."""
    updates = np.array([label.category == "optimizer" for label in timeline.labels], dtype=bool)[timeline.label]
    rows = np.flatnonzero((timeline.track == track) & updates)
    if not len(rows):
        return timeline.duration, timeline.duration
    return float(timeline.start[rows].min()), float(timeline.end[rows].max())
