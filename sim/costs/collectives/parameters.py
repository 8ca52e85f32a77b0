"""What the laws of exchanges share: parameters written as people read them, and how limits become one another."""

import numpy as np

from sim.costs.law import Array, Parameter
from topologies.quantity import MICROSECOND


def microseconds(start: float, low: float, high: float, meaning: str) -> Parameter:
    """A latency; `meaning` follows "seconds"."""
    return Parameter(
        start=start * MICROSECOND, low=low * MICROSECOND, high=high * MICROSECOND, meaning=f"seconds {meaning}"
    )


def ratio(start: float, low: float, high: float, meaning: str) -> Parameter:
    """A number without a unit."""
    return Parameter(start=start, low=low, high=high, meaning=meaning)


def longest(doublings: int, *seconds: Array) -> Array:
    """The longest of several times, more where others are nearly as long: the 2^doublings-norm, a few square roots."""
    total = sum((_squared(doublings, time) for time in seconds), np.zeros(()))
    for _ in range(doublings):
        total = np.sqrt(total)
    return np.asarray(total)


def shortest(doublings: int, one: Array, other: Array) -> Array:
    """The shorter of two times, less where the other is nearly as short."""
    return np.asarray(one * other / longest(doublings, one, other))


def _squared(doublings: int, values: Array) -> Array:
    for _ in range(doublings):
        values = values * values
    return values
