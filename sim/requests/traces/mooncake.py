"""Mooncake's traces: times in milliseconds, lengths, and hashes of the prompt's blocks of 512 tokens, each of its block
and all before it [kvcache-ai/Mooncake, README.md]. Files of that layout without hashes are read, too."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from sim.requests.requests import Names
from sim.requests.traces.cells import Cells, times, tokens
from sim.requests.traces.ordered import ordered
from sim.requests.traces.table import numbers
from sim.requests.traces.trace import Trace
from topologies.document import InputError, shorten
from topologies.quantity import MILLISECOND

FIELDS: Final = frozenset({"timestamp", "input_length", "output_length"})
BLOCK_TOKENS: Final = 512


def load(path: Path) -> Trace:
    """The hashes become the prompts' contents; what the answers say is not known."""
    hashes: list[Names] = []
    found = numbers(
        path,
        {"timestamp": times, "input_length": tokens, "output_length": tokens},
        {"hash_ids": lambda cells: hashes.extend(_hashes(cells))},
    )
    trace = ordered(
        path.name,
        found["timestamp"] * MILLISECOND,
        found["input_length"],
        found["output_length"],
        contents=tuple(hashes) if any(hashes) else None,
        content_tokens=BLOCK_TOKENS,
    )
    few = sum(len(one) * BLOCK_TOKENS < tokens for one, tokens in zip(hashes, found["input_length"], strict=True))
    if not few or trace.contents is None:
        return trace
    note = f"{path.name}: {few:,} of {len(trace):,} prompts have fewer hash_ids than blocks of {BLOCK_TOKENS}"
    return replace(trace, notes=(*trace.notes, note))


def _hashes(cells: Cells) -> Iterator[tuple[int, ...]]:
    for line, value in zip(cells.lines, cells.values, strict=True):
        if value is not None and (not isinstance(value, list) or set(map(type, value)) - {int}):
            where = f"{cells.name}:{line}: {cells.column}"
            raise InputError(f"{where}: {shorten(value)} is not a list of whole numbers; write [0, 1, 2]")
        yield tuple(value or ())
