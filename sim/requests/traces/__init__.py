"""Files of requests: the format is told by its columns, whatever the file is called; docs/traces.md describes each."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import orjson

from sim.requests.traces import azure, burstgpt, llmservingsim, mooncake, plain, table, vllm_bench
from sim.requests.traces.source import lines
from sim.requests.traces.trace import Trace as Trace
from sim.requests.traces.trace import within as within
from topologies.document import InputError

_Formats = Mapping[frozenset[str], Callable[[Path], Trace]]

CSV_FORMATS: Final[_Formats] = {azure.COLUMNS: azure.load, burstgpt.COLUMNS: burstgpt.load}
JSONL_FORMATS: Final[_Formats] = {
    mooncake.FIELDS: mooncake.load,
    llmservingsim.FIELDS: llmservingsim.load,
    llmservingsim.SESSION_FIELDS: llmservingsim.load,
}
"""By the columns, or the fields of the first line, that tell a format from others; all else is plain."""


def loaded(path: Path) -> Trace:
    """The requests of a file: CSV, JSONL or JSON, plain or in gzip.

    Raises InputError for a file that is missing, empty, too large or of a format that is not known, and for the first
    line that is wrong, with file, line and column.
    """
    if not table.is_json(path):
        return _of_columns(path, table.header(path), CSV_FORMATS)
    first = next(text for text in lines(path) if text.strip())
    try:
        item = orjson.loads(first)
    except orjson.JSONDecodeError:
        return _of_document(path)
    if isinstance(item, dict) and not item.keys() >= vllm_bench.FIELDS:
        return _of_columns(path, item, JSONL_FORMATS)
    return _of_document(path)


def _of_columns(path: Path, columns: Iterable[str], formats: _Formats) -> Trace:
    found = frozenset(columns)
    if "conversations" in found:
        raise _without_lengths(path)
    load = next((load for known, load in formats.items() if known <= found), None)
    return plain.load(path, columns) if load is None else load(path)


def _of_document(path: Path) -> Trace:
    """A file that is one JSON value over however many lines."""
    try:
        value = orjson.loads("".join(lines(path)))
    except orjson.JSONDecodeError as error:
        hint = "write one object a line, or a single result of vllm bench serve (without --append-result)"
        raise InputError(f"{path.name}:{error.lineno}: not valid JSON: {error.msg}; {hint}") from None
    if isinstance(value, dict) and value.keys() >= vllm_bench.FIELDS:
        return vllm_bench.load(path, value)
    first = value[0] if isinstance(value, list) and value else value
    if isinstance(first, dict) and "conversations" in first:
        raise _without_lengths(path)
    raise InputError(f"{path.name}: JSON of a kind that is not known; write one request a line (docs/traces.md)")


def _without_lengths(path: Path) -> InputError:
    """ShareGPT's files hold texts."""
    return InputError(
        f"{path.name}: conversations as text, whose tokens only the model's tokenizer can count; "
        "write a line for each request with input_toks, output_toks and arrival_time_ns"
    )
