"""Numbers in files: a column of cells becomes an array at once, and only where that fails is the bad cell sought."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from sim.requests.checks import MAX_TOKENS
from topologies.document import InputError, shorten
from topologies.quantity import NANOSECOND

Floats = NDArray[np.float64]
LATEST: Final = 1e12
"""Seconds: beyond every epoch that clocks count from."""


class Cells(NamedTuple):
    """Part of a column: what stands in it, on which lines of which file."""

    name: str
    column: str
    lines: Sequence[int]
    values: Sequence[object]


def tokens(cells: Cells) -> Floats:
    """Whole numbers from 1 to 10 million."""
    return _checked(cells, lambda found: (found >= 1) & (found <= MAX_TOKENS) & (found == np.floor(found)), _TOKENS)


def answers(cells: Cells) -> Floats:
    """As `tokens`, or 0, as some record a request that failed."""
    return _checked(cells, lambda found: (found >= 0) & (found <= MAX_TOKENS) & (found == np.floor(found)), _ANSWERS)


def times(cells: Cells) -> Floats:
    """Numbers, 0 or more, in whatever unit."""
    return _checked(cells, lambda found: (found >= 0) & (found <= LATEST / NANOSECOND), _TIMES)


def dates(cells: Cells) -> Floats:
    """Dates with a time of day as seconds of the Unix epoch; those without an offset are in UTC."""
    return np.array([_date(cells, place) for place in range(len(cells.values))])


def instants(cells: Cells) -> Floats:
    """Seconds, or dates: the first cell decides."""
    return (
        times(cells) if not isinstance(cells.values[0], str) or _number(cells.values[0]) is not None else dates(cells)
    )


_TOKENS = f"a number of tokens; write a whole number from 1 to {MAX_TOKENS:,}"
_ANSWERS = f"a number of tokens; write a whole number from 0 to {MAX_TOKENS:,}"
_TIMES = "a time; write a number, 0 or more, or drop the row"


def _checked(cells: Cells, allowed: Callable[[Floats], NDArray[np.bool_]], what: str) -> Floats:
    """Raises InputError for the first cell that is not `what`: trace.csv:12: output: '-3' is not ..."""
    try:
        found = np.array(list(map(float, cast(Sequence[str | float], cells.values))))
    except (ValueError, TypeError, OverflowError):
        found = np.array([_not_a_number(value) for value in cells.values])
    good = allowed(found)
    if not good.all():
        raise _refused(cells, int(np.argmin(good)), what)
    return found


def _not_a_number(value: object) -> float:
    number = _number(value)
    return np.nan if number is None else number


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        return None


def _date(cells: Cells, place: int) -> float:
    try:
        date = datetime.fromisoformat(str(cells.values[place]).strip())
    except ValueError:
        raise _refused(cells, place, "a date; write as 2023-11-16 18:17:03.98") from None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _refused(cells: Cells, place: int, what: str) -> InputError:
    value = cells.values[place]
    shown = "nothing" if value is None or value == "" else shorten(value)
    return InputError(f"{cells.name}:{cells.lines[place]}: {cells.column}: {shown} is not {what}")
