"""Attention's seconds in consecutive passes of the same decodes, each of which meets one key more from pass to pass.

Tables are straight lines between their points, so in a cell of them a pass of mean length x, whose longest decode is
longer by y (by as much in all passes), takes (start + slope x) (a + b x + (c + d x) (1 + y / x)).
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Final, NamedTuple

from sim.serving.costs.attention import LENGTHS
from sim.serving.costs.skew import MEANS, RATIOS, Skews, cell

_LENGTHS: Final[list[float]] = LENGTHS.tolist()
_LAST: Final = len(_LENGTHS) - 1


class Piece(NamedTuple):
    """Seconds in a cell: constant + constant_y y + (linear + linear_y y) x + square x^2 + inverse_y y / x. It ends at a
    length, and where the longest decode is no more than `excess` of the mean longer than that."""

    end: float
    excess: float
    constant: float
    constant_y: float
    linear: float
    linear_y: float
    square: float
    inverse_y: float


@dataclass(frozen=True, slots=True)
class Decoding:
    """So many decodes on a stage: seconds by LENGTHS where all are as long, and the factors where one is longer; the
    pieces that were asked for, by how many points of LENGTHS, MEANS and RATIOS lie below."""

    row: list[float]
    skews: Skews
    pieces: dict[tuple[int, int, int], Piece] = field(default_factory=dict)

    def seconds(self, length: float, longest: int, num_passes: int) -> list[float]:
        """Of so many passes, the first at this mean length; `longest` is that of one decode (0: all are as long)."""
        y = longest - length if longest else 0.0
        found: list[float] = []
        while len(found) < num_passes:
            x = length + len(found)
            end, excess, constant, constant_y, linear, linear_y, square, inverse_y = self._at(x, y)
            one, by_x, inverse = constant + constant_y * y, linear + linear_y * y, inverse_y * y
            if excess and y / excess < end:
                end = y / excess
            passes = num_passes - len(found)
            if end - x < passes:
                passes = max(ceil(end - x), 1)
            for step in range(len(found), len(found) + passes):
                x = length + step
                found.append(one + x * (by_x + square * x) + inverse / x)
        return found

    def _at(self, x: float, y: float) -> Piece:
        place = bisect_right(_LENGTHS, x, 1, _LAST), bisect_right(MEANS, x), bisect_right(RATIOS, 1.0 + y / x)
        found = self.pieces.get(place)
        if found is None:
            found = self.pieces[place] = self._piece(*place)
        return found

    def _piece(self, at: int, row: int, column: int) -> Piece:
        slope = (self.row[at] - self.row[at - 1]) / (_LENGTHS[at] - _LENGTHS[at - 1])
        start = self.row[at] - slope * _LENGTHS[at]
        a, b, c, d = cell(self.skews, row, column)
        return Piece(
            end=min(_LENGTHS[at] if at < _LAST else inf, MEANS[row] if row < len(MEANS) else inf),
            excess=RATIOS[column - 1] - 1.0 if column else 0.0,
            constant=start * (a + c),
            constant_y=start * d + slope * c,
            linear=start * (b + d) + slope * (a + c),
            linear_y=slope * d,
            square=slope * (b + d),
            inverse_y=start * c,
        )
