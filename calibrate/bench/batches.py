"""Repetitions in a row make one sample, so that it is long enough for its timer."""

import math
from collections.abc import Callable
from typing import Final

from topologies.quantity import MICROSECOND

MOST_COPIES: Final = 200
"""Repetitions in one sample of a processor, or one graph of a GPU: its nodes take memory, and time to be captured."""

Sample = Callable[[], float]
"""Takes one sample: the seconds of one repetition, the mean over a batch of them."""


def batch_of(once: float, least: float, most: int = MOST_COPIES) -> int:
    """How many repetitions of so many seconds last as long as a sample must at least."""
    return max(1, min(most, math.ceil(least / max(once, MICROSECOND))))


def in_a_row(go: Callable[[], object], times: int) -> Callable[[], None]:
    """So many of them as one."""

    def row() -> None:
        for _ in range(times):
            go()

    return row


def taken(go: Callable[[], object], now: Callable[[], float], times: int = 1) -> float:
    """Seconds by a clock of the processor, of one of so many."""
    began = now()
    for _ in range(times):
        go()
    return (now() - began) / times
