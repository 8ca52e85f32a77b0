"""How much longer attention over decodes takes where one sequence is far longer than the others.

A kernel is done when its longest sequence is, unless that is cut among idle SMs. A table for each number of decodes
holds the time over that of equal sequences, with as many keys in all: one sequence so long, the others alike.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from sim.costs.law import Array
from sim.serving.costs.attention import Core

Skews = list[list[float]]
"""Factors of at least 1: rows MEANS, columns RATIOS."""
Cell = tuple[float, float, float, float]
"""a, b, c, d of a factor that is a + b mean + c ratio + d mean ratio between four points."""

MEANS: Final = [float(2**power) for power in range(6, 20)]
"""Mean contexts."""
RATIOS: Final = [1.0, 1.25, *(1.5**power for power in range(1, 15))]
"""The longest context over the mean."""


def skews(cores: Sequence[tuple[int, Core]], numbers: Array) -> Array:
    """The factors of a stage's layers together: by how many decodes there are, by MEANS, by RATIOS."""
    shape = (len(numbers), len(MEANS), len(RATIOS))
    batch, means, ratios = np.meshgrid(numbers, MEANS, RATIOS, indexing="ij")
    even = _seconds(cores, batch[..., 0].ravel(), means[..., 0].ravel(), None).reshape(*shape[:2], 1)
    longest = means * np.minimum(ratios, batch)
    ragged = _seconds(cores, batch.ravel(), means.ravel(), longest.ravel()).reshape(shape)
    return np.maximum(1.0, ragged / even)


def cell(table: Skews, row: int, column: int) -> Cell:
    """What the factor is where so many of MEANS and of RATIOS are not larger than the mean and the ratio; held beyond
    their ends."""
    top, bottom = max(row - 1, 0), min(row, len(MEANS) - 1)
    left, right = max(column - 1, 0), min(column, len(RATIOS) - 1)
    mean, ratio = MEANS[top], RATIOS[left]
    width, height = RATIOS[right] - ratio or 1.0, MEANS[bottom] - mean or 1.0
    low, high = table[top], table[bottom]
    by_ratio = (low[right] - low[left]) / width
    by_mean = (high[left] - low[left]) / height
    by_both = ((high[right] - high[left]) / width - by_ratio) / height
    one = low[left] - by_mean * mean - by_ratio * ratio + by_both * mean * ratio
    return one, by_mean - by_both * ratio, by_ratio - by_both * mean, by_both


def _seconds(cores: Sequence[tuple[int, Core]], batch: Array, mean: Array, longest: Array | None) -> Array:
    return np.asarray(sum(count * core.decodes(batch, mean, longest) for count, core in cores))
