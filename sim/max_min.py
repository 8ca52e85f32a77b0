"""Max-min fairness: nobody can go faster but by taking from one who is no faster.

Speeds rise together until a wire is full or an activity at its own ceiling; who is held by that is fixed, the others
go on rising (progressive filling [Bertsekas & Gallager, Data Networks, 6.5.2]). A ceiling is a wire of one's own.
"""

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

Usage = Sequence[tuple[int, float]]
"""Bytes over each wire for each byte of progress; no wire twice, every share above 0."""
CEILING = -1
"""What holds an activity that no wire holds."""
_NO_CEILING = float("inf")
_SAME = 1e-13
_NEAR = 1e-9
_LITTLE = 1e-3
"""Of what was summed up: less than that may be mostly rounding."""


def fair_speeds(
    flows: Sequence[Mapping[int, float]], capacities: Mapping[int, float], ceilings: Sequence[float] | None = None
) -> list[float]:
    """Max-min fair speeds [bytes/s] of flows that use `usage[wire]` bytes of each wire per byte of progress.

    `ceilings` are the most that each can do; a flow with neither a wire nor a ceiling is infinitely fast.
    """
    usages = [tuple(usage.items()) for usage in flows]
    return [speed for speed, _ in filled(usages, capacities, ceilings or [_NO_CEILING] * len(usages))]


def filled(
    usages: Sequence[Usage], capacities: Mapping[int, float], ceilings: Sequence[float]
) -> list[tuple[float, int]]:
    """The fair speed of each, and the wire that holds it there (CEILING: its own).

    The lowest level is kept on a heap; levels only grow as others are fixed, so each is looked at again when it comes
    up. Of equal levels the lower number comes first.
    """
    wires = _wires(usages, capacities)
    heap = [(wire.level(), number, CEILING) for number, wire in wires.items()]
    heap += [(most, CEILING, index) for index, most in enumerate(ceilings) if most != _NO_CEILING]
    heapify(heap)
    found: list[tuple[float, int] | None] = [None] * len(usages)
    while heap:
        level, number, index = heappop(heap)
        if number == CEILING:
            held = [] if found[index] else [index]
        else:
            wire = wires[number]
            risen = wire.level() if wire.is_exact else wire.level_above(level)
            if risen > level * (1 + _SAME):
                if wire.rising:
                    heappush(heap, (risen, number, CEILING))
                continue
            level, held = risen, [*wire.rising]
        for one in held:
            found[one] = level, number
            for other, share in usages[one]:
                wires[other].fix(one, share, level)
    return [(_NO_CEILING, CEILING) if one is None else one for one in found]


def _wires(usages: Sequence[Usage], capacities: Mapping[int, float]) -> "dict[int, _Wire]":
    rising: dict[int, dict[int, float]] = {}
    for index, usage in enumerate(usages):
        for wire, share in usage:
            rising.setdefault(wire, {})[index] = share
    return {wire: _Wire(capacities[wire], users) for wire, users in rising.items()}


class _Wire:
    """What is left of a wire, and the demand of those who still rise: bytes for each byte that all of them progress.

    The demand is counted down as users are fixed, and summed up afresh (`is_exact`) before it holds anybody.
    """

    __slots__ = ("demand", "is_exact", "rising", "spare", "summed")

    def __init__(self, capacity: float, rising: dict[int, float]) -> None:
        self.spare = capacity
        self.rising = rising
        self.sum_up()

    def sum_up(self) -> None:
        self.demand = self.summed = sum(self.rising.values())
        self.is_exact = True

    def level(self) -> float:
        """The speed at which the wire is full if all its users rise together."""
        return self.spare / self.demand if self.rising else _NO_CEILING

    def level_above(self, level: float) -> float:
        """The level, to the last bit unless it is surely above."""
        if self.rising and self.spare <= level * (1 + _NEAR) * self.demand:
            self.sum_up()
        return self.level()

    def fix(self, user: int, share: float, speed: float) -> None:
        left = self.spare - share * speed
        self.spare = left if left > 0.0 else 0.0
        del self.rising[user]
        self.demand -= share
        self.is_exact = False
        if self.demand < _LITTLE * self.summed:
            self.sum_up()
