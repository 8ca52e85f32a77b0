"""A timeline as traces in Google's Trace Event Format: a process per rank, a thread per stream, a slice per kernel.

Communication is named as NCCL's kernels are, with the arguments that PyTorch's profiler writes, so that Perfetto shows
and Holistic Trace Analysis sorts it as it does a real trace. Waiting for work is a gap; waiting for bytes that another
rank sends is a receive. An action's slice (`0F5`) holds its kernels; it names no stream, so no tool counts it as work.
"""

import gzip
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from sim.plan import Plan, group_of, pipeline, spans
from sim.schedules import Action, Schedule
from sim.timeline import KINDS, NO_ACTION, WAIT_FOR, Label, Timeline
from topologies.quantity import KILO, NANOSECOND

Event = dict[str, object]
CHUNK = 50_000
"""Spans that are events at the same time: a long step holds millions, and as Python objects they would fill memory."""
OPERATIONS = {
    "all_reduce": ("ncclDevKernel_AllReduce_Sum", "allreduce"),
    "all_gather": ("ncclDevKernel_AllGather", "_allgather_base"),
    "reduce_scatter": ("ncclDevKernel_ReduceScatter_Sum", "_reduce_scatter_base"),
    "all_to_all": ("ncclDevKernel_SendRecv", "all_to_allv"),
    "exchange": ("ncclDevKernel_SendRecv", "coalesced"),
    "dispatch": ("ncclDevKernel_DeepEP", "dispatch"),
    "combine": ("ncclDevKernel_DeepEP", "combine"),
    "send": ("ncclDevKernel_SendRecv", "send"),
    "receive": ("ncclDevKernel_SendRecv", "recv"),
}
"""NCCL's kernel, without type, algorithm and protocol, which are not simulated; and PyTorch's name of the call. Kernels
of DeepEP are not NCCL's, but by that name alone a tool knows communication."""
KERNEL, COPY, HOST = "kernel", "gpu_memcpy", "host"
COPIES = {"copy out": "Memcpy DtoH (Device -> Pinned)", "copy in": "Memcpy HtoD (Pinned -> Device)"}
"""As PyTorch's profiler names what the copy engines do."""
RECEIVE = Label(name="receive", category="pp", operation="receive", group="pp")


class _Part(NamedTuple):
    """A slice of a span: its name, its arguments, the fractions of the span at which it begins and ends, and what it
    is: only a kernel or a copy is work of the GPU."""

    name: str
    arguments: Event
    begin: float
    end: float
    category: str = KERNEL


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawing:
    """A timeline with the slices of a span by its label, and where each action of a compute stream begins and ends:
    its first row, and when its last row is over."""

    timeline: Timeline
    parts: tuple[tuple[_Part, ...], ...]
    first: NDArray[np.intp]
    over: NDArray[np.float64]


def perfetto(timeline: Timeline, plan: Plan) -> bytes:
    """The trace of all ranks, with an arrow from each message to the action that takes it: JSON in gzip.

    The same timeline gives the same bytes.
    """
    drawing = _drawing(timeline, plan)
    slices = _slices(drawing, 0, len(timeline.start))
    return _packed(b'{"displayTimeUnit":"ms",\n', chain([_names(timeline)], slices, _arrows(drawing, plan)))


def by_rank(timeline: Timeline, plan: Plan) -> Iterator[tuple[int, bytes]]:
    """Each played rank and a trace of it alone, JSON in gzip: Holistic Trace Analysis reads a folder of them.

    It finds the rank by searching for `"rank": `, with the blank.
    """
    drawing, names = _drawing(timeline, plan), _names(timeline)
    ranks = np.array([track.rank for track in timeline.tracks])
    for rank in np.unique(ranks).tolist():
        rows = np.flatnonzero((ranks == rank)[timeline.track])
        about = f'"backend": "nccl", "rank": {rank}, "world_size": {plan.num_gpus}'
        head = f'{{"schemaVersion": 1, "distributedInfo": {{{about}}},\n'
        own = [name for name in names if name["pid"] == rank]
        yield rank, _packed(head.encode(), chain([own], _slices(drawing, int(rows[0]), int(rows[-1]) + 1)))


def _packed(head: bytes, chunks: Iterable[list[Event]]) -> bytes:
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=packed, mtime=0) as file:
        file.write(head + b'"traceEvents":[')
        comma = b""
        for events in filter(None, chunks):
            file.write(comma + orjson.dumps(events)[1:-1])
            comma = b",\n"
        file.write(b"]}\n")
    return packed.getvalue()


def _drawing(timeline: Timeline, plan: Plan) -> _Drawing:
    idle = np.array([label.is_stall for label in timeline.labels])
    computes = np.array([track.stream == "compute" for track in timeline.tracks])
    rows = np.flatnonzero(computes[timeline.track] & ~idle[timeline.label] & (timeline.kind != NO_ACTION))
    actions = np.column_stack(
        [timeline.track[rows], timeline.kind[rows], timeline.stage[rows], timeline.microbatch[rows]]
    )
    changes = (actions[1:] != actions[:-1]).any(axis=1)
    return _Drawing(
        timeline=timeline,
        parts=tuple(_parts(label, plan) for label in timeline.labels),
        first=rows[np.concatenate([[True], changes])[: len(rows)]],
        over=timeline.end[rows[np.concatenate([changes, [True]])[: len(rows)]]],
    )


def _names(timeline: Timeline) -> list[Event]:
    """Names of ranks and streams, and the order in which to show them."""
    events: list[Event] = []
    for index, track in enumerate(timeline.tracks):
        place = {"ph": "M", "pid": track.rank, "tid": index + 1}
        folded = f" (stands for {track.ranks_folded} ranks)" if track.ranks_folded > 1 else ""
        events.append({**place, "name": "process_name", "args": {"name": f"rank {track.rank}{folded}"}})
        events.append({**place, "name": "thread_name", "args": {"name": track.stream}})
        events.append({**place, "name": "process_sort_index", "args": {"sort_index": track.rank}})
        events.append({**place, "name": "thread_sort_index", "args": {"sort_index": index}})
    return events


def _slices(drawing: _Drawing, first: int, last: int) -> Iterator[list[Event]]:
    """The slices of the rows from `first` to before `last`, CHUNK rows at a time, actions before their kernels."""
    for begin in range(first, last, CHUNK):
        end = min(begin + CHUNK, last)
        own = slice(*np.searchsorted(drawing.first, [begin, end]))
        yield _action_slices(drawing.timeline, drawing.first[own], drawing.over[own])
        yield _kernel_slices(drawing, *_rows_and_parts(drawing, begin, end))


def _action_slices(timeline: Timeline, rows: NDArray[np.intp], over: NDArray[np.float64]) -> list[Event]:
    """What each action of a compute stream does, from its first kernel to the last."""
    columns = (_actions(timeline, rows), timeline.track[rows].tolist(), _lasting(timeline.start[rows], over))
    shared = {"ph": "X", "cat": "gpu_user_annotation"}
    return [
        shared
        | {"name": f"{stage}{KINDS[kind]}{microbatch}", "pid": rank, "tid": track + 1, "ts": start, "dur": length}
        | {"args": {"stage": stage, "microbatch": microbatch}}
        for (rank, kind, stage, microbatch), track, (start, length) in zip(*columns, strict=True)
    ]


def _rows_and_parts(drawing: _Drawing, first: int, last: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The row and the number of each part of the rows from `first` to before `last`; all labels' parts are counted."""
    begins = np.cumsum([0, *map(len, drawing.parts)])
    labels = drawing.timeline.label[first:last]
    counts = np.diff(begins)[labels]
    parts = np.arange(counts.sum()) + np.repeat(begins[labels] - np.cumsum(counts) + counts, counts)
    return np.repeat(np.arange(first, last), counts), parts


def _kernel_slices(drawing: _Drawing, rows: NDArray[np.intp], parts: NDArray[np.intp]) -> list[Event]:
    """Kernels and communication; `stream` counts the streams of a rank from 1. While the GPU waits for its host, no
    stream is named: that is no work of the GPU's."""
    timeline, known = drawing.timeline, tuple(chain(*drawing.parts))
    edges = np.array([(part.begin, part.end) for part in known]).reshape(-1, 2)[parts]
    start, length = timeline.start[rows], timeline.end[rows] - timeline.start[rows]
    when = _lasting(start + edges[:, 0] * length, start + edges[:, 1] * length)
    ranks = [track.rank for track in timeline.tracks]
    places = [(track + 1, {"stream": track + 1 - ranks.index(rank)}) for track, rank in enumerate(ranks)]
    columns = (rows.tolist(), parts.tolist(), timeline.track[rows].tolist(), _actions(timeline, rows), when)
    events = []
    for row, part, track, (rank, kind, stage, microbatch), (begin, lasts) in zip(*columns, strict=True):
        name, arguments, _, _, category = known[part]
        thread, stream = places[track]
        work = {} if category == HOST else stream
        action = {} if kind == NO_ACTION else {"stage": stage, "microbatch": microbatch}
        args = {**work, "correlation": row, **action, **arguments}
        what = {"ph": "X", "cat": category, "name": name}
        events.append({**what, "pid": rank, "tid": thread, "ts": begin, "dur": lasts, "args": args})
    return events


def _lasting(start: NDArray[np.float64], end: NDArray[np.float64]) -> Iterator[tuple[float, float]]:
    """Beginnings and lengths, cut from whole nanoseconds: slices that meet neither overlap nor part, and none reaches
    out of another, which Perfetto would drop."""
    first = np.rint(start / NANOSECOND)
    return zip(_microseconds(first).tolist(), _microseconds(np.rint(end / NANOSECOND) - first).tolist(), strict=True)


def _microseconds(nanoseconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least floats that give as many nanoseconds to a reader who multiplies by 1,000 and cuts, as Perfetto does
    [CoerceToTs in its json_utils.cc]."""
    least = nanoseconds / KILO
    return np.where(np.floor(least * KILO) < nanoseconds, np.nextafter(least, np.inf), least)


def _arrows(drawing: _Drawing, plan: Plan) -> Iterator[list[Event]]:
    """Both ends of each message's arrow, CHUNK messages at a time."""
    timeline, schedule = drawing.timeline, _schedule(plan)
    sends = np.flatnonzero(np.array([label.operation == "send" for label in timeline.labels])[timeline.label])
    takers = dict(zip(_actions(timeline, drawing.first), drawing.first.tolist(), strict=True))
    pipelines = {track.rank: group_of(plan, "pp", track.rank) for track in timeline.tracks}
    partners = dict(each for rank in range(plan.pp) for each in schedule.passes(rank) if len(each) == 2)
    for first in range(0, len(sends), CHUNK):
        some = sends[first : first + CHUNK]
        taken = []
        for rank, kind, stage, microbatch in _actions(timeline, some):
            target = schedule.after(stage) if KINDS[kind] == "F" else schedule.before(stage)
            assert target is not None, "a message has a stage to go to"
            home = pipelines[rank][schedule.homes[target]]
            taken.append(_row_of_taker(takers, home, Action(KINDS[kind], target, microbatch), partners))
        yield [*_ends(timeline, some, some, {"ph": "s"})]
        yield [*_ends(timeline, some, np.array(taken), {"ph": "f", "bp": "e"})]


def _schedule(plan: Plan) -> Schedule:
    """The plan's schedule, and if it can be one, that of pairs: stages live alike in both."""
    return pipeline(plan, overlap_ep=plan.schedule in ("1f1b", "interleaved"))


def _row_of_taker(
    takers: Mapping[tuple[int, int, int, int], int], rank: int, action: Action, partners: Mapping[Action, Action]
) -> int:
    """The first row of what takes a message: a forward, of a pair both at once; a backward, or its first half."""
    instead = partners.get(action) if action.kind == "F" else action._replace(kind="I" if action.kind == "B" else "B")
    for kind, stage, microbatch in filter(None, (action, instead)):
        row = takers.get((rank, KINDS.index(kind), stage, microbatch))
        if row is not None:
            return row
    raise AssertionError(f"nobody takes the message for {action} on rank {rank}")


def _ends(
    timeline: Timeline, numbers: NDArray[np.intp], rows: NDArray[np.intp], phase: Mapping[str, str]
) -> Iterator[Event]:
    """One end of each arrow; it is held by the slice that lasts at its time, so it stands a little within."""
    start = timeline.start[rows] + (timeline.end[rows] - timeline.start[rows]) / 100
    times = _microseconds(np.rint(start / NANOSECOND)).tolist()
    tracks = timeline.track[rows].tolist()
    for number, track, time in zip(numbers.tolist(), tracks, times, strict=True):
        place = {"pid": timeline.tracks[track].rank, "tid": track + 1}
        yield {**phase, **place, "id": number, "name": "message", "cat": "message", "ts": time}


def _actions(timeline: Timeline, rows: NDArray[np.intp]) -> Iterator[tuple[int, int, int, int]]:
    """Rank, kind, stage and microbatch of each row."""
    ranks = np.array([track.rank for track in timeline.tracks])[timeline.track[rows]]
    columns = (ranks, timeline.kind[rows], timeline.stage[rows], timeline.microbatch[rows])
    return zip(*(column.tolist() for column in columns), strict=True)


def _parts(label: Label, plan: Plan) -> tuple[_Part, ...]:
    """What a span is drawn as: a stall as nothing, but as a receive where it waits for a sender; a block in one piece
    as its computing and then its communication, although in truth they take turns."""
    if label.is_stall:
        return (_communication(RECEIVE, plan),) if label.name == f"{WAIT_FOR}pp" else ()
    if label.operation:
        return (_communication(label, plan),)
    if label.name in COPIES:
        return (_Part(COPIES[label.name], {}, 0.0, 1.0, COPY),)
    shares = [(key, share) for key, share in label.parts if share > 0] or [(label.category, 1.0)]
    edges = [0.0, *np.cumsum([share for _, share in shares])[:-1].tolist(), 1.0]
    return tuple(
        _Part(_name(label, key), {}, *between, HOST if key == "host" else KERNEL)
        for (key, _), between in zip(shares, pairwise(edges), strict=True)
    )


def _name(label: Label, key: str) -> str:
    """The name of a piece's part; by its beginning a tool knows that it is communication."""
    axis = key.removeprefix("exposed_")
    return label.name if axis == key else f"ncclDevKernel: {axis} of {label.name}"


def _communication(label: Label, plan: Plan) -> _Part:
    """A message or collective; its sizes before and after are given in elements of one byte."""
    kernel, call = OPERATIONS[label.operation]
    ranks = next((count for axis, (_, count) in spans(plan).items() if axis == label.group), 2)
    arguments: Event = {"Collective name": call, "Process Group Name": label.group, "Group size": ranks}
    if label.nbytes:
        whole, each = round(label.nbytes), round(label.nbytes / ranks)
        before = each if label.operation == "all_gather" else whole
        after = each if label.operation == "reduce_scatter" else whole
        arguments |= {"dtype": "Byte", "In msg nelems": before, "Out msg nelems": after}
    return _Part(f"{kernel}: {label.name}", arguments, 0.0, 1.0)
