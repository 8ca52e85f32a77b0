"""How many tokens, or turns: whole numbers drawn from a distribution, a whole column at a time."""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from sim.requests.load import Distribution
from sim.requests.requests import Counts


def drawn(distribution: Distribution, count: int, largest: int, generator: np.random.Generator) -> Counts:
    """`count` whole numbers from 1 to `largest`."""
    numbers = _DRAWN[distribution.kind](distribution, count, generator)
    return np.clip(np.rint(numbers), 1, largest).astype(np.int64)


def _fixed(distribution: Distribution, count: int, _: np.random.Generator) -> NDArray[np.float64]:
    return np.full(count, distribution.mean)


def _uniform(distribution: Distribution, count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    low = max(1, math.floor(distribution.mean * (1.0 - distribution.range_ratio)))
    high = math.ceil(distribution.mean * (1.0 + distribution.range_ratio))
    return generator.integers(low, high, count, endpoint=True).astype(np.float64)


def _normal(distribution: Distribution, count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    return generator.normal(distribution.mean, distribution.deviation, count)


def _lognormal(distribution: Distribution, count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Of the mean m and deviation d asked for: the logarithm has variance s2 = ln(1 + (d/m)^2), mean ln m - s2/2."""
    variance = math.log1p((distribution.deviation / distribution.mean) ** 2)
    return generator.lognormal(math.log(distribution.mean) - variance / 2.0, math.sqrt(variance), count)


_DRAWN: Mapping[str, Callable[[Distribution, int, np.random.Generator], NDArray[np.float64]]] = {
    "fixed": _fixed,
    "uniform": _uniform,
    "normal": _normal,
    "lognormal": _lognormal,
}
