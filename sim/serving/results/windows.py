"""Equal stretches of a served load's time, and what falls into each."""

from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.serving.record import Record

MOST: Final = 600
"""Windows, where nobody says how long they are: enough for a chart as wide as a screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """`number` windows of `seconds` each, the first from `begin` on. A window's end belongs to it."""

    begin: float
    seconds: float
    number: int

    @property
    def ends(self) -> NDArray[np.float64]:
        return self.begin + self.seconds * np.arange(1, self.number + 1, dtype=np.float64)

    def of(self, times: NDArray[np.float64]) -> NDArray[np.intp]:
        """The window in which each time is."""
        return np.clip(np.ceil((times - self.begin) / self.seconds).astype(np.intp) - 1, 0, self.number - 1)

    def counts(self, window: NDArray[np.intp], amounts: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """How many there are in each window, or their amounts together."""
        return np.bincount(window, amounts, minlength=self.number).astype(np.float64)


def windows(record: Record, seconds: float | None = None) -> Windows:
    """From the first request sent to the last token; None: a second each, or as many whole ones as make at most 600."""
    seconds = seconds or max(1.0, float(ceil(record.duration / MOST)))
    begin = float(np.nanmin(record.sent)) if np.isfinite(record.sent).any() else 0.0
    return Windows(begin=begin, seconds=seconds, number=max(1, ceil(record.duration / seconds)))
