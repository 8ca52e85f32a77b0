"""Schedules as files: the compute-only CSV that torch.distributed.pipelining dumps and loads.

A row per pipeline rank, a column per step, cells such as 2F0, an empty cell where the rank idles in that step.
"""

import csv
from io import StringIO
from pathlib import Path

from sim.schedules.action import Action, Schedule, in_rounds
from sim.schedules.dry_run import dry_run, fault
from topologies.document import InputError, read_text

_MAX_RANKS = 256  # deeper than any pipeline; bounds the grid of a hostile file to tens of millions of cells


def save(schedule: Schedule, path: Path) -> None:
    """Write the CSV, idle steps where the dry run idles (torch lines up its sends and receives by the step).

    Raises InputError for a schedule that is not whole, Deadlock for one that cannot be played; then it writes nothing.
    """
    text = StringIO()
    csv.writer(text).writerows(dry_run(schedule))
    path.write_bytes(text.getvalue().encode())


def load(path: Path) -> Schedule:
    """Read the CSV; each rank's order counts, idle cells do not: when it idles is for the simulation to say.

    Raises InputError, with file and line, for anything but a whole schedule; whether it can be played, `dry_run` says.
    """
    rows, lines = _read_rows(path)
    parsed = tuple(_parse_row(row, f"{path.name}:{line}") for row, line in zip(rows, lines, strict=True))
    last = max((action.stage for row in parsed for action in row), default=0)
    schedule = Schedule(parsed, in_rounds(len(parsed), last // max(1, len(parsed)) + 1))
    found = fault(schedule)
    if found:
        rank, problem = found
        raise InputError(f"{path.name}:{lines[rank] if lines else 1}: rank {rank}: {problem}")
    return schedule


def _parse_row(row: list[str], where: str) -> tuple[Action, ...]:
    parsed = []
    for column, cell in enumerate(row, start=1):
        if not cell.strip():
            continue
        try:
            parsed.append(Action.parse(cell))
        except InputError as error:
            raise InputError(f"{where}: column {column}: {error}") from None
    return tuple(parsed)


def _read_rows(path: Path) -> tuple[list[list[str]], list[int]]:
    """The rows and the line on which each ends; empty lines at the end are no ranks."""
    reader = csv.reader(StringIO(read_text(path, what="CSV"), newline=""))
    rows, lines = [], []
    try:
        for row in reader:
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(f"{path.name}:{reader.line_num}: not a CSV: {error}") from None
    while rows and not any(cell.strip() for cell in rows[-1]):
        rows.pop()
        lines.pop()
    if len(rows) > _MAX_RANKS:
        raise InputError(f"{path.name}: {len(rows)} rows; write one row per pipeline rank, at most {_MAX_RANKS}")
    return rows, lines
