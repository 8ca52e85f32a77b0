"""What each pipeline rank holds from the beginning of the step to its end, as a step function.

The schedule says in which order activations come and go, the timeline when. A pass counts at its worst moment from its
start to its end, so the highest level is the peak that the schedule alone gives.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sim.layers.context import Context
from sim.memory.passes import Change, Passes, passes
from sim.memory.peak import Always, always, in_flight
from sim.memory.use import HOLDINGS
from sim.plan import Plan, pipeline
from sim.program import COMPUTE
from sim.schedules import Action
from sim.timeline import NO_ACTION, Timeline, columns_of
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
    played, tracks = _Played(timeline), _compute_tracks(timeline, plan)
    return tuple(
        _over_time(rank, one, held, played, tracks[rank], schedule.rows[rank])
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


@dataclass(frozen=True)
class _Played:
    """A timeline, and what is looked at of each of its tracks."""

    timeline: Timeline

    @cached_property
    def is_pass(self) -> NDArray[np.bool_]:
        """Of every span whether it is of an action, and something ran."""
        stalls = np.array([label.is_stall for label in self.timeline.labels], dtype=bool)
        found: NDArray[np.bool_] = (self.timeline.kind != NO_ACTION) & ~stalls[self.timeline.label]
        return found

    @cached_property
    def is_update(self) -> NDArray[np.bool_]:
        """Of every span whether it is of the optimizer's step."""
        updates = np.array([label.category == "optimizer" for label in self.timeline.labels], dtype=bool)
        found: NDArray[np.bool_] = updates[self.timeline.label]
        return found

    @cached_property
    def bounds(self) -> NDArray[np.intp]:
        """Where the spans of each track begin, and those of the last one end."""
        return np.searchsorted(self.timeline.track, np.arange(len(self.timeline.tracks) + 1))

    def rows(self, track: int, wanted: NDArray[np.bool_]) -> NDArray[np.intp]:
        """The spans of a track that are wanted."""
        first, last = self.bounds[track : track + 2]
        found: NDArray[np.intp] = first + np.flatnonzero(wanted[first:last])
        return found


def _over_time(
    rank: int, one: Always, held: Passes, played: _Played, track: int, actions: Sequence[Action]
) -> MemoryOverTime:
    starts, ends = _times(played, track, actions)
    return MemoryOverTime(
        rank=rank,
        times=np.maximum.accumulate(np.concatenate([[0.0], _in_turn(starts, ends), _optimizer(played, track)])),
        nbytes=_nbytes(one, _in_turn(*in_flight(actions, held))),
    )


def _in_turn(during: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first of the one, the first of the other, the second of the one, ..."""
    return np.stack([during, after], axis=1).reshape(-1, *during.shape[1:])


def _nbytes(one: Always, changes: NDArray[np.float64]) -> NDArray[np.float64]:
    """All that is held before the first pass, with each change (rows of `Change`), in the optimizer's step, and after
    it; in the order of HOLDINGS."""
    idle = np.zeros((1, changes.shape[1]))
    update = np.array([Change(workspace=one.optimizer_step)])
    activations, recomputation, logits, workspace = np.concatenate([idle, changes, update, idle]).T
    constant = (np.full_like(activations, held) for held in (one.weights, one.gradients, one.optimizer, one.buffers))
    weights, gradients, optimizer, buffers = constant
    columns = (weights, gradients, optimizer, activations, recomputation, logits, buffers, one.workspace + workspace)
    return np.column_stack(columns)


def _times(played: _Played, track: int, actions: Sequence[Action]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """When each action starts and ends. One that runs within the next, as of a pair, is over when that begins: so what
    it brings is there when the other is at its worst."""
    timeline, rows = played.timeline, played.rows(track, played.is_pass)
    keys = _keys(timeline.kind[rows], timeline.stage[rows], timeline.microbatch[rows])
    known, which = np.unique(keys, return_inverse=True)
    starts, ends = np.full(len(known) + 1, np.inf), np.full(len(known) + 1, -np.inf)
    np.minimum.at(starts, which, timeline.start[rows])
    np.maximum.at(ends, which, timeline.end[rows])
    wanted = _keys(*columns_of(actions))
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


def _optimizer(played: _Played, track: int) -> tuple[float, float]:
    """When the optimizer's step starts and ends; both the end of the step where there is none."""
    timeline, rows = played.timeline, played.rows(track, played.is_update)
    if not len(rows):
        return timeline.duration, timeline.duration
    return float(timeline.start[rows].min()), float(timeline.end[rows].max())
