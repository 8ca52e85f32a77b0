"""Files of one request a line: CSV with a header, or JSONL with an object a line; columns of numbers are what stays.

Lines are taken some thousand at a time, so that a million cost seconds and little more memory than their numbers.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import orjson

from sim.requests.traces.cells import Cells, Floats
from sim.requests.traces.source import lines
from topologies.document import InputError, shorten

_CHUNK: Final = 2_000
_OTHER_SEPARATORS: Final = ";\t|"

if TYPE_CHECKING:
    from _csv import Reader

Parser = Callable[[Cells], Floats]
Taker = Callable[[Cells], None]
Item = dict[str, object]
_NONE: Final[Mapping[str, Taker]] = {}


class Chunk(NamedTuple):
    """Some lines of a file, and what stands there, by column."""

    lines: Sequence[int]
    columns: Mapping[str, Sequence[object]]


def header(path: Path) -> list[str]:
    """The names in the first line of a CSV file."""
    try:
        names = next((row for row in csv.reader(lines(path)) if row), None)
    except csv.Error as error:
        raise InputError(f"{path.name}: not valid CSV: {error}; write a line of column names first") from None
    if names is not None:
        for other in _OTHER_SEPARATORS:
            if len(names) == 1 and other in names[0]:
                raise InputError(f"{path.name}: columns are parted by {other!r}; write commas")
        return [name.strip() for name in names]
    raise InputError(f"{path.name}: the file is empty; it must hold a line for each request")


def numbers(path: Path, parsers: Mapping[str, Parser], others: Mapping[str, Taker] = _NONE) -> dict[str, Floats]:
    """The columns that have a parser, as arrays. Fields of JSONL that only some lines may have are handed to `others`.

    Raises InputError for the first cell or line that is wrong.
    """
    parts: dict[str, list[Floats]] = {name: [] for name in parsers}
    for chunk in _jsonl_chunks(path, parsers, others) if is_json(path) else _csv_chunks(path, parsers):
        for name, parser in parsers.items():
            parts[name].append(parser(Cells(path.name, name, chunk.lines, chunk.columns[name])))
        for name, taker in others.items():
            taker(Cells(path.name, name, chunk.lines, chunk.columns[name]))
    if not any(parts.values()):
        raise InputError(f"{path.name}: holds no request; write a line for each, below the header")
    return {name: np.concatenate(found) for name, found in parts.items()}


def is_json(path: Path) -> bool:
    """Whether the file begins as JSON does, rather than with a line of column names."""
    return next((text.lstrip()[:1] in "{[" for text in lines(path) if text.strip()), False)


def items(path: Path) -> Iterator[tuple[Sequence[int], Sequence[Item]]]:
    """The objects of a JSONL file, some at a time, with their lines."""
    numbered = ((number, text) for number, text in enumerate(lines(path), start=1) if not text.isspace())
    while part := tuple(islice(numbered, _CHUNK)):
        places, texts = zip(*part, strict=True)
        yield places, _parsed(texts, places, path.name)


def field(item: Item, name: str, where: str) -> object:
    """Raises InputError where the object has no such field."""
    if name not in item:
        raise InputError(f"{where}: no field {name}; every line must have it")
    return item[name]


def _parsed(texts: Sequence[str], places: Sequence[int], name: str) -> Sequence[Item]:
    """All at once, and one by one where that is not so many objects."""
    try:
        found: list[Item] = orjson.loads(f"[{','.join(texts)}]")
    except orjson.JSONDecodeError:
        found = []
    if len(found) == len(texts) and set(map(type, found)) == {dict}:
        return found
    return [_one(text, f"{name}:{place}") for text, place in zip(texts, places, strict=True)]


def _one(text: str, where: str) -> Item:
    try:
        item = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{where}: not valid JSON: {error.msg}; write one object a line") from None
    if not isinstance(item, dict):
        raise InputError(f"{where}: {shorten(item)} is not an object; write one {{...}} a line")
    return item


def _csv_chunks(path: Path, columns: Iterable[str]) -> Iterator[Chunk]:
    names = header(path)
    places = {column: names.index(column) for column in columns}
    reader = csv.reader(lines(path))
    numbered = ((reader.line_num, row) for row in reader if row)
    next(numbered)
    while rows := _rows(numbered, reader, path.name, len(names)):
        found = {column: [row[place] for row in rows.values()] for column, place in places.items()}
        yield Chunk(tuple(rows), found)


def _rows(numbered: Iterator[tuple[int, list[str]]], reader: "Reader", name: str, width: int) -> dict[int, list[str]]:
    """Some rows, by their lines."""
    try:
        rows = dict(islice(numbered, _CHUNK))
    except csv.Error as error:
        raise InputError(f"{name}:{reader.line_num}: not valid CSV: {error}") from None
    if set(map(len, rows.values())) - {width}:
        line, row = next((line, row) for line, row in rows.items() if len(row) != width)
        raise InputError(f"{name}:{line}: {len(row)} columns where the header has {width}")
    return rows


def _jsonl_chunks(path: Path, columns: Iterable[str], others: Iterable[str]) -> Iterator[Chunk]:
    for places, found in items(path):
        try:
            values: dict[str, list[object]] = {column: [item[column] for item in found] for column in columns}
        except KeyError as error:
            missing = str(error.args[0])
            line = next(place for place, item in zip(places, found, strict=True) if missing not in item)
            raise InputError(f"{path.name}:{line}: no field {missing}; every line must have it") from None
        yield Chunk(places, values | {column: [item.get(column) for item in found] for column in others})
