"""Schedules as files: the compute-only CSV that torch.distributed.pipelining dumps and loads.

A row per pipeline rank, a column per step, cells such as 2F0, or (0F1;2B0)OVERLAP_F_B where a forward and a backward
run as one, an empty cell where the rank idles in that step. Where a stage lives, and whether there are two models, is
read off the cells.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from itertools import pairwise
from pathlib import Path

from sim.schedules.action import Action, Schedule, back_and_forth, halves, is_pair
from sim.schedules.dry_run import UNIT, dry_run
from sim.schedules.fault import fault, homes_of
from topologies.document import InputError, read_text

_MAX_RANKS = 256  # deeper than any pipeline; bounds the grid of a hostile file to tens of millions of cells
_PAIR = re.compile(r"\(([^;()]*);([^;()]*)\)OVERLAP_F_B")


def is_schedule_file(name: str) -> bool:
    """Whether a schedule is a CSV, by its path."""
    return name.lower().endswith(".csv")


def save(schedule: Schedule, path: Path) -> None:
    """Write the CSV. Raises what `written` raises; then it writes nothing."""
    path.write_bytes(written(schedule))


def written(schedule: Schedule) -> bytes:
    """The CSV, idle steps where the dry run idles (torch lines up its sends and receives by the step).

    Raises InputError for a schedule that is not whole, Deadlock for one that cannot be played.
    """
    grid = dry_run(schedule, UNIT, paired=2)
    text = StringIO()
    csv.writer(text).writerows(_cells(row, schedule.is_paired) for row in grid)
    return text.getvalue().encode()


def load(path: Path) -> Schedule:
    """Read the CSV; each rank's order counts, idle cells do not: when it idles is for the simulation to say.

    A forward and a backward that stand in two cells of a file with pairs stay two: see Schedule.is_paired.
    Raises InputError, with file and line, for anything but a whole schedule; whether it can be played, `dry_run` says.
    """
    cells, lines = _read_rows(path)
    passes = [_parse_row(row, f"{path.name}:{line}") for row, line in zip(cells, lines, strict=True)]
    is_paired = any(len(each) == 2 for row in passes for each in row)
    rows = tuple(_joined(row, is_paired) for row in passes)
    schedule = _with_models(Schedule(rows, homes_of(rows), is_paired=is_paired))
    found = fault(schedule)
    if found:
        rank, problem = found
        raise InputError(f"{path.name}:{lines[rank] if lines else 1}: rank {rank}: {problem}")
    return schedule


def _cells(row: Sequence[Action | None], is_paired: bool) -> list[str]:
    """One row of a grid in units of time, the cell of a pair at its first unit."""
    texts = ["" if action is None else str(action) for action in row]
    for place, (one, other) in enumerate(pairwise(row)):
        if is_paired and one and other and is_pair((one, other)):
            texts[place : place + 2] = f"({one};{other})OVERLAP_F_B", ""
    return texts


def _joined(passes: Sequence[tuple[Action, ...]], is_paired: bool) -> tuple[Action, ...]:
    row: list[Action] = []
    for each in passes:
        is_apart = is_paired and len(each) == 1 and is_pair((*row[-1:], *each))
        row += halves(each[0]) if is_apart else each
    return tuple(row)


def _with_models(schedule: Schedule) -> Schedule:
    """Two models, where the stages go there and back and no microbatch passes both ways."""
    count = schedule.num_ranks
    if count == 1 or schedule.homes != back_and_forth(count):
        return schedule
    there = {action.microbatch for row in schedule.rows for action in row if action.stage < count}
    back = {action.microbatch for row in schedule.rows for action in row if action.stage >= count}
    return replace(schedule, num_models=2) if there.isdisjoint(back) else schedule


def _parse_row(row: list[str], where: str) -> list[tuple[Action, ...]]:
    parsed = []
    for column, cell in enumerate(row, start=1):
        if not cell.strip():
            continue
        try:
            parsed.append(_parse_cell(cell))
        except InputError as error:
            raise InputError(f"{where}: column {column}: {error}") from None
    return parsed


def _parse_cell(cell: str) -> tuple[Action, ...]:
    match = _PAIR.fullmatch(cell.strip())
    if match is None:
        return (Action.parse(cell),)
    both = Action.parse(match[1]), Action.parse(match[2])
    if not is_pair(both):
        raise InputError(
            f"{cell.strip()} is no pair; write an F and a B of another microbatch, such as (0F1;2B0)OVERLAP_F_B"
        )
    return both


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
