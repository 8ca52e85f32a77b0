"""A timeline as a trace that Perfetto and chrome://tracing open: a process per rank, a thread per stream.

Times are in microseconds, as the format wants them [Google, Trace Event Format]. Stalls are left out: they are gaps.
"""

import gzip

import orjson

from sim.timeline import KINDS, NO_ACTION, Timeline
from topologies.quantity import MICROSECOND


def perfetto(timeline: Timeline) -> bytes:
    """The trace, as JSON in gzip; the same timeline gives the same bytes."""
    events = [*_names(timeline), *_slices(timeline)]
    return gzip.compress(orjson.dumps({"displayTimeUnit": "ms", "traceEvents": events}), compresslevel=6, mtime=0)


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


def _slices(timeline: Timeline) -> list[dict[str, object]]:
    """One complete event per span that is not a stall."""
    columns = (
        timeline.track.tolist(),
        timeline.label.tolist(),
        timeline.kind.tolist(),
        timeline.stage.tolist(),
        timeline.microbatch.tolist(),
        (timeline.start / MICROSECOND).tolist(),
        ((timeline.end - timeline.start) / MICROSECOND).tolist(),
    )
    ranks = [track.rank for track in timeline.tracks]
    return [
        {
            "ph": "X",
            "pid": ranks[track],
            "tid": track,
            "name": timeline.labels[label].name
            if kind == NO_ACTION
            else _action_name(timeline, label, kind, stage, mb),
            "cat": timeline.labels[label].category,
            "ts": start,
            "dur": length,
            "args": {} if kind == NO_ACTION else {"stage": stage, "microbatch": mb},
        }
        for track, label, kind, stage, mb, start, length in zip(*columns, strict=True)
        if not timeline.labels[label].is_stall
    ]


def _action_name(timeline: Timeline, label: int, kind: int, stage: int, microbatch: int) -> str:
    return f"{stage}{KINDS[kind]}{microbatch} {timeline.labels[label].name}"
