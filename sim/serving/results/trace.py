"""A served load as a trace in Google's Trace Event Format, for Perfetto: passes, queues and cache, and requests.

A process per replica: a track per pipeline stage with its passes, gaps in which are the bubble; what runs, waits and is
held in the cache; each request's wait, prompt and answer. A long load is cut: the first events of each kind are there.
"""

import gzip
import io
from collections.abc import Iterator
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

from sim.serving.record import Record
from sim.serving.results.series import pools
from topologies.quantity import MICROSECOND

Event = dict[str, object]
MOST_EVENTS: Final = 100_000
"""At most so many, half of them for passes with their gauges, half for requests: a browser shows them at once."""
COUNTERS_PER_PASS, EVENTS_PER_REQUEST = 2, 6


def perfetto(record: Record) -> bytes:
    """JSON in gzip. The same record gives the same bytes."""
    passes = min(len(record.steps), MOST_EVENTS // 2 // (COUNTERS_PER_PASS + max(map(len, _shares(record)))))
    sent = np.flatnonzero(~np.isnan(record.sent))
    rows = sent[np.argsort(record.sent[sent], kind="stable")][: MOST_EVENTS // 2 // EVENTS_PER_REQUEST]
    events = [*_names(record, passes), *_passes(record, passes), *_requests(record, rows)]
    note = f"{passes} of {len(record.steps)} passes and {len(rows)} of {len(sent)} requests, the first ones"
    data = {"displayTimeUnit": "ms", "otherData": {"shown": note}, "traceEvents": events}
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=packed, mtime=0) as file:
        file.write(orjson.dumps(data))
    return packed.getvalue()


def _slices(record: Record, number: int) -> list[list[tuple[float, float]]]:
    """By pass, when it is on each stage's GPUs: start and length, in seconds.

    A stage begins when its work has come and the pass before is done; what a pass takes longer than that, by its host
    and on the wires, is spread evenly before its stages, so that it is out when the record says. What each stage takes
    of a pass is its share of the whole run.
    """
    steps, shares = record.steps, _shares(record)
    free: dict[int, list[float]] = {}
    found = []
    columns = (steps.replica[:number], steps.start[:number], steps.end[:number], steps.busy[:number])
    for replica, start, end, busy in zip(*(column.tolist() for column in columns), strict=True):
        lengths = [share * busy for share in shares[replica]]
        until = free.setdefault(replica, [0.0] * len(lengths))
        begins, ready = [], start
        for length, begin in zip(lengths, until, strict=True):
            begins.append(max(ready, begin))
            ready = begins[-1] + length
        lag = (end - ready) / len(lengths)
        begins = [begin + lag * stage for stage, begin in enumerate(begins, start=1)]
        free[replica] = [begin + length for begin, length in zip(begins, lengths, strict=True)]
        found.append(list(zip(begins, lengths, strict=True)))
    return found


def _shares(record: Record) -> list[list[float]]:
    """By replica, the share of its busy time that each stage has."""
    return [(busy / (busy.sum() or 1.0)).tolist() for stages, _ in pools(record) for busy in stages]


def _names(record: Record, number: int) -> Iterator[Event]:
    shares = _shares(record)
    for replica in sorted({*record.steps.replica[:number].tolist()}):
        yield {"ph": "M", "pid": replica, "name": "process_name", "args": {"name": f"replica {replica}"}}
        for stage in range(1, len(shares[replica]) + 1):
            name = {"name": "passes" if len(shares[replica]) == 1 else f"passes on stage {stage}"}
            yield {"ph": "M", "pid": replica, "tid": stage, "name": "thread_name", "args": name}


def _passes(record: Record, number: int) -> Iterator[Event]:
    """A slice for each pass on each stage, and two counters when it is scheduled."""
    steps, begin = record.steps, _microseconds(record.steps.start[:number])
    columns = (
        steps.replica, steps.tokens, steps.prefill, steps.decodes, steps.running, steps.waiting, steps.used_blocks,
    )  # fmt: skip
    rows = zip(*(column[:number].tolist() for column in columns), strict=True)
    for row, time, slices in zip(rows, begin, _slices(record, number), strict=True):
        replica, tokens, prefill, decodes, running, waiting, blocks = row
        name = f"{prefill} prompt tokens, {decodes} decodes" if prefill else f"{decodes} decodes"
        args = {"tokens": tokens, "prefill": prefill, "decodes": decodes}
        for stage, (start, length) in enumerate(slices, start=1):
            begins, lasts = _microseconds(np.array([start, length]))
            yield {"ph": "X", "name": name, "pid": replica, "tid": stage, "ts": begins, "dur": lasts, "args": args}
        place = {"pid": replica, "ts": time}
        yield {"ph": "C", "name": "requests", "args": {"running": running, "waiting": waiting}, **place}
        yield {"ph": "C", "name": "KV blocks", "args": {"used": blocks}, **place}


def _requests(record: Record, rows: NDArray[np.intp]) -> Iterator[Event]:
    """Each request's phases as far as it came: it waits, its prompt is computed, its answer is generated."""
    columns = (record.sent, record.scheduled, record.first_token, record.finished)
    times = [_microseconds(column[rows]) for column in columns]
    who = zip(rows.tolist(), record.replica[rows].tolist(), strict=True)
    for (row, replica), instants in zip(who, zip(*times, strict=True), strict=True):
        shared = {"cat": "request", "id": row, "pid": replica}
        for phase, begin, end in zip(("queue", "prefill", "decode"), instants, instants[1:], strict=False):
            if end == end:
                yield {"ph": "b", "name": phase, "ts": begin, **shared}
                yield {"ph": "e", "name": phase, "ts": end, **shared}


def _microseconds(seconds: NDArray[np.float64]) -> list[float]:
    """To the nanosecond."""
    rounded: list[float] = np.round(seconds / MICROSECOND, 3).tolist()
    return rounded
