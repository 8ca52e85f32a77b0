"""What a run is asked for, and what its ranks tell: plain data, which travel between processes without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from calibrate.machines.machine import Backend, Machine
from calibrate.measurement import LeftOut, Measurement

Budget = Literal["quick", "default", "full"]
"""How thorough a run is."""

MINUTES: Final[Mapping[Budget, float]] = {"quick": 1.0, "default": 5.0, "full": 30.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """`seconds` is how long may be measured, `only` the operations whose names begin so, all where it is empty.

    `found` is the machine of a journal that is resumed, whose points are `measured`. `is_plan` measures nothing.
    """

    backend: Backend
    budget: Budget
    seconds: float
    only: str = ""
    gpu: str = ""
    fabric: str = ""
    found: Machine | None = None
    measured: tuple[Measurement, ...] = ()
    is_plan: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The points of one operation on one part that are to be measured, and about how long that takes; `groups` are the
    ranks that take part together, of a collective."""

    operation: str
    part: str
    points: int
    seconds: float
    groups: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What is still to be measured, operation by operation."""

    families: tuple[Family, ...]

    @property
    def points(self) -> int:
        return sum(family.points for family in self.families)

    @property
    def seconds(self) -> float:
        return sum(family.seconds for family in self.families)


Told = Machine | Planned | Measurement | LeftOut
"""The machine first, then the plan, then the points one by one."""
