"""A replica: one loop of scheduling and updating, as vLLM V1's engine core, over a pipeline of GPUs.

While fewer passes are under way than it may prepare, and somebody can be scheduled, it schedules; else it waits for the
oldest pass, deaf to whoever comes meanwhile, and hands out its tokens [vLLM 0.19, v1/engine/core.py:
step_with_batch_queue]. With data-parallel attention each rank has queues of its own, and all go in lock-step.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

from sim.serving.cohort import Stretch
from sim.serving.core import Core
from sim.serving.happening import happened
from sim.serving.launching import hand_out, schedule
from sim.serving.scheduling.remote import enqueue, gives_way, taken_in
from sim.serving.sequence import Sequence
from sim.serving.stretch import foreseen

Action = Callable[[float], None]
NEAREST_LOOK = 16
"""Passes of the first stretch that is foreseen: twice as many after each that nobody cut short, else twice as many as
there were of that one."""
FURTHEST_LOOK = 4096
SPARE_LOOK = 2
"""Passes beyond the next request that comes, as the pace is a guess."""


@dataclass(slots=True, eq=False)
class Replica:
    """`wake(time, action)` calls back then, unless it is asked for something else before; `answered` is told of each
    sequence that has all its tokens, and of those refused. `fetch` is told of each that has blocks for its cache, and
    which rank's they are (numbered as `core` is). `stretches`: quiet passes are stepped over. `coming`: when the next
    request comes, where that is known: it is looked ahead until then, at the `pace` of the last stretch."""

    core: Core
    wake: Callable[[float, Action], None]
    answered: Callable[[Sequence, float], None]
    stretches: bool = True
    fetch: Callable[[Sequence, int, float], None] | None = None
    coming: Callable[[], float] | None = None
    is_idle: bool = field(init=False, default=True)
    _stretch: Stretch | None = field(init=False, default=None)
    _look: int = field(init=False, default=NEAREST_LOOK)
    _pace: float = field(init=False, default=0.0)

    def take(self, sequence: Sequence, rank: int, now: float) -> None:
        """A request has come."""
        self._interrupt(now)
        self.core.ranks[rank].queues.waiting.append(sequence)
        self._rouse(now)

    def expect(self, sequence: Sequence, rank: int, now: float) -> None:
        """A request has come whose prompt was computed elsewhere: it wants blocks for its cache."""
        self._interrupt(now)
        self.core.ranks[rank].arriving.append(sequence)
        self._rouse(now)

    def receive(self, sequence: Sequence, rank: int, now: float) -> None:
        """The cache of one who has blocks for it is here."""
        self._interrupt(now)
        self.core.ranks[rank].held -= 1
        enqueue(self.core.ranks[rank].queues, sequence)
        self._rouse(now)

    def release(self, sequence: Sequence, rank: int, now: float) -> None:
        """One that is in no queue needs its blocks no more."""
        self._interrupt(now)
        self.core.ranks[rank].held -= 1
        self.core.ranks[rank].pool.free(sequence)
        self._rouse(now)

    def _interrupt(self, now: float) -> None:
        if self._stretch is not None:
            self._cut(self._stretch, now)

    def _rouse(self, now: float) -> None:
        if self.is_idle:
            self.is_idle = False
            self.wake(now, self._step)

    def _step(self, now: float) -> None:
        """Schedule what can be, then wait for the oldest pass."""
        core = self.core
        while len(core.flights) < core.settings.depth:
            if self.fetch is not None:
                self._take_in(self.fetch, now)
            if self.stretches and self._foresee(now):
                return
            if not schedule(core, now):
                break
            if len(core.flights) < core.settings.depth and core.launched > now:
                self.wake(core.launched, self._step)
                return
        self._wait(now)

    def _take_in(self, fetch: Callable[[Sequence, int, float], None], now: float) -> None:
        """Blocks for those who are to come, as far as there are."""
        for number, rank in enumerate(self.core.ranks, self.core.number):
            if rank.arriving:
                for sequence in taken_in(rank.arriving, rank.queues, rank.pool, self.core.settings):
                    rank.held += 1
                    fetch(sequence, number, now)

    def _wait(self, now: float) -> None:
        if self.core.flights:
            self.wake(max(self.core.flights[0].end, self.core.launched, now), self._update)
        elif not self._refuse(now):
            self.is_idle = True

    def _update(self, now: float) -> None:
        """The oldest pass is out."""
        for sequence in hand_out(self.core):
            self.answered(sequence, now)
        self._step(now)

    def _refuse(self, now: float) -> bool:
        """Whoever is not admitted though nobody runs, or is about to give blocks back, never will be."""
        for rank in self.core.ranks:
            if rank.queues.waiting and not rank.queues.running and not rank.held:
                if gives_way(rank.queues, rank.pool):
                    self.wake(now, self._step)
                    return True
                sequence = rank.queues.waiting.popleft()
                rank.pool.free(sequence)
                self.core.columns.refused[sequence.row] = "the scheduler does not admit it even when it is alone"
                self.answered(sequence, now)
                self.wake(now, self._step)
                return True
        return False

    def _foresee(self, now: float) -> bool:
        """Look ahead; whether there is a stretch to step over."""
        self._stretch = stretch = foreseen(self.core, now, self._furthest(now))
        if stretch is None:
            return False
        self._pace = (stretch.ended[-1] - now) * len(stretch.cohorts) / len(stretch.ended)
        self._await_leaving(stretch)
        return True

    def _await_leaving(self, stretch: Stretch) -> None:
        """Wait for the next pass under way with which somebody leaves, else for the end."""
        turn = len(stretch.left) + 1
        if turn <= stretch.num_leaving and turn < len(stretch.ended):
            self.wake(stretch.scheduled[turn], self._let_go)
        else:
            self.wake(stretch.over, self._pass_over)

    def _let_go(self, now: float) -> None:
        """The oldest pass is out while the stretch goes on."""
        stretch, ranks = self._stretch, self.core.ranks
        assert stretch is not None
        before = [(len(rank.queues.running), rank.pool.num_free) for rank in ranks]
        for sequence in hand_out(self.core):
            self.answered(sequence, now)
        stretch.left.append([
            (num_running - len(rank.queues.running), rank.pool.num_free - num_free)
            for (num_running, num_free), rank in zip(before, ranks, strict=True)
        ])  # fmt: skip
        self._await_leaving(stretch)

    def _furthest(self, now: float) -> int:
        """Passes of each cohort to look ahead. A wrong guess costs time alone."""
        if self.coming is None or not self._pace:
            return self._look
        return int(min(max((self.coming() - now) / self._pace, 0.0) + SPARE_LOOK, FURTHEST_LOOK))

    def _pass_over(self, now: float) -> None:
        """Nobody came: the stretch has been scheduled to its end."""
        stretch = self._stretch
        assert stretch is not None
        self._stretch = None
        happened(self.core, stretch, len(stretch.ended))
        self._look = min(2 * self._look, FURTHEST_LOOK)
        self._update(now)

    def _cut(self, stretch: Stretch, now: float) -> None:
        """Somebody comes: what has been scheduled stays, the rest is open again."""
        self._stretch = None
        count = max(bisect_left(stretch.scheduled, now), len(stretch.left) + 1)
        happened(self.core, stretch, count)
        self._look = max(NEAREST_LOOK, 2 * count // len(stretch.cohorts))
        if len(self.core.flights) < self.core.settings.depth and self.core.launched > now:
            self.wake(self.core.launched, self._step)
        else:
            self._wait(now)
