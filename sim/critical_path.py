"""The critical path: from the step's last moment back through whatever each moment waited for.

A kernel waits for the one before it on its stream; a stall for the message that ended it, whose sender had to compute
it first. What lies on this path is what the step's length is made of; all else could be slower for free.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sim.timeline import KINDS, NO_ACTION, Label, Timeline

WORDS = {
    "compute": "kernels",
    "exposed_tp": "tp communication",
    "exposed_pp": "pipeline messages",
    "pp": "pipeline messages",
    "exposed_dp": "dp communication",
    "bubble": "waiting for other ranks",
    "optimizer": "optimizer",
}
TURNS = ("bubble", "exposed_pp", "pp")
"""Categories of rows at which the path may go over to another track."""

NUM_KINDS = len(KINDS) + 1
"""Of actions, and none."""

Integers = TypeVar("Integers", int, NDArray[np.int64])


class Span(NamedTuple):
    """So many seconds on the path: the label, as which category they count there, and the kind (an index of KINDS) and
    the stage of the action, NO_ACTION where there is none."""

    label: int
    category: str
    kind: int
    stage: int
    seconds: float


def critical_path(timeline: Timeline) -> tuple[tuple[str, float], ...]:
    """Seconds of the step by what they were spent on along its critical path, largest first; they sum to the step."""
    seconds: dict[str, float] = {}
    for span in spans(timeline):
        for words, length in words_of(timeline.labels[span.label], span):
            seconds[words] = seconds.get(words, 0.0) + length
    return tuple(sorted(seconds.items(), key=lambda item: -item[1]))


def spans(timeline: Timeline) -> Iterator[Span]:
    """The path from its end to its beginning; runs of rows that waited for nothing are put together by label and
    action. The seconds sum to the step."""
    return _Walk(timeline).back()


def words_of(label: Label, span: Span) -> Iterator[tuple[str, float]]:
    """The seconds of a span by what they were spent on, in words."""
    if span.category == "compute" and label.parts:
        yield from ((f"{label.name}: {WORDS.get(key, key)}", span.seconds * share) for key, share in label.parts)
    else:
        name = label.name if span.category == "compute" else WORDS.get(span.category, span.category)
        yield name, span.seconds


@dataclass(frozen=True)
class _Walk:
    """The way back through one timeline. A place is a track and a time."""

    timeline: Timeline

    def back(self) -> Iterator[Span]:
        now, track = self._last()
        while (row := self._before(track, now)) is not None:
            start, category = self._start(row), self._category(row)
            if category not in TURNS:
                first = self._first_of_run(row)
                yield from self._run(first, row, now)
                now = self._start(first)
                continue
            message = self._message(row, now) if category in ("bubble", "exposed_pp") else None
            late = self._late(row, now) if category == "bubble" and message is None else None
            if late is not None:
                track = late
                continue
            if message is not None:
                row, category = message, "pp"
                track, start = int(self.timeline.track[row]), self._start(row)
            yield Span(int(self.timeline.label[row]), category, *self._kind_and_stage(row), now - start)
            now = start
            if category == "pp":
                track = self._where_made(track, now)

    def _before(self, track: int, now: float) -> int | None:
        """The last row of a track that started before."""
        first, last = int(self._bounds[track]), int(self._bounds[track + 1])
        row = first + int(np.searchsorted(self.timeline.start[first:last], now - self._tolerance)) - 1
        return row if row >= first else None

    def _first_of_run(self, row: int) -> int:
        """Back from a row over those of its track that each waited for nothing but the one before."""
        turn = int(np.searchsorted(self._turns, row))
        return max(int(self._turns[turn - 1]) + 1 if turn else 0, int(self._bounds[self.timeline.track[row]]))

    def _run(self, first: int, last: int, until: float) -> Iterator[Span]:
        """The rows from `first` to `last`, which ends at `until`, added up by label and action."""
        rows = slice(first, last + 1)
        lengths = np.diff(self.timeline.start[rows], append=until)
        labels, (kinds, stages, _) = self.timeline.label[rows], (column[rows] for column in self._action)
        numbers = (labels.astype(np.int64) * NUM_KINDS + kinds) * self._sizes[0] + stages
        _, firsts, which = np.unique(numbers, return_index=True, return_inverse=True)
        seconds = np.bincount(which, weights=lengths)
        for index, length in zip((first + firsts).tolist(), seconds.tolist(), strict=True):
            label = int(self.timeline.label[index])
            yield Span(label, self.timeline.labels[label].category, *self._kind_and_stage(index), length)

    def _kind_and_stage(self, row: int) -> tuple[int, int]:
        kind, stage, _ = self._action
        return int(kind[row]), int(stage[row])

    def _last(self) -> tuple[float, int]:
        ends = {track: float(self.timeline.end[self._bounds[track + 1] - 1]) for track in self._compute_track.values()}
        track = max(ends, key=lambda index: ends[index])
        return ends[track], track

    def _message(self, row: int, now: float) -> int | None:
        """The message whose last byte ended the stall: the input that came, or the rank's own output that left."""
        kind, stage, microbatch = (int(column[row]) for column in self._action)
        if kind == NO_ACTION:
            return None
        came_from = stage - 1 if kind == 0 else stage + 1
        rows, numbers = self._sent
        for sender in (came_from, stage):
            first, last = np.searchsorted(numbers, self._number(kind, sender, microbatch) + np.arange(2))
            for sent in rows[first:last].tolist():
                if abs(self.timeline.end[sent] - now) <= self._tolerance:
                    return int(sent)
        return None

    def _late(self, row: int, now: float) -> int | None:
        """The track that came last to the collective which follows a stall: it had no stall before it."""
        if row + 1 == len(self.timeline.start) or abs(self._start(row + 1) - now) > self._tolerance:
            return None
        met = self._met.get(int(self.timeline.label[row + 1]), ())
        for other in met[bisect_left(met, now - self._tolerance, key=self._start) :]:
            if self._start(other) > now + self._tolerance:
                break
            if self._category(other - 1) != "bubble" or self.timeline.end[other - 1] < now - self._tolerance:
                return int(self.timeline.track[other])
        return None

    def _start(self, row: int) -> float:
        return float(self.timeline.start[row])

    def _where_made(self, track: int, now: float) -> int:
        """What a message waited for: the one before it on its stream, or else the rank's own kernels."""
        before = self._before(track, now)
        if before is not None and abs(self.timeline.end[before] - now) <= self._tolerance:
            return track
        return self._compute_track[self.timeline.tracks[track].rank]

    def _category(self, row: int) -> str:
        return self.timeline.labels[int(self.timeline.label[row])].category

    @cached_property
    def _tolerance(self) -> float:
        return 1e-9 * self.timeline.duration

    @cached_property
    def _compute_track(self) -> dict[int, int]:
        return {track.rank: index for index, track in enumerate(self.timeline.tracks) if track.stream == "compute"}

    @cached_property
    def _bounds(self) -> NDArray[np.int64]:
        """Where the rows of each track begin, and those of the last one end."""
        return np.searchsorted(self.timeline.track, np.arange(len(self.timeline.tracks) + 1))

    @cached_property
    def _turns(self) -> NDArray[np.int64]:
        """Rows that waited for something on another track: stalls, and messages."""
        turning = np.array([label.category in TURNS for label in self.timeline.labels])
        return np.flatnonzero(turning[self.timeline.label])

    @cached_property
    def _action(self) -> tuple[NDArray[np.int64], ...]:
        columns = (self.timeline.kind, self.timeline.stage, self.timeline.microbatch)
        return tuple(column.astype(np.int64) for column in columns)

    @cached_property
    def _met(self) -> dict[int, list[int]]:
        """Rows of the collectives on compute streams by their label, in order of their start."""
        meeting = np.array([label.category in ("exposed_tp", "exposed_dp") for label in self.timeline.labels])
        rows = np.flatnonzero(meeting[self.timeline.label])
        found: dict[int, list[int]] = {}
        for row in rows[np.argsort(self.timeline.start[rows], kind="stable")].tolist():
            found.setdefault(int(self.timeline.label[row]), []).append(row)
        return found

    @cached_property
    def _sent(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of messages in the order of their actions' numbers, and these numbers."""
        sent = np.array(
            [label.category in ("pp", "exposed_pp") and not label.is_stall for label in self.timeline.labels]
        )
        rows = np.flatnonzero(sent[self.timeline.label])
        numbers = self._number(*(column[rows] for column in self._action))
        order = np.argsort(numbers, kind="stable")
        return rows[order], numbers[order]

    @cached_property
    def _sizes(self) -> tuple[int, int]:
        """More than there are stages (with one before the first and after the last) and microbatches."""
        _, stage, microbatch = self._action
        return int(stage.max()) + 3, int(microbatch.max()) + 2

    def _number(self, kind: Integers, stage: Integers, microbatch: Integers) -> Integers:
        """One number for an action."""
        num_stages, num_microbatches = self._sizes
        return (kind * num_stages + stage + 1) * num_microbatches + microbatch
