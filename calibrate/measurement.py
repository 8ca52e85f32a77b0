"""A measurement: one point of one operation, as it was timed, and what the device did meanwhile."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """`operation` and `part` as samples name them; `inputs` are those of the operation's law, in SI units.

    `seconds` is the median of `repeats` runs, `low` and `high` their 10th and 90th percentile; of what all GPUs ran at
    once, the median GPU's, and `slowest` is what the slowest took (its rank is `slowest_rank`). `clock` (Hz), `power`
    (W) and `temperature` (degrees Celsius) are means over the run, NaN where nobody can tell. `throttled` says what
    held the GPU back beside its power limit, `wrong` what was wrong with the result: both are kept, and never fitted.
    """

    operation: str
    part: str
    gpu: str = ""
    fabric: str = ""
    inputs: Mapping[str, float]
    seconds: float
    low: float
    high: float
    repeats: int
    slowest: float = math.nan
    slowest_rank: int = 0
    clock: float = math.nan
    power: float = math.nan
    temperature: float = math.nan
    throttled: str = ""
    wrong: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """What tells it from other points."""
        return self.operation, self.part, self.fabric, tuple(sorted(self.inputs.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A point that could not be measured, named by its operation and inputs, and why, in a line."""

    operation: str
    inputs: Mapping[str, float]
    reason: str
