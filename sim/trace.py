"""A timeline as a trace that Perfetto and chrome://tracing open: a process per rank, a thread per stream.

Times are in microseconds, as the format wants them [Google, Trace Event Format]. Stalls are left out: they are gaps.
"""

import gzip
import io

import orjson

from sim.timeline import KINDS, NO_ACTION, Timeline
from topologies.quantity import MICROSECOND

CHUNK = 50_000
"""Spans that are events at the same time: a long step holds millions, and as Python objects they would fill memory."""


def perfetto(timeline: Timeline) -> bytes:
    """The trace, as JSON in gzip; the same timeline gives the same bytes."""
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=packed, mtime=0) as file:
        file.write(b'{"displayTimeUnit":"ms","traceEvents":[')
        file.write(_comma_separated(_names(timeline)))
        for first in range(0, len(timeline.start), CHUNK):
            events = _slices(timeline, slice(first, first + CHUNK))
            file.write(b",\n" + _comma_separated(events) if events else b"")
        file.write(b"]}\n")
    return packed.getvalue()


def _comma_separated(events: list[dict[str, object]]) -> bytes:
    return orjson.dumps(events)[1:-1]


def _names(timeline: Timeline) -> list[dict[str, object]]:
    """Names of ranks and streams, and the order in which to show them."""
    events: list[dict[str, object]] = []
    for index, track in enumerate(timeline.tracks):
        place = {"ph": "M", "pid": track.rank, "tid": index}
        folded = f" (stands for {track.ranks_folded} ranks)" if track.ranks_folded > 1 else ""
        events.append({**place, "name": "process_name", "args": {"name": f"rank {track.rank}{folded}"}})
        events.append({**place, "name": "thread_name", "args": {"name": track.stream}})
        events.append({**place, "name": "process_sort_index", "args": {"sort_index": track.rank}})
        events.append({**place, "name": "thread_sort_index", "args": {"sort_index": index}})
    return events


def _slices(timeline: Timeline, rows: slice) -> list[dict[str, object]]:
    """One complete event per span that is not a stall; of a block in one piece, with the fraction of each part."""
    columns = (
        timeline.track[rows].tolist(),
        timeline.label[rows].tolist(),
        timeline.kind[rows].tolist(),
        timeline.stage[rows].tolist(),
        timeline.microbatch[rows].tolist(),
        (timeline.start[rows] / MICROSECOND).tolist(),
        ((timeline.end[rows] - timeline.start[rows]) / MICROSECOND).tolist(),
    )
    ranks = [track.rank for track in timeline.tracks]
    labels = [(label.name, label.category, label.is_stall, dict(label.parts)) for label in timeline.labels]
    events: list[dict[str, object]] = []
    for track, label, kind, stage, microbatch, start, length in zip(*columns, strict=True):
        name, category, is_stall, parts = labels[label]
        if is_stall:
            continue
        event = {
            "ph": "X",
            "pid": ranks[track],
            "tid": track,
            "name": name,
            "cat": category,
            "ts": start,
            "dur": length,
        }
        if kind != NO_ACTION:
            event["name"] = f"{stage}{KINDS[kind]}{microbatch} {name}"
            event["args"] = {"stage": stage, "microbatch": microbatch, **parts}
        events.append(event)
    return events
