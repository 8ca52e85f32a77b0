"""Attention's seconds in consecutive passes of the same decodes, each of which meets one key more from pass to pass.

Tables are straight lines between their points, so within a cell of theirs a pass costs a few multiplications.
"""

from math import ceil
from typing import Final

from sim.serving.costs.attention import LENGTHS
from sim.serving.costs.skew import MEANS, RATIOS, Skews, cell, factor
from sim.serving.costs.tables import interpolated, place

_LENGTHS: Final[list[float]] = LENGTHS.tolist()


def attention(row: list[float], table: Skews, length: float, longest: int, num_passes: int) -> list[float]:
    """Seconds of so many passes, the first at this mean length. row: by LENGTHS; table: the factors where one decode is
    the `longest` (0: all are as long)."""
    found = _piece(row, table, length, longest, num_passes)
    while len(found) < num_passes:
        done = len(found)
        found += _piece(row, table, length + done, longest and longest + done, num_passes - done)
    return found


def _piece(row: list[float], table: Skews, length: float, longest: int, most: int) -> list[float]:
    """As many of them as lie in the same cell of each table."""
    at = place(_LENGTHS, length)
    if at < len(_LENGTHS) - 2:
        most = min(most, max(ceil(_LENGTHS[at + 1] - length), 1))
    if not longest:
        return [interpolated(row, length + step) for step in range(most)]
    if not MEANS[0] <= length < MEANS[-1] or not 1 <= longest / length < RATIOS[-1]:
        return [interpolated(row, length) * factor(table, length, longest)]
    slope = (row[at + 1] - row[at]) / (_LENGTHS[at + 1] - _LENGTHS[at])
    start = row[at] + slope * (length - _LENGTHS[at])
    return _skewed(start, slope, table, length, longest, most)


def _skewed(start: float, slope: float, table: Skews, length: float, longest: int, most: int) -> list[float]:
    """In a cell the factor is a + b mean + c ratio + d mean ratio, where the ratio is longest / mean."""
    one, by_mean, by_ratio, by_both, mean, ratio = cell(table, length, longest)
    most = min(most, max(ceil(mean - length), 1))
    if ratio > 1:
        most = min(most, max(ceil((longest - ratio * length) / (ratio - 1)), 1))
    return [
        (start + slope * step)
        * (one + by_mean * (length + step) + (by_ratio / (length + step) + by_both) * (longest + step))
        for step in range(most)
    ]
