"""The cells of a table of measured runs: texts, flags, counts and numbers, and what a file must have to be one."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from topologies.document import InputError, read_text

Row = Mapping[str, str]

NEEDED = ("row", "campaign", "model", "gpu", "gpus", "seq_len", "precision", "micro_batch", "global_batch", "complete")
"""Columns without which a table is no table of runs; docs/validation.md describes them all."""


def read(path: Path) -> list[Row]:
    """The rows of a CSV of measured runs, every cell a text without blanks around it.

    Raises InputError for a missing or repeated column, and for a row with more or fewer cells than the header.
    """
    table = csv.DictReader(io.StringIO(read_text(path, what="CSV")), restkey="", strict=True)
    try:
        _check_header(table.fieldnames or (), f"{path.name}:1")
        return [_stripped(row, f"{path.name}:{table.line_num}") for row in table]
    except csv.Error as error:
        raise InputError(f"{path.name}:{table.line_num}: {error}") from None


def _check_header(columns: Sequence[str], where: str) -> None:
    for column in NEEDED:
        if column not in columns:
            raise InputError(f"{where}: no column {column}; docs/validation.md lists the columns of such a table")
    for column in columns:
        if columns.count(column) > 1:
            raise InputError(f"{where}: two columns are called {column}; keep one of them")


def cell(row: Row, column: str) -> str:
    """The text in a column; empty where the table has no such column."""
    return row.get(column, "")


def flag(row: Row, column: str) -> bool | None:
    """Whether a column says yes; None where it is empty.

    Raises InputError for anything but yes and no.
    """
    text = cell(row, column)
    if text not in ("", "yes", "no"):
        raise InputError(f"{column} {text!r} is neither yes nor no")
    return text == "yes" if text else None


def count(row: Row, column: str, default: int | None = None) -> int:
    """The whole number in a column, `default` where it is empty.

    Raises InputError for anything else.
    """
    text = cell(row, column)
    if not text and default is not None:
        return default
    if not text.isascii() or not text.isdigit():
        raise InputError(f"{column} {text!r} is not a whole number")
    return int(text)


def number(row: Row, column: str) -> float | None:
    """The positive number in a column, None where it is empty.

    Raises InputError for anything else.
    """
    text = cell(row, column)
    try:
        number = float(text) if text else None
    except ValueError:
        number = -1.0
    if number is not None and not 0 < number < float("inf"):
        raise InputError(f"{column} {text!r} is not a positive number")
    return number


def _stripped(row: Mapping[str, str | None], where: str) -> Row:
    if "" in row or None in row.values():
        raise InputError(f"{where}: more or fewer cells than the header has columns; quote texts that hold commas")
    return {column: (cell or "").strip() for column, cell in row.items()}
