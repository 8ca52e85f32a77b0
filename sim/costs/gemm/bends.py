"""What tiles, fetching and memory leave unexplained: a smooth factor over the sizes of a product, a few percent.

Mostly clocks that fall with the power drawn, and kernels chosen otherwise than by their time. A cubic in log m, log n
and log k, in Chebyshev polynomials, which stay within 1 where sizes are within what was measured; held beyond that.
"""

import math
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.costs.law import Array, Values

Single = NDArray[np.float32]
DEGREE: Final = 3
RANGES: Final = ((0, 15), (8, 16), (8, 16))
"""Powers of two between which m, n and k were measured."""
_MIDDLES = np.array([[(low + high) / 2] for low, high in RANGES], dtype=np.float32)
_SCALES = np.array([[2 / (high - low)] for low, high in RANGES], dtype=np.float32)
TERMS: Final = {
    "m" * i + "n" * j + "k" * h: (i, j, h)
    for i, j, h in product(range(DEGREE + 1), repeat=3)
    if 0 < i + j + h <= DEGREE
}
"""The polynomials by name: mmk is the second one in log m times the first in log k."""


def bent(weights: Single, m: Array, n: Array, k: Array) -> Array:
    """The factor: e to the sum of the terms, each with its weight."""
    of_m, of_n, of_k = _polynomials(np.stack([m, n, k], dtype=np.float32, casting="same_kind")).swapaxes(0, 1)
    over_k = (weights.reshape(-1, DEGREE + 1) @ of_k).reshape(DEGREE + 1, DEGREE + 1, -1)
    over_k *= of_n
    over_n = over_k.sum(axis=1)
    over_n *= of_m
    factor: Array = np.exp(over_n.sum(axis=0)).astype(np.float64)
    return factor


def weights_of(values: Values) -> Single:
    """The logarithms of the parameters, by the degrees in m, n and k."""
    weights = np.zeros((DEGREE + 1, DEGREE + 1, DEGREE + 1), dtype=np.float32)
    for name, degrees in TERMS.items():
        weights[degrees] = math.log(values[name])
    return weights


def _polynomials(sides: Single) -> Single:
    """Chebyshev's polynomials of degrees 0 to 3 of the logarithms, which go from -1 to 1."""
    x = np.log2(sides)
    x -= _MIDDLES
    x *= _SCALES
    np.clip(x, -1.0, 1.0, out=x)
    found = np.empty((DEGREE + 1, *x.shape), dtype=np.float32)
    found[0], found[1] = 1.0, x
    np.multiply(x, x, out=found[2])
    found[2] *= 2
    found[2] -= 1
    np.multiply(2 * found[2] - 1, x, out=found[3])
    return found
