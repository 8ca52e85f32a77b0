"""A timeline cut for showing: how each span looks, the columns for the canvas, the cells of a text Gantt.

A cell of text is wider than many spans. It shows what fills most of it; where forward and backward take turns several
times within one cell, naming one of them would be wrong, and the cell says that both ran.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sim.reports.palette import KINDS, kind_of, part
from sim.timeline import KINDS as ACTION_KINDS
from sim.timeline import NO_ACTION, Timeline
from topologies.quantity import nbytes, percent, seconds

MOST_SPANS = 100_000
LONG = 0.1
"""A span is long from this part of the mean length on: without the short ones a step looks nearly the same."""
BOTH = "both"
ENOUGH_OF_BOTH = 0.2
LOOKS = tuple(KINDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What of a timeline is drawn, until when, and a sentence about what was left out (empty where nothing was)."""

    timeline: Timeline
    end: float
    said: str


def looks(timeline: Timeline) -> NDArray[np.int8]:
    """Per span, an index into LOOKS: the action's kind for a kernel, the category for all else."""
    by_label = np.array([LOOKS.index(kind_of(label.category)) for label in timeline.labels], dtype=np.int8)
    by_action = np.array([LOOKS.index(kind) for kind in ACTION_KINDS], dtype=np.int8)
    look = by_label[timeline.label]
    acting = (look == LOOKS.index("compute")) & (timeline.kind != NO_ACTION)
    look[acting] = by_action[timeline.kind[acting]]
    return look


def cut(timeline: Timeline, most: int = MOST_SPANS) -> Cut:
    """At most `most` spans: beyond that only those of the compute streams, of these only the long ones where that is
    enough, and else the first in time."""
    total = len(timeline.start)
    if total <= most:
        return Cut(timeline=timeline, end=timeline.duration, said="")
    computing = np.array([track.stream == "compute" for track in timeline.tracks])[timeline.track]
    kept = np.flatnonzero(computing)
    if len(kept) <= most:
        said = f"Shown are the {len(kept):,} spans of the compute streams, of {total:,} spans in all."
        return Cut(timeline=_rows(timeline, kept), end=timeline.duration, said=said)
    length = timeline.end[kept] - timeline.start[kept]
    least = float(length.mean() * LONG)
    if np.count_nonzero(length >= least) <= most:
        kept = kept[length >= least]
        said = (
            f"Shown are the {len(kept):,} spans of the compute streams that last {seconds(least)} or more, of {total:,}"
        )
        return Cut(timeline=_rows(timeline, kept), end=timeline.duration, said=f"{said} spans in all.")
    kept = np.sort(kept[np.argsort(timeline.start[kept], kind="stable")[:most]])
    end = float(timeline.end[kept].max())
    share = percent(end / timeline.duration)
    said = f"Shown are the first {most:,} spans of the compute streams, {share} of the step, of {total:,} spans in all."
    return Cut(timeline=_rows(timeline, kept), end=end, said=said)


def canvas_data(shown: Cut) -> dict[str, object]:
    """The columns that assets/timeline.js draws; times in seconds, to the nanosecond."""
    timeline = shown.timeline
    used = np.unique(timeline.track)
    return {
        "duration": timeline.duration,
        "end": shown.end,
        "tracks": [_track(timeline, index) for index in used],
        "labels": [_label(timeline, index) for index in range(len(timeline.labels))],
        "kinds": [
            {"key": key, "letter": kind.letter, "color": kind.color, "ink": kind.ink, "title": kind.title}
            for key, kind in KINDS.items()
        ],
        "columns": {
            "track": np.searchsorted(used, timeline.track),
            "label": timeline.label,
            "kind": looks(timeline),
            "stage": timeline.stage,
            "microbatch": timeline.microbatch,
            "start": np.round(timeline.start, 9),
            "end": np.round(timeline.end, 9),
        },
    }


def cells(timeline: Timeline, track: int, width: int, until: float | None = None) -> list[str]:
    """Cut the step, or its first `until` seconds, into `width` equal cells: for each what fills most of it, a key of
    KINDS or BOTH."""
    first, last = np.searchsorted(timeline.track, [track, track + 1])
    stream = _rows(timeline, np.arange(first, last))
    edges = np.linspace(0.0, timeline.duration if until is None else until, width + 1)
    look, start, end = looks(stream), stream.start, stream.end
    filled = np.array([_filled(start[look == key], end[look == key], edges) for key in range(len(LOOKS))])
    filled[LOOKS.index("bubble")] += np.maximum(np.diff(edges) - filled.sum(axis=0), 0.0)
    names = [LOOKS[most] for most in filled.argmax(axis=0)]
    for cell in np.flatnonzero(_by_turns(look, start, filled, edges)):
        names[cell] = BOTH
    return names


def action_length(timeline: Timeline, track: int) -> float:
    """Mean seconds of the actions of a stream, stalls within them left out; infinite where it has none."""
    first, last = np.searchsorted(timeline.track, [track, track + 1])
    stream = _rows(timeline, np.arange(first, last))
    acting = looks(stream) < LOOKS.index("W") + 1
    steps = np.column_stack([stream.kind, stream.stage, stream.microbatch])[acting]
    if not len(steps):
        return float("inf")
    num_actions = 1 + np.count_nonzero((steps[1:] != steps[:-1]).any(axis=1))
    return float((stream.end - stream.start)[acting].sum() / num_actions)


def _by_turns(
    look: NDArray[np.int8], start: NDArray[np.float64], filled: NDArray[np.float64], edges: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Where forward and backward each fill a good part of a cell, and one of them begins and ends within it."""
    forward, backward = LOOKS.index("F"), [LOOKS.index(kind) for kind in ("B", "I", "W")]
    acting = np.isin(look, [forward, *backward])
    side = look[acting] == forward
    turns = start[acting][1:][side[1:] != side[:-1]]
    several = np.histogram(turns, edges)[0] >= 2
    enough = ENOUGH_OF_BOTH * np.diff(edges)
    both: NDArray[np.bool_] = several & (filled[forward] >= enough) & (filled[backward].sum(axis=0) >= enough)
    return both


def _filled(start: NDArray[np.float64], end: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds of each cell that the spans cover; spans of one stream follow one another, so their sum is a polyline."""
    if not len(start):
        return np.zeros(len(edges) - 1)
    done = np.concatenate([[0.0], np.cumsum(end - start)])
    times = np.column_stack([start, end]).ravel()
    covered = np.column_stack([done[:-1], done[1:]]).ravel()
    return np.diff(np.interp(edges, times, covered))


def _rows(timeline: Timeline, kept: NDArray[np.intp]) -> Timeline:
    return replace(
        timeline,
        track=timeline.track[kept],
        label=timeline.label[kept],
        kind=timeline.kind[kept],
        stage=timeline.stage[kept],
        microbatch=timeline.microbatch[kept],
        start=timeline.start[kept],
        end=timeline.end[kept],
    )


def _track(timeline: Timeline, index: int) -> dict[str, object]:
    track = timeline.tracks[index]
    return {"rank": track.rank, "stream": track.stream, "ranks_folded": track.ranks_folded}


def _label(timeline: Timeline, index: int) -> dict[str, object]:
    label = timeline.labels[index]
    title = "" if label.category == "compute" else part(label.category).title
    parts = [(part(key).title, share) for key, share in label.parts if key != label.category and share > 0]
    return {"name": label.name, "title": title, "size": nbytes(label.nbytes) if label.nbytes else "", "parts": parts}
