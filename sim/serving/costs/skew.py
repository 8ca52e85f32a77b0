"""How much longer attention over decodes takes where one sequence is far longer than the others.

A kernel is done when its longest sequence is, unless that is cut among idle SMs. A table for each number of decodes
holds the time over that of equal sequences, with as many keys in all: one sequence so long, the others alike.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import numpy as np

from sim.serving.costs.attention import Core

Skews = list[list[float]]
"""Factors of at least 1: rows MEANS, columns RATIOS."""

MEANS: Final = [float(2**power) for power in range(6, 20)]
"""Mean contexts."""
RATIOS: Final = [1.0, 1.25, *(1.5**power for power in range(1, 15))]
"""The longest context over the mean."""
_MEANS, _RATIOS = np.array(MEANS), np.array(RATIOS)


def skews(cores: Sequence[tuple[int, Core]], num_decodes: int) -> Skews:
    """The factors of a stage's layers together."""
    means, ratios = (grid.ravel() for grid in np.meshgrid(_MEANS, _RATIOS, indexing="ij"))
    batch = np.full_like(means, num_decodes)
    longest = means * np.minimum(ratios, num_decodes)
    even = np.asarray(sum(count * core.decodes(batch, means, None) for count, core in cores))
    ragged = np.asarray(sum(count * core.decodes(batch, means, longest) for count, core in cores))
    factors: Skews = np.maximum(1.0, ragged / even).reshape(len(MEANS), len(RATIOS)).tolist()
    return factors


def factor(table: Skews, mean: float, longest: float) -> float:
    """Between four points of the table, held beyond its ends."""
    ratio = min(max(longest / mean, 1.0), RATIOS[-1])
    mean = min(max(mean, MEANS[0]), MEANS[-1])
    row = min(bisect_right(MEANS, mean) - 1, len(MEANS) - 2)
    column = min(bisect_right(RATIOS, ratio) - 1, len(RATIOS) - 2)
    low, high = table[row], table[row + 1]
    across = (ratio - RATIOS[column]) / (RATIOS[column + 1] - RATIOS[column])
    one = low[column] + across * (low[column + 1] - low[column])
    other = high[column] + across * (high[column + 1] - high[column])
    return one + (mean - MEANS[row]) / (MEANS[row + 1] - MEANS[row]) * (other - one)


def cell(table: Skews, mean: float, longest: float) -> tuple[float, float, float, float, float, float]:
    """Inside the table, what `factor` is around a point: a + b mean + c ratio + d mean ratio; then the next larger of
    MEANS, and the ratio at which the cell begins."""
    row, column = bisect_right(MEANS, mean) - 1, bisect_right(RATIOS, longest / mean) - 1
    first, width = MEANS[row], MEANS[row + 1] - MEANS[row]
    ratio, height = RATIOS[column], RATIOS[column + 1] - RATIOS[column]
    low, high = table[row], table[row + 1]
    by_ratio = (low[column + 1] - low[column]) / height
    by_mean = (high[column] - low[column]) / width
    by_both = ((high[column + 1] - high[column]) / height - by_ratio) / width
    one = low[column] - by_mean * first - by_ratio * ratio + by_both * first * ratio
    return one, by_mean - by_both * ratio, by_ratio - by_both * first, by_both, MEANS[row + 1], ratio
