"""How training gets on between two interruptions: work, then a checkpoint, over and over, by arithmetic.

Equal cycles are leapt over in one piece, so a stretch costs the same whether it holds one checkpoint or a thousand.
An asynchronous checkpoint counts only when it is written: until then the one before it is what a failure falls back to.
"""

from dataclasses import dataclass
from typing import NamedTuple

_NEVER = float("-inf")
_ROUNDING = 1 + 1e-9
"""A remainder that is longer than an interval by less than this is one interval."""


class Mark(NamedTuple):
    """How far training is: seconds of work, and the seconds that slow GPUs have added to them."""

    work: float
    slow: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """work: seconds in all; interval: of work between checkpoints; block: training stands still; write: after it, in
    the background."""

    work: float
    interval: float
    block: float
    write: float


class Progress:
    """The state of one run's training; `slowdown` may be changed between stretches."""

    __slots__ = (
        "_at",
        "_goal",
        "_kept",
        "_now",
        "_pending",
        "_ready",
        "_to_block",
        "_to_work",
        "blocked",
        "cycle",
        "slowdown",
    )

    def __init__(self, cycle: Cycle) -> None:
        self.cycle = cycle
        self.slowdown = 1.0
        self.blocked = 0.0
        self._at = self._kept = self._pending = Mark(0.0, 0.0)
        self._now, self._ready = 0.0, _NEVER
        self._begin_cycle()

    @property
    def is_finished(self) -> bool:
        return self._kept.work >= self.cycle.work

    @property
    def slow(self) -> float:
        """Seconds that slow GPUs have added to work that was not lost."""
        return self._at.slow

    def play(self, limit: float) -> float:
        """Train for at most so many seconds; how many were used: fewer only where the run is finished."""
        used = 0.0
        while used < limit and not self.is_finished:
            spent = self._leap(limit - used) or self._phase(limit - used)
            used = limit if spent >= limit - used else used + spent
        return used

    def fall_back(self) -> float:
        """A failure: seconds that are lost, from the last checkpoint that counts."""
        if self._ready <= self._now:
            self._kept = self._pending
        lost = (self._at.work - self._kept.work) + (self._at.slow - self._kept.slow)
        self._restart_from(self._kept)
        return lost

    def save(self) -> float:
        """A checkpoint before an interruption that is known: seconds until it counts."""
        self._restart_from(self._at)
        return self.cycle.block + self.cycle.write

    def _restart_from(self, mark: Mark) -> None:
        self._at = self._kept = self._pending = mark
        self._ready = _NEVER
        self._begin_cycle()

    def _begin_cycle(self) -> None:
        left = self.cycle.work - self._at.work
        self._to_work = left if left <= self.cycle.interval * _ROUNDING else self.cycle.interval
        self._goal = self._at.work + self._to_work if self._to_work < left else self.cycle.work
        self._to_block = 0.0

    def _leap(self, limit: float) -> float:
        """Whole cycles that are alike, but for the last one; seconds, 0 where there are none."""
        cycle = self.cycle
        if self._to_work < cycle.interval or self._to_block or (cycle.write and self._ready != self._now + cycle.write):
            return 0.0
        working = cycle.interval * self.slowdown
        period = cycle.block + max(working, cycle.write)
        count = int(min(limit / period, (cycle.work - self._at.work) / cycle.interval - 1))
        if count < 1:
            return 0.0
        self.blocked += count * (period - working)
        self._now += count * period
        before = self._after(count - 1)
        self._at = self._after(count)
        self._kept, self._pending = (before, self._at) if cycle.write else (self._at, self._at)
        self._ready = self._now + cycle.write
        self._begin_cycle()
        return count * period

    def _after(self, count: int) -> Mark:
        work = count * self.cycle.interval
        return Mark(self._at.work + work, self._at.slow + work * (self.slowdown - 1))

    def _phase(self, limit: float) -> float:
        """Work up to the next checkpoint, or what is left of that checkpoint; seconds used."""
        spent = self._work(limit) if self._to_work else self._block(limit)
        self._now += spent
        if not self._to_work and not self._to_block:
            self._commit()
        return spent

    def _work(self, limit: float) -> float:
        needed = self._to_work * self.slowdown
        if needed > limit:
            worked = limit / self.slowdown
            self._at = Mark(self._at.work + worked, self._at.slow + limit - worked)
            self._to_work -= worked
            return limit
        self._at = Mark(self._goal, self._at.slow + needed - self._to_work)
        self._to_work = 0.0
        waits = max(0.0, self._ready - (self._now + needed))
        self._to_block = waits + self.cycle.block + (self.cycle.write if self._goal >= self.cycle.work else 0.0)
        return needed

    def _block(self, limit: float) -> float:
        spent = min(self._to_block, limit)
        self._to_block -= spent
        self.blocked += spent
        return spent

    def _commit(self) -> None:
        """Training goes on. The checkpoint before counts by now, for this one waited for it."""
        is_durable = not self.cycle.write or self._at.work >= self.cycle.work
        self._kept = self._at if is_durable else self._pending
        self._pending = self._at
        self._ready = self._now + self.cycle.write
        self._begin_cycle()
