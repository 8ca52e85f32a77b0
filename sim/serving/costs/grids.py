"""Measured times on a grid of which many points were left out: the holes are filled from their neighbours, once.

A kernel's time is nearly a straight line along each axis while the others stand still, so a hole between two measured
points of a line is taken from them, by all lines that pass through it, close ones counting most; a hole at the edge
goes on as its line does.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float64]
_ROUNDS: Final = 16
"""More than a grid with a point in every direction needs."""


def filled(values: Grid, axes: Sequence[Grid]) -> Grid:
    """The grid without holes (NaN); `axes` are the places of its points along each dimension."""
    made = values.copy()
    for _ in range(_ROUNDS):
        if not np.isnan(made).any():
            return made
        if not _take(made, [_inside(made, axis, places) for axis, places in enumerate(axes)]):
            _take(made, [_outside(made, axis, places) for axis, places in enumerate(axes)])
    return np.where(np.isnan(made), np.nanmax(made), made)


def _take(made: Grid, found: Sequence[tuple[Grid, Grid]]) -> bool:
    """Fill holes by the weighted mean of what was found for them; whether there was any."""
    weights = sum(weight for _, weight in found)
    sums = sum(np.where(weight > 0, estimate, 0.0) * weight for estimate, weight in found)
    holes = np.isnan(made) & (np.asarray(weights) > 0)
    made[holes] = np.asarray(sums)[holes] / np.asarray(weights)[holes]
    return bool(holes.any())


def _inside(values: Grid, axis: int, places: Grid) -> tuple[Grid, Grid]:
    """Between the nearest points on both sides along an axis, and weights that fall with the square of the gap."""
    moved = np.moveaxis(values, axis, 0)
    count = len(places)
    index = np.arange(count).reshape(-1, *[1] * (moved.ndim - 1))
    known = ~np.isnan(moved)
    low = np.maximum.accumulate(np.where(known, index, -1))
    high = np.minimum.accumulate(np.where(known, index, count)[::-1])[::-1]
    is_between = (low >= 0) & (high < count) & (high > low)
    below, above = np.clip(low, 0, count - 1), np.clip(high, 0, count - 1)
    first, second = (np.take_along_axis(moved, at, 0) for at in (below, above))
    span = np.where(is_between, places[above] - places[below], 1.0)
    estimate = first + (places[index] - places[below]) / span * (second - first)
    weight = np.where(is_between, 1.0 / np.maximum(above - below, 1) ** 2, 0.0)
    return np.moveaxis(estimate, 0, axis), np.moveaxis(weight, 0, axis)


def _outside(values: Grid, axis: int, places: Grid) -> tuple[Grid, Grid]:
    """Beyond the outermost points of a line: straight on upwards, never falling; downwards no lower than to half."""
    moved = np.moveaxis(values, axis, 0)
    lines = moved.reshape(len(places), -1)
    estimate, weight = np.full_like(lines, np.nan), np.zeros_like(lines)
    for column in range(lines.shape[1]):
        known = np.flatnonzero(~np.isnan(lines[:, column]))
        if len(known) < 2:
            continue
        for end, inner in ((known[0], known[1]), (known[-1], known[-2])):
            start = lines[end, column]
            slope = max(0.0, (lines[inner, column] - start) / (places[inner] - places[end]))
            beyond = np.arange(end) if end == known[0] else np.arange(end + 1, len(places))
            estimate[beyond, column] = np.maximum(start + slope * (places[beyond] - places[end]), start / 2)
            weight[beyond, column] = 1.0
    shape = moved.shape
    return np.moveaxis(estimate.reshape(shape), 0, axis), np.moveaxis(weight.reshape(shape), 0, axis)
