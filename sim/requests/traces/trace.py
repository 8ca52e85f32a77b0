"""The noun: what a file of requests says, as columns."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sim.requests.requests import Counts, Names, Seconds
from topologies.document import InputError


def within(trace: "Trace", window: tuple[float, float] | None) -> "Trace":
    """The requests of a window, in seconds after the first one, as if the file began with it.

    Turns go with the first of their session. Raises InputError where none is left, or the file has no times.
    """
    if window is None:
        return trace
    if trace.arrival is None:
        raise InputError(f"window: {trace.name} does not say when requests came; leave window out")
    first = trace.arrival[trace.firsts()]
    rows = np.flatnonzero((first >= window[0]) & (first < window[1]))
    if not len(rows):
        raise InputError(f"window: {trace.name} holds no request then; its last comes after {first.max():.6g} s")
    places = np.cumsum((first >= window[0]) & (first < window[1])) - 1
    after = None if trace.after is None else np.where(trace.after[rows] < 0, -1, places[trace.after[rows]])
    return replace(
        trace,
        arrival=np.where(trace.begins, trace.arrival - window[0], trace.arrival)[rows],
        prompt=trace.prompt[rows],
        output=trace.output[rows],
        after=after,
        contents=None if trace.contents is None else tuple(trace.contents[row] for row in rows.tolist()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """As `Requests`, of the file `name`. arrival: seconds after the file's first request, and of a turn that follows
    another, after that one's answer; None where it has no times.

    notes: what a person should know: rows that are left out, times that were not in order.
    """

    name: str
    arrival: Seconds | None
    prompt: Counts
    output: Counts
    after: Counts | None = None
    contents: tuple[Names, ...] | None = None
    content_tokens: int = 16
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.prompt)

    @property
    def begins(self) -> NDArray[np.bool_]:
        """By row, whether it follows none other."""
        return np.full(len(self), True) if self.after is None else self.after < 0

    def firsts(self) -> Counts:
        """By row, the row with which its session began. Turns follow each other row by row."""
        return np.maximum.accumulate(np.where(self.begins, np.arange(len(self)), 0))

    def waits(self) -> Seconds:
        """By row, seconds between the answer before and this turn; 0 for those that follow none."""
        return np.zeros(len(self)) if self.arrival is None else np.where(self.begins, 0.0, self.arrival)
