"""Where candidates are assessed and played: in processes of their own, or, with one job, right here.

Each process keeps what it has found out about a setting. What comes back depends on no other candidate, so the answer
is the same for any number of processes.
"""

import multiprocessing
import signal
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

from sim.detail import Detail
from sim.engine import without_garbage_collection
from sim.limits import check_play, finest
from sim.memory import memory_use, room
from sim.plan import Plan
from sim.planning.training.assess import MEMORY, Verdict, assess, kind_of
from sim.planning.training.bound import Bounds
from sim.planning.training.space import Setting
from sim.timeline import Timeline
from sim.training import context_of, simulate_training, summarize
from sim.uncertainty import Share, shares
from sim.workload import TrainingRun
from topologies.document import InputError
from topologies.hardware import Cluster

Item = TypeVar("Item")
Result = TypeVar("Result")


class Asked(NamedTuple):
    """A plan in the setting of that number."""

    setting: int
    plan: Plan


class Unit(NamedTuple):
    """Plans of one setting that are alike, so that one process should have them."""

    setting: int
    plans: tuple[Plan, ...]


class Outcome(NamedTuple):
    """What became of a plan that was to be played: why it was not, or its seconds and the bytes it reserves."""

    pruned: str | None
    seconds: float = 0.0
    reserved: float = 0.0


class Summary(NamedTuple):
    """A plan played once more and reported.

    At what detail; the keys of docs/design.md, section 6; sentences; the shares of its step by cause, and by kind.
    """

    detail: Detail
    result: dict[str, object]
    notes: tuple[str, ...]
    shares: tuple[Share, ...]
    breakdown: dict[str, float]


@dataclass(frozen=True)
class Worker:
    """What a process knows."""

    settings: tuple[Setting, ...]
    bounds: tuple[Bounds, ...]

    @without_garbage_collection()
    def assess(self, unit: Unit) -> list[Verdict]:
        return list(assess(unit.plans, self.bounds[unit.setting]))

    @without_garbage_collection()
    def play(self, asked: Asked) -> Outcome:
        one, plan = self.settings[asked.setting], asked.plan
        try:
            check_play(plan, one.model, one.cluster, self._detail(asked), jitter=one.jitter, seed=one.seed)
            uses = memory_use(context_of(one.model, one.cluster, plan, one.step, one.framework), plan)
            if any(use.reserved > most for use, most in zip(uses, room(one.cluster, plan), strict=True)):
                return Outcome(MEMORY)
            return Outcome(None, self._timeline(asked).duration, max(use.reserved for use in uses))
        except InputError as error:
            return Outcome(kind_of(str(error)))

    @without_garbage_collection()
    def report(self, asked: Asked, run: TrainingRun) -> Summary:
        one, timeline = self.settings[asked.setting], self._timeline(asked)
        found = summarize(timeline, one.model, one.cluster, asked.plan, one.step, one.framework, run=run)
        parts = dict(found.result)
        breakdown = parts["breakdown"]
        assert isinstance(breakdown, dict)
        return Summary(self._detail(asked), parts, found.notes, _causes(timeline, one.cluster), breakdown)

    def _detail(self, asked: Asked) -> Detail:
        """Layers, or whole stages where these would be too many to play."""
        one = self.settings[asked.setting]
        return finest(asked.plan, one.model, one.cluster, "layer", jitter=one.jitter, seed=one.seed)

    def _timeline(self, asked: Asked) -> Timeline:
        one, detail = self.settings[asked.setting], self._detail(asked)
        return simulate_training(
            one.model, one.cluster, asked.plan, one.step, one.framework, detail=detail, jitter=one.jitter, seed=one.seed
        )


def _causes(timeline: Timeline, cluster: Cluster) -> tuple[Share, ...]:
    """The shares of a step; what is wrong on one machine need not be on another."""
    return tuple(one._replace(cause=f"{one.cause} on {cluster.name}") for one in shares(timeline, cluster))


def worker_of(settings: Sequence[Setting]) -> Worker:
    """A process that knows nothing of these settings yet."""
    return Worker(settings=tuple(settings), bounds=tuple(map(Bounds, settings)))


class Workers:
    """Maps a method of `Worker` over items, results in the order of the items."""

    def __init__(self, own: Worker | None, pool: ProcessPoolExecutor | None) -> None:
        self._own, self._pool = own, pool

    def assess(self, units: Iterable[Unit]) -> Iterator[list[Verdict]]:
        return map(self._own.assess, units) if self._own else self._of_pool().map(_assess, units)

    def play(self, asked: Iterable[Asked]) -> Iterator[Outcome]:
        return map(self._own.play, asked) if self._own else self._of_pool().map(_play, asked)

    def report(self, asked: Iterable[Asked], run: TrainingRun) -> Iterator[Summary]:
        if self._own:
            return map(partial(self._own.report, run=run), asked)
        return self._of_pool().map(partial(_report, run=run), asked)

    def _of_pool(self) -> ProcessPoolExecutor:
        assert self._pool is not None
        return self._pool


@contextmanager
def workers(settings: Sequence[Setting], jobs: int) -> Iterator[Workers]:
    """`jobs` processes, or none but this one; at the end what was not begun is dropped."""
    if jobs == 1:
        yield Workers(worker_of(settings), None)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(tuple(settings),))
    try:
        yield Workers(None, pool)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_HERE: list[Worker] = []
"""The worker of this process, in the processes of a pool."""


def _begin(settings: tuple[Setting, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asked
    _HERE[:] = [worker_of(settings)]


def _assess(unit: Unit) -> list[Verdict]:
    return _HERE[0].assess(unit)


def _play(asked: Asked) -> Outcome:
    return _HERE[0].play(asked)


def _report(asked: Asked, run: TrainingRun) -> Summary:
    return _HERE[0].report(asked, run)
