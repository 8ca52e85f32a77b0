"""One life of a training run, played in SimPy: stretches of training, interruptions, and nodes that come back.

Only what changes the course is an event, so a month of 16,384 GPUs is some thousand. Failures strike while the job
trains or starts; while it is down their clock stands still. Their times, causes and repairs are drawn from streams of
their own: a seed has the same failures for any checkpoint interval and any number of spares (common random numbers).
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from simpy import Container, Environment, Event

from sim.reliability.failures import Cause, rates_on
from sim.reliability.progress import Cycle, Progress
from sim.reliability.run import Run

Part = Literal["progress", "checkpoint", "lost_work", "detection", "restart", "waiting", "slow"]
PARTS: Final = get_args(Part)
_Process = Generator[Event, object, None]
_Struck = tuple[Cause, float]
"""What interrupts, and how long its node would be away."""
_SLOW: Final = Cause(name="slow GPU appears", rate=0.0)
_REPLACED: Final = Cause(name="slow GPU replaced", rate=0.0, takes_node=True, is_planned=True)
_BLOCK: Final = 256
"""Random numbers are drawn so many at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What one seed gave: seconds of each part, each second once; the clock at its end; how often it was stopped by
    what."""

    parts: Mapping[Part, float]
    clock: float
    interruptions: Mapping[str, int]

    @property
    def wall(self) -> float:
        return sum(self.parts.values())


def live(run: Run, seed: int) -> Life:
    """Play a run to its end."""
    job = _Job(run, seed)
    job.env.process(job.live())
    job.env.run(job.done)
    return job.summary()


class _Chance:
    """What a seed has in store: gaps between failures, their causes, and how long a node is away."""

    def __init__(self, run: Run, seed: int) -> None:
        gaps, causes, repairs = np.random.default_rng(seed).spawn(3)
        rates = np.array([*rates_on(run.failures, run.fleet), run.stragglers.rate * run.fleet.num_nodes])
        total = float(rates.sum())
        self._causes = (*run.failures.causes, _SLOW)
        self._up_to: list[float] = np.add.accumulate(rates)[:-1].tolist()
        self._gaps = _endless(lambda: gaps.exponential(1 / total, _BLOCK) if total else np.full(_BLOCK, np.inf))
        self._draws = _endless(lambda: causes.uniform(0.0, total, _BLOCK))
        self._repairs = _endless(lambda: repairs.exponential(run.recovery.repair, _BLOCK))

    def gap(self) -> float:
        return next(self._gaps)

    def cause(self) -> tuple[Cause, float]:
        """Why, and how long a node would be away."""
        return self._causes[bisect_right(self._up_to, next(self._draws))], next(self._repairs)


def _endless(draw: Callable[[], NDArray[np.float64]]) -> Iterator[float]:
    """Numbers one by one, drawn in blocks."""
    while True:
        yield from draw().tolist()


class _Job:
    """The state of one life. `exposed`: seconds trained or started, in which failures strike."""

    def __init__(self, run: Run, seed: int) -> None:
        self.run, self.env, self.chance = run, Environment(), _Chance(run, seed)
        self.done = self.env.event()
        checkpointing, fleet = run.checkpointing, run.fleet
        self.progress = Progress(
            Cycle(
                work=run.work,
                interval=checkpointing.interval,
                block=checkpointing.block_time(fleet),
                write=checkpointing.write_time(fleet),
            )
        )
        self.spares = Container(self.env, init=run.recovery.spares)
        self.exposed, self.strikes = 0.0, self.chance.gap()
        self.slow: list[float] = []
        """When slow GPUs are found, on the clock of `exposed`."""
        self.spent = dict.fromkeys(PARTS, 0.0)
        self.interruptions: Counter[str] = Counter()

    def live(self) -> _Process:
        struck = yield from self._train()
        while struck is not None:
            self.interruptions[struck[0].name] += 1
            yield from self._leave(*struck)
            struck = yield from self._start()
            if struck is None:
                struck = yield from self._train()
        self.done.succeed()

    def summary(self) -> Life:
        parts: dict[Part, float] = {**self.spent}
        parts["progress"] = self.run.work
        parts["checkpoint"] += self.progress.blocked
        parts["slow"] = self.progress.slow
        return Life(parts=parts, clock=self.env.now, interruptions=dict(self.interruptions))

    def _train(self) -> Generator[Event, object, _Struck | None]:
        """Train until an interruption, or to the end (None)."""
        while True:
            self.progress.slowdown = self.run.stragglers.slowdown if self.slow else 1.0
            found = min(self.slow, default=float("inf"))
            yield self.env.timeout(self._play(max(min(self.strikes, found), self.exposed)))
            if self.progress.is_finished:
                return None
            struck = self._strike() if self.strikes <= found else self._find(found)
            if struck is not None:
                return struck

    def _play(self, until: float) -> float:
        """Seconds trained, at most until then on the clock of `exposed`."""
        used = self.progress.play(until - self.exposed)
        self.exposed = self.exposed + used if self.progress.is_finished else until
        return used

    def _strike(self) -> _Struck | None:
        """What fails now; None where that only makes the job slow."""
        cause, repair = self.chance.cause()
        self.strikes = self.exposed + self.chance.gap()
        if cause is not _SLOW:
            return cause, repair
        self.slow.append(self.exposed + self.run.stragglers.found_after)
        return None

    def _find(self, found: float) -> _Struck | None:
        """A slow GPU is replaced if a spare stands by; else it is looked at again later."""
        self.slow.remove(found)
        if self.spares.level:
            return _REPLACED, self.run.recovery.repair
        self.slow.append(self.exposed + self.run.stragglers.found_after)
        return None

    def _leave(self, cause: Cause, repair: float) -> _Process:
        """From the interruption until all nodes are there again."""
        recovery = self.run.recovery
        if cause.is_planned:
            yield from self._spend("checkpoint", self.progress.save())
        else:
            self.spent["lost_work"] += self.progress.fall_back()
            yield from self._spend("detection", recovery.hang_detection if cause.hangs else recovery.crash_detection)
        if cause.takes_node:
            self.env.process(self._repair(repair))
            since = self.env.now
            yield self.spares.get(1)
            self.spent["waiting"] += self.env.now - since

    def _repair(self, seconds: float) -> _Process:
        yield self.env.timeout(seconds)
        yield self.spares.put(1)

    def _start(self) -> Generator[Event, object, _Struck | None]:
        """Start again from the last checkpoint; what interrupts that, or None."""
        left = self.run.start_time
        while left > 0:
            step = min(left, self.strikes - self.exposed)
            yield from self._spend("restart", step)
            left -= step
            self.exposed += step
            struck = self._strike() if left > 0 else None
            if struck is not None:
                return struck
        return None

    def _spend(self, part: Part, seconds: float) -> _Process:
        self.spent[part] += seconds
        yield self.env.timeout(seconds)
