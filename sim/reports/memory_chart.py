"""What a pipeline rank's memory holds over the step, as areas one on another, for the page.

The picture is an SVG of fixed size that the page stretches, so it holds no text; words stand beside it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.memory import HOLDINGS, MemoryOverTime
from sim.memory.over_time import thinned
from sim.reports.palette import Kind, holding
from topologies.quantity import GIB

WIDTH, HEIGHT = 1000, 100
PER_CENT = 100
ROOM_FOR_LETTER = 7
MOST_LEVELS = 160
MOST_CHARTS = 4
UPWARDS = ("weights", "gradients", "optimizer", "buffers", "activations", "logits", "recomputation", "workspace")
"""What changes least lies lowest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """One holding: how it looks, the outline of its area as SVG writes paths, and how high its letter stands when most
    is held, in per cent from above (None where there is no room)."""

    kind: Kind
    path: str
    letter_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One pipeline rank. `capacity` and `reserved` are heights in the picture, from above; `peak` is when most is held,
    in per cent of the step; `said` is what it shows, for those who cannot see it."""

    rank: int
    areas: tuple[Area, ...]
    peak: float
    capacity: float
    reserved: float
    said: str


def charts(
    ranks: Sequence[MemoryOverTime], capacity_gib: Sequence[float], reserved_gib: Sequence[float]
) -> tuple[Chart, ...]:
    """Of the first and the last pipeline rank and of those that have least to spare, four at most, in one scale."""
    scale = max((*capacity_gib, *reserved_gib), default=1.0)
    by_rank = {one.rank: one for one in ranks}
    ends = {0, len(ranks) - 1} & by_rank.keys()
    tightest = sorted(by_rank.keys() - ends, key=lambda rank: capacity_gib[rank] - reserved_gib[rank])
    shown = sorted({*ends, *tightest[: MOST_CHARTS - len(ends)]})
    return tuple(_chart(by_rank[rank], capacity_gib[rank], reserved_gib[rank], scale) for rank in shown)


def _chart(one: MemoryOverTime, capacity: float, reserved: float, scale: float) -> Chart:
    peak = float(one.totals.max()) / GIB
    return Chart(
        rank=one.rank,
        areas=tuple(_areas(thinned(one, MOST_LEVELS), scale)),
        peak=PER_CENT * float(one.times[one.totals.argmax()] / (one.times[-1] or 1.0)),
        capacity=HEIGHT * (1 - capacity / scale),
        reserved=HEIGHT * (1 - reserved / scale),
        said=f"pipeline rank {one.rank}: from {float(one.totals.min()) / GIB:.1f} to {peak:.1f} GiB",
    )


def _areas(one: MemoryOverTime, scale: float) -> Iterator[Area]:
    end = one.times[-1] or 1.0
    x = WIDTH * one.times / end
    below, peak = np.zeros(len(x)), int(one.totals.argmax())
    for name in UPWARDS:
        amount = one.nbytes[:, HOLDINGS.index(name)] / GIB
        if amount.any():
            lower, upper = _height(below, scale), _height(below + amount, scale)
            yield Area(
                kind=holding(name), path=_outline(x, lower, upper), letter_at=_letter_at(lower[peak], upper[peak])
            )
        below = below + amount


def _letter_at(lower: float, upper: float) -> float | None:
    return PER_CENT * (lower + upper) / 2 / HEIGHT if lower - upper >= ROOM_FOR_LETTER else None


def _height(amount: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """From above, as SVG counts."""
    return HEIGHT * (1 - amount / scale)


def _outline(x: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64]) -> str:
    """Along the upper edge to the right, along the lower one back: steps, each level from its time to the next."""
    ends = np.append(x[1:], WIDTH)
    there = "".join(_steps(upper.tolist(), ends.tolist()))
    back = "".join(_steps(lower.tolist()[::-1], x.tolist()[::-1]))
    return f"M{x[0]:.1f},{lower[0]:.1f}{there}{back}Z"


def _steps(heights: Sequence[float], ends: Sequence[float]) -> Iterator[str]:
    """To each height, then across to the end of its level; levels of one height are crossed in one go."""
    for place, (height, end) in enumerate(zip(heights, ends, strict=True)):
        if place == 0 or round(height, 1) != round(heights[place - 1], 1):
            yield f"V{height:.1f}"
        if place + 1 == len(heights) or round(height, 1) != round(heights[place + 1], 1):
            yield f"H{end:.1f}"
