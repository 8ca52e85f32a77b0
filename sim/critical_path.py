"""The critical path: from the step's last moment back through whatever each moment waited for.

A kernel waits for the one before it on its stream; a stall for the message that ended it, whose sender had to compute
it first. What lies on this path is what the step's length is made of; all else could be slower for free.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sim.timeline import NO_ACTION, Timeline

WORDS = {
    "compute": "kernels",
    "exposed_tp": "tp communication",
    "exposed_pp": "pipeline messages",
    "pp": "pipeline messages",
    "exposed_dp": "dp communication",
    "bubble": "waiting for other ranks",
    "optimizer": "optimizer",
}


def critical_path(timeline: Timeline) -> tuple[tuple[str, float], ...]:
    """Seconds of the step by what they were spent on along its critical path, largest first; they sum to the step."""
    seconds: dict[str, float] = {}
    for words, length in _Walk(timeline).back():
        seconds[words] = seconds.get(words, 0.0) + length
    return tuple(sorted(seconds.items(), key=lambda item: -item[1]))


@dataclass(frozen=True)
class _Walk:
    """The way back through one timeline. A place is a track and a time."""

    timeline: Timeline

    def back(self) -> Iterator[tuple[str, float]]:
        now, track = self._last()
        while True:
            starts, rows = self._rows[track]
            position = bisect_left(starts, now - self._tolerance) - 1
            if position < 0:
                return
            row, start = rows[position], starts[position]
            category = self._categories[row]
            message = self._message(row, now) if category in ("bubble", "exposed_pp") else None
            late = self._late(row, now) if category == "bubble" and message is None else None
            if late is not None:
                track = late
                continue
            if message is not None:
                track, row, start = message
                category = "pp"
            yield from self._spent(row, category, now - start)
            now = start
            if category == "pp":
                track = self._where_made(track, now)

    def _spent(self, row: int, category: str, length: float) -> Iterator[tuple[str, float]]:
        label = self.timeline.labels[self.timeline.label[row]]
        if category == "compute" and label.parts:
            yield from ((f"{label.name}: {WORDS.get(key, key)}", length * share) for key, share in label.parts)
        else:
            yield label.name if category == "compute" else WORDS.get(category, category), length

    def _last(self) -> tuple[float, int]:
        computing = [index for index, track in enumerate(self.timeline.tracks) if track.stream == "compute"]
        ends = {index: self.timeline.end[rows[-1]] for index in computing if (rows := self._rows[index][1])}
        track = max(ends, key=lambda index: ends[index])
        return float(ends[track]), track

    def _message(self, row: int, now: float) -> tuple[int, int, float] | None:
        """The message whose last byte ended the stall: the input that came, or the rank's own output that left."""
        kind, stage = int(self.timeline.kind[row]), int(self.timeline.stage[row])
        if kind == NO_ACTION:
            return None
        came_from = stage - 1 if kind == 0 else stage + 1
        for key in ((kind, came_from), (kind, stage)):
            for sent in self._sent.get((*key, int(self.timeline.microbatch[row])), ()):
                if abs(self.timeline.end[sent] - now) <= self._tolerance:
                    return int(self.timeline.track[sent]), sent, float(self.timeline.start[sent])
        return None

    def _late(self, row: int, now: float) -> int | None:
        """The track that came last to the collective which follows a stall: it had no stall before it."""
        if row + 1 == len(self._categories) or abs(self._start(row + 1) - now) > self._tolerance:
            return None
        met = self._met.get(int(self.timeline.label[row + 1]), ())
        for other in met[bisect_left(met, now - self._tolerance, key=self._start) :]:
            if self._start(other) > now + self._tolerance:
                break
            if self._categories[other - 1] != "bubble" or self.timeline.end[other - 1] < now - self._tolerance:
                return int(self.timeline.track[other])
        return None

    def _start(self, row: int) -> float:
        return float(self.timeline.start[row])

    def _where_made(self, track: int, now: float) -> int:
        """What a message waited for: the one before it on its stream, or else the rank's own kernels."""
        starts, rows = self._rows[track]
        before = bisect_left(starts, now - self._tolerance) - 1
        if before >= 0 and abs(self.timeline.end[rows[before]] - now) <= self._tolerance:
            return track
        return self._compute_track[self.timeline.tracks[track].rank]

    @cached_property
    def _tolerance(self) -> float:
        return 1e-9 * self.timeline.duration

    @cached_property
    def _categories(self) -> list[str]:
        names = [label.category for label in self.timeline.labels]
        return [names[label] for label in self.timeline.label.tolist()]

    @cached_property
    def _compute_track(self) -> dict[int, int]:
        return {track.rank: index for index, track in enumerate(self.timeline.tracks) if track.stream == "compute"}

    @cached_property
    def _rows(self) -> list[tuple[list[float], list[int]]]:
        """Per track, the starts of its spans in order, and their rows."""
        bounds = np.searchsorted(self.timeline.track, np.arange(len(self.timeline.tracks) + 1))
        return [
            (self.timeline.start[first:last].tolist(), list(range(first, last)))
            for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        ]

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
    def _sent(self) -> dict[tuple[int, int, int], list[int]]:
        """Rows of messages by kind, stage and microbatch."""
        sending = np.array([track.stream.startswith("send") for track in self.timeline.tracks])
        rows = np.flatnonzero(sending[self.timeline.track])
        found: dict[tuple[int, int, int], list[int]] = {}
        columns = (self.timeline.kind[rows], self.timeline.stage[rows], self.timeline.microbatch[rows], rows)
        for kind, stage, microbatch, row in zip(*(column.tolist() for column in columns), strict=True):
            found.setdefault((kind, stage, microbatch), []).append(row)
        return found
