"""What became of a file of measurements: samples, and the rows that were not read, each with its reason."""

from dataclasses import dataclass

from calibrate.samples import Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A row (a line of the file) that is not used, and why."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """`samples` hold one element for each operation and part that the file measures."""

    samples: tuple[Samples, ...]
    skipped: tuple[Skipped, ...] = ()
