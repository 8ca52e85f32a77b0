"""Requests in the order of their times, counted from the first; a file that is not so is sorted, and says it."""

from dataclasses import replace

import numpy as np

from sim.requests.requests import Counts, Names, Seconds
from sim.requests.traces.trace import Trace
from topologies.document import InputError


def ordered(
    name: str,
    time: Seconds | None,
    prompt: Seconds,
    output: Seconds,
    contents: tuple[Names, ...] | None = None,
    content_tokens: int = 16,
) -> Trace:
    """A trace of columns as they stand in a file; rows of one time stay as they are to each other."""
    order: Counts = np.arange(len(prompt))
    notes: tuple[str, ...] = ()
    if time is not None and (np.diff(time) < 0).any():
        order = np.argsort(time, kind="stable")
        notes = (f"{name}: times were not in order; the rows were sorted",)
    return Trace(
        name=name,
        arrival=None if time is None else time[order] - time[order[0]],
        prompt=prompt[order].astype(np.int64),
        output=output[order].astype(np.int64),
        contents=None if contents is None else tuple(contents[row] for row in order.tolist()),
        content_tokens=content_tokens,
        notes=notes,
    )


def answered(name: str, time: Seconds | None, prompt: Seconds, output: Seconds) -> Trace:
    """As `ordered`, without the requests that failed: those with no tokens. Raises InputError where all did."""
    good = (output > 0) & (prompt > 0)
    if not good.any():
        raise InputError(f"{name}: no request was answered; every one has 0 tokens")
    trace = ordered(name, None if time is None else time[good], prompt[good], output[good])
    failed = len(good) - len(trace)
    note = f"{name}: {failed:,} of {len(good):,} requests failed (0 tokens) and are left out"
    return replace(trace, notes=(note, *trace.notes)) if failed else trace
