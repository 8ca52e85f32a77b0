"""LLMServingSim's workloads: a request a line, or a session of requests that follow each other, with lengths, times in
nanoseconds and, where they were kept, the tokens themselves [casys-kaist/LLMServingSim, workloads/README.md]."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from sim.requests.traces.cells import Cells, times, tokens
from sim.requests.traces.table import Item, field, items
from sim.requests.traces.trace import Trace
from topologies.document import InputError, shorten
from topologies.quantity import NANOSECOND

FIELDS: Final = frozenset({"arrival_time_ns", "input_toks", "output_toks"})
SESSION_FIELDS: Final = frozenset({"arrival_time_ns", "sub_requests"})
RUN_TOKENS: Final = 16


class _Call(NamedTuple):
    """One request: on which line, when it comes or how long after the answer before, and what it says."""

    line: int
    begins: bool
    time: object
    item: Item


def load(path: Path) -> Trace:
    """Sessions in order of their times, their calls in a row. Names of contents come from the tokens."""
    sessions = sorted(_sessions(path), key=lambda calls: _time(path, calls[0]))
    calls = [call for session in sessions for call in session]
    if not calls:
        raise InputError(f"{path.name}: holds no request; write an object a line")
    time = _column(path, calls, "arrival_time_ns")
    begins = np.array([call.begins for call in calls])
    contents = _contents(path, calls)
    return Trace(
        name=path.name,
        arrival=np.where(begins, time - time[0], time) * NANOSECOND,
        prompt=_column(path, calls, "input_toks").astype(np.int64),
        output=_column(path, calls, "output_toks").astype(np.int64),
        after=None if begins.all() else np.where(begins, -1, np.arange(len(calls)) - 1),
        contents=contents if any(contents) else None,
        content_tokens=RUN_TOKENS,
    )


def _sessions(path: Path) -> Iterator[list[_Call]]:
    for line, item in chain.from_iterable(zip(*part, strict=True) for part in items(path)):
        where = f"{path.name}:{line}"
        start = field(item, "arrival_time_ns", where)
        calls = item.get("sub_requests", [item])
        if not isinstance(calls, list) or not calls or not all(isinstance(call, dict) for call in calls):
            raise InputError(f"{where}: sub_requests: {shorten(calls)} is not a list of requests; write [{{...}}]")
        waits = [start, *(call.get("tool_duration_ns", 0) for call in calls[:-1])]
        yield [_Call(line, place == 0, waits[place], call) for place, call in enumerate(calls)]


def _time(path: Path, call: _Call) -> float:
    return float(times(Cells(path.name, "arrival_time_ns", [call.line], [call.time]))[0])


def _column(path: Path, calls: Sequence[_Call], name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    lines = [call.line for call in calls]
    if name == "arrival_time_ns":
        return times(Cells(path.name, name, lines, [call.time for call in calls]))
    return tokens(Cells(path.name, name, lines, [field(call.item, name, f"{path.name}:{call.line}") for call in calls]))


def _contents(path: Path, calls: Sequence[_Call]) -> tuple[tuple[int, ...], ...]:
    """A number for each run of tokens behind each run before it, given as they first appear."""
    names: dict[tuple[int, tuple[int, ...]], int] = {}
    return tuple(tuple(_named(_spoken(path, call), names)) for call in calls)


def _named(said: Sequence[int], names: dict[tuple[int, tuple[int, ...]], int]) -> Iterator[int]:
    before = -1
    for start in range(0, len(said) - RUN_TOKENS + 1, RUN_TOKENS):
        before = names.setdefault((before, tuple(said[start : start + RUN_TOKENS])), len(names))
        yield before


def _spoken(path: Path, call: _Call) -> Sequence[int]:
    """The tokens of the prompt, as far as they are there, and then those of the answer."""
    said: list[int] = []
    for name, length in (("input_tok_ids", "input_toks"), ("output_tok_ids", "output_toks")):
        found = call.item.get(name) or []
        if not isinstance(found, list) or set(map(type, found)) - {int}:
            raise InputError(f"{path.name}:{call.line}: {name}: {shorten(found)} is not a list of tokens; write [1, 2]")
        said += found
        if len(found) != call.item[length]:
            break
    return said
