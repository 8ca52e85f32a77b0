"""What happened: one row per span (track, label, action, start, end), and what a reader wants to know of it.

A track is one stream of one rank (which may stand for many equal ones). The compute stream of a rank has no holes: it
runs a kernel, or it is stalled, and the engine has noted on what: bytes on a wire (exposed) or nothing yet (bubble).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.instructions import Basis, Compute
from sim.program import Program
from sim.schedules import Kind
from topologies.hardware import Origin

KINDS: tuple[Kind, ...] = ("F", "B", "I", "W")
NO_ACTION = -1
_KIND_NUMBERS = np.full(128, NO_ACTION, dtype=np.int32)
_KIND_NUMBERS[[ord(kind) for kind in KINDS]] = range(len(KINDS))
WAIT_FOR = "wait for "
"""How the name of a stall begins that bytes on a wire explain."""
BREAKDOWN = (
    "compute",
    "exposed_tp",
    "exposed_cp",
    "exposed_pp",
    "exposed_ep",
    "exposed_dp",
    "bubble",
    "optimizer",
    "host",
    "other",
)
Columns = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
"""Kind, stage and microbatch of each step of a stream."""
Row = tuple[int, int, float, float]
"""Label, position in the stream's steps, start, end."""


class Repeat(NamedTuple):
    """Rows first..last of a stream come `times` more, each time `period` seconds and `steps` positions later."""

    first: int
    last: int
    times: int
    period: float
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a span was: its name, its category, and for a block put in one piece the fraction of each key within.

    Of communication also the operation ("send" for a message), the group that meets, and the bytes as nccl-tests counts
    them.
    """

    name: str
    category: str
    parts: tuple[tuple[str, float], ...] = ()
    operation: str = ""
    group: str = ""
    nbytes: float = 0.0

    @property
    def is_stall(self) -> bool:
        """Whether nothing ran on the stream: it waited for work, or for bytes that another stream moved."""
        return self.category == "bubble" or self.name.startswith(WAIT_FOR)


BUBBLE = 0
BUBBLE_LABEL = Label(name="bubble", category="bubble")


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One stream of one rank; the rank stands for `ranks_folded` equal ones, itself included."""

    rank: int
    stream: str
    ranks_folded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Columns of equal length, one row per span, ordered by track and start; times in seconds from the step's start.

    `kind` indexes KINDS; kind, stage and microbatch are NO_ACTION where a span belongs to no action. `basis` says what
    the seconds of all ranks' kernels, each alone on its GPU, rest on.
    """

    tracks: tuple[Track, ...]
    labels: tuple[Label, ...]
    track: NDArray[np.int32]
    label: NDArray[np.int32]
    kind: NDArray[np.int8]
    stage: NDArray[np.int32]
    microbatch: NDArray[np.int32]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    duration: float
    basis: tuple[Basis, ...] = ()


def timeline_of(
    program: Program,
    labels: Sequence[Label],
    actions: Sequence[Columns],
    rows: Sequence[list[Row]],
    repeats: Sequence[list[Repeat]],
    duration: float,
) -> Timeline:
    """Put the rows of all streams into columns and write out what the steady state only counted."""
    columns = [
        _expand(_columns(stream_rows), stream_repeats)
        for stream_rows, stream_repeats in zip(rows, repeats, strict=True)
    ]
    positions = [column[1].astype(np.int64) for column in columns]
    kind, stage, microbatch = (
        np.concatenate([action[which][position] for action, position in zip(actions, positions, strict=True)])
        for which in range(3)
    )
    return Timeline(
        tracks=tuple(
            Track(rank=s.rank, stream=s.name, ranks_folded=program.ranks_folded[s.rank]) for s in program.streams
        ),
        labels=tuple(labels),
        track=np.repeat(np.arange(len(columns), dtype=np.int32), [column.shape[1] for column in columns]),
        label=np.concatenate([column[0] for column in columns]).astype(np.int32),
        kind=kind.astype(np.int8),
        stage=stage,
        microbatch=microbatch,
        start=np.concatenate([column[2] for column in columns]),
        end=np.concatenate([column[3] for column in columns]),
        duration=duration,
        basis=_basis(program),
    )


def _basis(program: Program) -> tuple[Basis, ...]:
    seconds: defaultdict[tuple[str, Origin], float] = defaultdict(float)
    for stream in program.streams:
        ranks = program.ranks_folded[stream.rank]
        blocks = list(map(itemgetter(1), stream.steps))
        keys = np.fromiter(map(id, blocks), dtype=np.int64, count=len(blocks))
        _, firsts, counts = np.unique(keys, return_index=True, return_counts=True)
        for first, count in sorted(zip(firsts.tolist(), counts.tolist(), strict=True)):
            for entry in blocks[first]:
                for operation, origin, part in entry.basis if isinstance(entry, Compute) else ():
                    seconds[operation, origin] += ranks * count * part
    return tuple(Basis(*key, part) for key, part in seconds.items())


def _columns(rows: list[Row]) -> NDArray[np.float64]:
    flat = np.fromiter(chain.from_iterable(rows), dtype=np.float64, count=4 * len(rows))
    return flat.reshape(-1, 4).T


def _expand(columns: NDArray[np.float64], repeats: Iterable[Repeat]) -> NDArray[np.float64]:
    pieces, done = [], 0
    for repeat in repeats:
        pieces.append(columns[:, done : repeat.last])
        window = columns[:, repeat.first : repeat.last]
        times = np.repeat(np.arange(1, repeat.times + 1), window.shape[1])
        copies = np.tile(window, repeat.times)
        copies[1] += times * repeat.steps
        copies[2:] += times * repeat.period
        pieces.append(copies)
        done = repeat.last
    return np.concatenate([*pieces, columns[:, done:]], axis=1)


def columns_of(actions: Sequence[tuple[str, int, int] | None]) -> Columns:
    """Kind (an index of KINDS), stage and microbatch of each action, NO_ACTION for None."""
    known = [(" ", NO_ACTION, NO_ACTION) if action is None else action for action in actions]
    kinds, stages, microbatches = zip(*known, strict=True)
    letters = np.frombuffer("".join(kinds).encode(), dtype=np.uint8)
    return _KIND_NUMBERS[letters], np.array(stages, dtype=np.int32), np.array(microbatches, dtype=np.int32)


def breakdown_by_rank(timeline: Timeline) -> dict[int, dict[str, float]]:
    """Part every rank's step into the keys of BREAKDOWN, in seconds; each rank's parts sum to the step's duration.

    What is left of the step once a rank has nothing more to do counts as bubble: it waits for the others.
    """
    seconds = _seconds_by_track_and_label(timeline)
    parts = np.array([_fractions(label) for label in timeline.labels])
    result = {}
    for index, track in enumerate(timeline.tracks):
        if track.stream == "compute":
            shares = dict(zip(BREAKDOWN, (seconds[index] @ parts).tolist(), strict=True))
            shares["bubble"] += max(0.0, timeline.duration - sum(shares.values()))
            result[track.rank] = shares
    return result


def breakdown(timeline: Timeline) -> dict[str, float]:
    """Fractions of the step by key of BREAKDOWN, the mean over all ranks; they sum to one."""
    by_rank = breakdown_by_rank(timeline)
    folded = {track.rank: track.ranks_folded for track in timeline.tracks}
    total = timeline.duration * sum(folded[rank] for rank in by_rank)
    return {key: sum(folded[rank] * parts[key] for rank, parts in by_rank.items()) / total for key in BREAKDOWN}


def _seconds_by_track_and_label(timeline: Timeline) -> NDArray[np.float64]:
    shape = (len(timeline.tracks), len(timeline.labels))
    cell = timeline.track * shape[1] + timeline.label
    seconds = np.bincount(cell, weights=timeline.end - timeline.start, minlength=shape[0] * shape[1])
    return seconds.astype(np.float64).reshape(shape)


def _fractions(label: Label) -> list[float]:
    parts: Mapping[str, float] = dict(label.parts) or {label.category: 1.0}
    return [parts.get(key, 0.0) for key in BREAKDOWN]


def picture(timeline: Timeline, width: int = 72) -> str:
    """The compute streams as text, a row per rank, a character per slice of time; in golden tests a diff reads well."""
    lines = []
    edges = np.linspace(0.0, timeline.duration, width + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    for index, track in enumerate(timeline.tracks):
        if track.stream == "compute":
            rows = np.flatnonzero(timeline.track == index)
            cells = np.searchsorted(timeline.start[rows], middles, side="right") - 1
            letters = [
                _letter(timeline, rows[cell], middle) if cell >= 0 else "."
                for cell, middle in zip(cells, middles, strict=True)
            ]
            lines.append(f"rank {track.rank:>3} | {''.join(letters)}")
    return "\n".join(lines)


def _letter(timeline: Timeline, row: np.int64, at: np.float64) -> str:
    if at > timeline.end[row]:
        return "."
    category = timeline.labels[timeline.label[row]].category
    if category == "compute" and timeline.kind[row] != NO_ACTION:
        return KINDS[int(timeline.kind[row])]
    letters = {"bubble": ".", "optimizer": "O", "host": "h"} | {f"exposed_{axis}p": axis for axis in "tcped"}
    return letters.get(category, "x")
