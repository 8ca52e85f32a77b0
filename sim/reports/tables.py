"""Lists and sheets as plain text, JSON and CSV: readable in a terminal of 42 columns, and by awk in a pipe."""

import csv
import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson

Record = Mapping[str, object]

GAP = "  "
LEAST_TEXT = 24
"""Columns below which a text gets lines of its own, below its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One entry of a list: cells for people, in the order of the list's columns, and the same as data."""

    cells: tuple[str, ...]
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One thing shown whole: names and words for people, and the same as data."""

    words: tuple[tuple[str, str], ...]
    record: Record


def table(columns: Sequence[str], rows: Sequence[Row], width: int | None) -> str:
    """Columns under their heads, as many from the left as fit into the width; the others are named below."""
    lines = [tuple(columns), *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    shown = _fitting(widths, width)
    text = "".join(_line(line[:shown], widths) for line in lines)
    if shown == len(columns):
        return text
    missing = f"not shown: {', '.join(columns[shown:])} (wider terminal, or --format csv)"
    return text + "\n".join(textwrap.wrap(missing, width or len(missing))) + "\n"


def pairs(words: Sequence[tuple[str, str]], width: int | None) -> str:
    """A name and a text a line; a long text goes on below itself."""
    margin = max((len(name) for name, _ in words), default=0) + len(GAP)
    return "".join(_pair(name, text, margin, width) for name, text in words)


def as_json(data: Record | Sequence[Record]) -> str:
    """As JSON: one mapping, or a list of them."""
    return orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n"


def as_csv(records: Sequence[Record]) -> str:
    """A line of names such as moe.top_k, and a line for each record; what a record does not have is empty."""
    flat = [dict(_flat(record)) for record in records]
    names = list(dict.fromkeys(name for record in flat for name in record))
    names = [name for name in names if not any(other.startswith(f"{name}.") for other in names)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(record.get(name)) for name in names] for record in flat)
    return text.getvalue()


def _fitting(widths: Sequence[int], width: int | None) -> int:
    """How many columns fit; the first one always does."""
    if width is None:
        return len(widths)
    totals = [sum(widths[: count + 1]) + count * len(GAP) for count in range(len(widths))]
    return max(1, sum(total <= width for total in totals))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)).rstrip() + "\n"


def _pair(name: str, text: str, margin: int, width: int | None) -> str:
    if width is None:
        return f"{name:<{margin}}{text}".rstrip() + "\n"
    if width - margin >= LEAST_TEXT:
        first, rest = f"{name:<{margin}}", " " * margin
    else:
        first, rest = f"{name}\n    ", "    "
    lines = textwrap.wrap(text, max(width - len(rest), 1), break_on_hyphens=False) or [""]
    return (first + f"\n{rest}".join(lines)).rstrip() + "\n"


def _flat(record: Record, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
            for index, inner in enumerate(value):
                yield from _flat(inner, f"{prefix}{key}.{index}.")
        else:
            yield f"{prefix}{key}", value


def _cell(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
