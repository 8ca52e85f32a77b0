"""A CSV of measurements, read once and checked as its columns are asked for.

Tables come from strangers: they are bounded, a row has as many cells as the header, and a number is finite and within
the limits that its column can have. What is wrong is told with the file, the line and the column.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim.costs.law import Array
from topologies.document import InputError, shorten
from topologies.quantity import LARGEST, MEGA, SMALLEST

Texts = NDArray[np.str_]

MAX_NBYTES = 50 * int(MEGA)
MOST_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """`header` are the columns' names, `rows` the line of each row in the file, `columns` the cells as text."""

    name: str
    header: tuple[str, ...]
    rows: NDArray[np.int64]
    columns: Mapping[str, Texts]

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    def texts(self, column: str) -> Texts:
        """The cells of a column, without blanks around them; InputError where there is no such column."""
        if column not in self.columns:
            shown = ", ".join(self.header[:MOST_SHOWN])
            raise InputError(f"{self.name}:1: no column {column}; the columns are {shown}")
        return self.columns[column]

    def numbers(
        self, column: str, *, low: float = SMALLEST, high: float = LARGEST, empty: float | None = None
    ) -> Array:
        """The column as numbers between `low` and `high`, both included; an empty cell is `empty` if that is given.

        Raises InputError for the first cell that is no such number.
        """
        texts = self.texts(column)
        filled = texts if empty is None else np.where(texts == "", repr(empty), texts)
        try:
            values = filled.astype(np.float64)
        except ValueError:
            raise self._not_a_number(column, filled) from None
        wrong = np.flatnonzero(~np.isfinite(values) | (values < low) | (values > high))
        if empty is not None:
            wrong = wrong[texts[wrong] != ""]
        if len(wrong):
            raise self.error(int(wrong[0]), column, _out_of_range(str(texts[wrong[0]]), low, high))
        return values

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Table":
        """Those rows that a mask or index array picks."""
        columns = {name: cells[chosen] for name, cells in self.columns.items()}
        return Table(name=self.name, header=self.header, rows=self.rows[chosen], columns=columns)

    def with_column(self, name: str, cells: Texts) -> "Table":
        """The table with these cells in a column, which it may have or not."""
        columns = {**self.columns, name: cells}
        return Table(name=self.name, header=tuple(columns), rows=self.rows, columns=columns)

    def error(self, index: int, column: str, message: str) -> InputError:
        """What is wrong in one cell, with its place in the file."""
        return InputError(f"{self.name}:{self.rows[index]}: {column}: {message}")

    def _not_a_number(self, column: str, cells: Texts) -> InputError:
        index = next(index for index, cell in enumerate(cells) if not _is_number(str(cell)))
        if cells[index] == "":
            return self.error(index, column, "empty; write a number, or leave the row away")
        return self.error(index, column, f"{shorten(str(cells[index]))} is not a number; write it without a unit")


def read_text(path: Path) -> str:
    """The text of a regular file of at most 50 MB; InputError where it is not one."""
    try:
        regular = path.is_file() or not path.exists()
        with path.open("rb") if regular else io.BytesIO() as file:
            content = file.read(MAX_NBYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{shorten(str(path))}: cannot be read: {error}") from None
    if not regular:
        raise InputError(f"{path}: not a regular file; name a file of measurements")
    if len(content) > MAX_NBYTES:
        raise InputError(f"{path.name}: larger than 50 MB; split it, or keep the rows that matter")
    return _decoded(content, path.name)


def _decoded(content: bytes, name: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name}: not UTF-8 text; write CSV, or the log as the tool printed it") from None
    if "\0" in text:
        raise InputError(f"{name}: binary data, not text; write CSV, or the log as the tool printed it")
    return text


def table_of(text: str, name: str) -> Table:
    """The table that a text holds: a header, then rows of as many cells; blank lines are passed over."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        header = tuple(cell.strip() for cell in next(reader, []))
        _check_header(header, name)
        for cells in reader:
            if any(map(str.strip, cells)):
                _check_row(cells, header, f"{name}:{reader.line_num}")
                rows.append(cells)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(f"{name}:{reader.line_num}: {error}; is a quote left open, or the end cut off?") from None
    if not rows:
        raise InputError(f"{name}: a header and no rows; write one row per measurement")
    columns = {column: _texts([cells[index] for cells in rows]) for index, column in enumerate(header)}
    return Table(name=name, header=header, rows=np.array(lines, np.int64), columns=columns)


def _check_header(header: Sequence[str], name: str) -> None:
    if not any(header):
        raise InputError(f"{name}: empty; write a header and one row per measurement")
    if len(header) == 1:
        fix = "separate them by commas" if set(header[0]) & set(";\t|") else "docs/calibration.md lists the layouts"
        raise InputError(f"{name}:1: one column only, {shorten(header[0])}; {fix}")
    for column in header:
        if header.count(column) > 1:
            raise InputError(f"{name}:1: two columns are called {shorten(column)}; keep one of them")


def _check_row(cells: Sequence[str], header: Sequence[str], where: str) -> None:
    if len(cells) != len(header):
        end = "is the line cut off?" if len(cells) < len(header) else "put text with commas into quotes"
        raise InputError(f"{where}: {len(cells)} cells, but the header has {len(header)}; {end}")


def _texts(cells: Sequence[str]) -> Texts:
    return np.char.strip(np.array(cells, dtype=np.str_))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _out_of_range(text: str, low: float, high: float) -> str:
    limits = {
        (SMALLEST, LARGEST): "a number greater than 0",
        (0.0, LARGEST): "0 or more",
    }
    wanted = limits.get((low, high), f"a number from {low:g} to {high:g}")
    return f"{text} is not possible; write {wanted}"
