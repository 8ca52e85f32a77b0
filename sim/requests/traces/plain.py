"""One's own CSV or JSONL: a column each for when requests came, tokens of prompts and tokens of answers, under any of
the usual names, whose ending says the unit of time. Times may be missing: the load says then how requests come."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from sim.requests.traces.cells import instants, times, tokens
from sim.requests.traces.ordered import ordered
from sim.requests.traces.table import numbers
from sim.requests.traces.trace import Trace
from topologies.document import InputError, shorten
from topologies.quantity import MICROSECOND, MILLISECOND, NANOSECOND

_UNITS: Final = {"": 1.0, "_s": 1.0, "_ms": MILLISECOND, "_us": MICROSECOND, "_ns": NANOSECOND}
_TIMES: Final = ("arrival", "arrival_time", "arrived_at", "sent", "timestamp", "time", "start_time")
_PROMPTS: Final = ("prompt", "input", "prefill", "context", "request", "num_prompt", "num_prefill", "isl")
_OUTPUTS: Final = ("output", "decode", "generated", "response", "completion", "num_output", "num_decode", "osl")
_TOKENS: Final = ("", "_tokens", "_toks", "_len", "_length")

ARRIVALS: Final[Mapping[str, float]] = {f"{name}{unit}": factor for name in _TIMES for unit, factor in _UNITS.items()}
PROMPTS: Final = tuple(f"{name}{ending}" for name in _PROMPTS for ending in _TOKENS)
OUTPUTS: Final = tuple(f"{name}{ending}" for name in _OUTPUTS for ending in _TOKENS)


def load(path: Path, columns: Iterable[str]) -> Trace:
    """Raises InputError where no column is known for the prompts, or none for the answers."""
    columns = tuple(columns)
    prompt = _named(path, columns, PROMPTS, "prompts' tokens", "prompt_tokens")
    output = _named(path, columns, OUTPUTS, "answers' tokens", "output_tokens")
    time = _first(columns, ARRIVALS)
    if time is None:
        found = numbers(path, {prompt: tokens, output: tokens})
        return ordered(path.name, None, found[prompt], found[output])
    factor = ARRIVALS[_plain(time)]
    found = numbers(path, {time: instants if factor == 1 else times, prompt: tokens, output: tokens})
    return ordered(path.name, found[time] * factor, found[prompt], found[output])


def _named(path: Path, columns: tuple[str, ...], known: tuple[str, ...], what: str, example: str) -> str:
    found = _first(columns, known)
    if found is None:
        given = shorten(", ".join(columns))
        raise InputError(f"{path.name}: no column of {what} in {given}; call it {example} (docs/traces.md has all)")
    return found


def _first(columns: Iterable[str], known: Iterable[str]) -> str | None:
    """The column that is called as the first of the known names that any is called."""
    spelled = {_plain(column): column for column in columns}
    return next((spelled[name] for name in known if name in spelled), None)


def _plain(column: str) -> str:
    return re.sub(r"\W+", "_", column.strip().lower())
