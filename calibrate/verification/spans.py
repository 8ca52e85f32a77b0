"""What real ranks did and when, as a timeline like those that the simulator makes, so that one page can show both.

Kernels and collectives have the names that the simulator gives them, and so its looks; an action of a pipeline is told
as a schedule writes it (0F3). What ran on a stream that the simulation has not, and beside no kernel, held the compute
stream up, and is drawn there.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from sim.program import COMPUTE
from sim.schedules import Action
from sim.timeline import BUBBLE_LABEL, KINDS, NO_ACTION, Label, Timeline, Track
from topologies.document import InputError


class RealSpan(NamedTuple):
    """What a rank did from `start` to `end`, seconds since the block began, on a stream as the simulator names them."""

    rank: int
    stream: str
    name: str
    start: float
    end: float


_BACKWARD: Final = ("gradient", "backward")
_WITHIN: Final = ("compute", "tp", "cp", "ep")
"""What belongs to the forward or the backward pass that it runs in."""


class _Row(NamedTuple):
    rank: int
    stream: str
    start: float
    end: float
    label: Label
    action: tuple[int, int, int]


def timeline_of(spans: Sequence[RealSpan], simulated: Timeline) -> Timeline:
    """The spans as a timeline, a track for each stream of each rank, in the order of the simulation of the same."""
    order = list(dict.fromkeys((COMPUTE, *_streams(simulated), *(one.stream for one in spans))))
    rows = sorted(_rows(spans, simulated), key=lambda row: (row.rank, order.index(row.stream), row.end, row.start))
    rows = list(_one_after_another(rows))
    tracks = list(dict.fromkeys((row.rank, row.stream) for row in rows))
    labels = list(dict.fromkeys(row.label for row in rows))
    actions = np.array([row.action for row in rows], dtype=np.int32).reshape(-1, 3)
    return Timeline(
        tracks=tuple(Track(rank=rank, stream=stream, ranks_folded=1) for rank, stream in tracks),
        labels=tuple(labels),
        track=np.array([tracks.index((row.rank, row.stream)) for row in rows], dtype=np.int32),
        label=np.array([labels.index(row.label) for row in rows], dtype=np.int32),
        kind=actions[:, 0].astype(np.int8),
        stage=actions[:, 1],
        microbatch=actions[:, 2],
        start=np.array([row.start for row in rows]),
        end=np.array([row.end for row in rows]),
        duration=max((row.end for row in rows), default=0.0),
    )


def _rows(spans: Sequence[RealSpan], simulated: Timeline) -> Iterator[_Row]:
    kernels = [one for one in spans if one.stream == COMPUTE]
    looks = {label.name: label for label in simulated.labels}
    for one in spans:
        beside = any(_overlap(one, kernel) for kernel in kernels if kernel.rank == one.rank)
        stream = one.stream if one.stream in _streams(simulated) or beside else COMPUTE
        action = _action(one)
        label = (
            _label(one, looks.get(one.name))
            if action is None
            else Label(name=f"stage {action.stage}", category=COMPUTE)
        )
        yield _Row(one.rank, stream, one.start, one.end, label, _numbers(label, action))


def _one_after_another(rows: Sequence[_Row]) -> Iterator[_Row]:
    """What was started while the stream was busy ran behind what it found there."""
    free: dict[tuple[int, str], float] = {}
    for row in rows:
        start = max(row.start, free.get((row.rank, row.stream), 0.0))
        if start < row.end:
            yield row._replace(start=start)
            free[row.rank, row.stream] = row.end


def _streams(simulated: Timeline) -> list[str]:
    return [track.stream for track in simulated.tracks]


def _overlap(one: RealSpan, other: RealSpan) -> bool:
    return one.start < other.end and other.start < one.end


def _action(span: RealSpan) -> Action | None:
    """The action of a schedule that a span is, where it is one."""
    try:
        return Action.parse(span.name)
    except InputError:
        return None


def _label(span: RealSpan, like: Label | None) -> Label:
    """What the simulator calls so looks as it does there; all else as its stream says."""
    if like is not None:
        return Label(name=like.name, category=like.category)
    if span.name.startswith("receive"):
        return BUBBLE_LABEL  # it waits for the sender's work, and then for bytes that are soon here
    if span.stream.startswith("send"):
        return Label(name=span.name, category="pp")
    return Label(name=span.name, category="optimizer" if "optimizer" in span.name else span.stream)


def _numbers(label: Label, action: Action | None) -> tuple[int, int, int]:
    """Kind, stage and microbatch as a timeline has them; of a layer there is one microbatch."""
    if action is not None:
        return KINDS.index(action.kind), action.stage, action.microbatch
    if label.category.removeprefix("exposed_") not in _WITHIN:
        return NO_ACTION, NO_ACTION, NO_ACTION
    is_backward = any(word in label.name for word in _BACKWARD)
    return KINDS.index("B" if is_backward else "F"), 0, 0
