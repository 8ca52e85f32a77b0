"""Best-first search: what could be best is simulated first, until nothing that is left could be.

Every candidate is assessed; of those that may fit, the one with the lowest bound is simulated next. Once the bound of
the next is above the last plan that is wanted, no other can come among them, and the search is over.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NoReturn

from sim import price
from sim.plan import Plan
from sim.planning.front import front
from sim.planning.training.chances import Chances, chances
from sim.planning.training.space import Setting, Space, candidates, default_batch, with_said
from sim.planning.training.work import Asked, Outcome, Summary, Unit, Workers, workers
from sim.workload import TrainingRun
from topologies.document import Infeasible, InputError
from topologies.quantity import HOUR

Objective = Literal["time", "cost"]
Tell = Callable[[str], None]

WAVE = 8
"""Candidates that are simulated together. It does not depend on the processes, nor does what is found."""
UNIT = 200
"""Candidates that are assessed together, at most."""
ASSESSING = 0.5
"""The share of the time that assessing may take."""
BOUND = "cannot be among the best"
LEFT = "not looked at in time"


class OutOfTime(Exception):  # noqa: N818 - it is no error: nobody waited long enough
    """The budget was over before any plan was simulated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A plan in a setting; `bound` is the score that it cannot be below, `place` its place among all candidates."""

    setting: int
    plan: Plan
    place: int
    bound: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A simulated plan: seconds of a step, bytes that its fullest rank reserves, dollars of a step where known."""

    candidate: Candidate
    seconds: float
    reserved: float
    dollars: float | None
    score: float

    @property
    def plan(self) -> Plan:
        return self.candidate.plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was considered, what became of it, and the best, best first, each with its summary.

    `front`: the simulated plans that no other beats in time, memory and price at once. `left`: candidates that time, or
    patience, ran out for.
    """

    settings: tuple[Setting, ...]
    global_batch: int
    num_candidates: int
    pruned: dict[str, int]
    num_simulated: int
    plans: tuple[Found, ...]
    summaries: tuple[Summary, ...]
    chances: Chances
    front: tuple[Found, ...]
    left: int
    was_interrupted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is asked: the best `top` plans by time or by cost, within `budget` seconds; `jobs` processes look."""

    top: int = 5
    by: Objective = "time"
    jobs: int = 1
    budget: float | None = None
    run: TrainingRun = TrainingRun()  # noqa: RUF009 - it is frozen


@dataclass(slots=True)
class _Search:
    """The state of one search; `rates` are the dollars per second of each setting."""

    goal: Goal
    pool: Workers
    rates: Sequence[float | None]
    tell: Tell
    began: float = field(default_factory=time.monotonic)
    pruned: Counter[str] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)
    waiting: list[Candidate] = field(default_factory=list)

    def is_late(self, share: float = 1.0) -> bool:
        return self.goal.budget is not None and time.monotonic() - self.began > share * self.goal.budget

    def score(self, setting: int, seconds: float) -> float:
        return seconds if self.goal.by == "time" else seconds * (self.rates[setting] or 0.0)

    def assess(self, everything: Sequence[Candidate]) -> None:
        """Prune what cannot be and what does not fit; all else waits, the lowest bound first."""
        units = list(_units(everything))
        done = 0
        verdicts = self.pool.assess(Unit(unit[0].setting, tuple(one.plan for one in unit)) for unit in units)
        for unit, found in zip(units, verdicts, strict=True):
            for one, verdict in zip(unit, found, strict=True):
                if verdict.pruned is None:
                    self.waiting.append(replace(one, bound=self.score(one.setting, verdict.bound)))
                else:
                    self.pruned[verdict.pruned] += 1
            done += len(unit)
            self.tell(f"considered {done:,} of {len(everything):,} plans{self._left(done / len(everything))}")
            if self.is_late(ASSESSING):
                break
        self.waiting.sort(key=lambda one: (one.bound, one.place))

    def play(self) -> None:
        """Simulate wave after wave of what could still be among the best."""
        while self.waiting and not self.is_late():
            wave = [one for one in self.waiting[:WAVE] if one.bound <= self.worst_wanted()]
            if not wave:
                self.pruned[BOUND] += len(self.waiting)
                self.waiting.clear()
                return
            outcomes = list(self.pool.play(Asked(one.setting, one.plan) for one in wave))
            del self.waiting[: len(wave)]
            for one, outcome in zip(wave, outcomes, strict=True):
                self.note(one, outcome)
            self.found.sort(key=lambda one: (one.score, one.candidate.place))
            self.tell(f"simulated {len(self.found):,} plans; {self.still_possible():,} could be better")

    def _left(self, share: float) -> str:
        """How long assessing still takes, if it goes on so."""
        return f", about {(time.monotonic() - self.began) * (1 / share - 1):.0f} s left"

    def note(self, one: Candidate, outcome: Outcome) -> None:
        if outcome.pruned is not None:
            self.pruned[outcome.pruned] += 1
            return
        rate = self.rates[one.setting]
        self.found.append(
            Found(
                candidate=one,
                seconds=outcome.seconds,
                reserved=outcome.reserved,
                dollars=None if rate is None else rate * outcome.seconds,
                score=self.score(one.setting, outcome.seconds),
            )
        )

    def worst_wanted(self) -> float:
        """The score of the last plan that is wanted; what is above it does not matter."""
        return self.found[self.goal.top - 1].score if len(self.found) >= self.goal.top else math.inf

    def still_possible(self) -> int:
        worst = self.worst_wanted()
        return sum(one.bound <= worst for one in self.waiting)


def search(
    settings: Sequence[Setting],
    space: Space,
    goal: Goal = Goal(),
    tell: Tell = lambda _: None,
) -> Answer:
    """The best plans of the space in all settings, by the time of a step or by what it costs.

    When time is up, or at Ctrl-C, they are the best so far. Raises InputError where no plan uses the GPUs or a price is
    missing, Infeasible where none fits in memory, OutOfTime where there was none for any.
    """
    batch = settings[0].partial.global_batch or default_batch(max(settings, key=lambda one: one.num_gpus))
    everything = _everything(settings, space, batch)
    with workers(settings, goal.jobs) as pool:
        state = _Search(goal=goal, pool=pool, rates=_rates(settings, goal), tell=tell)
        was_interrupted = False
        try:
            state.assess(everything)
            state.play()
        except KeyboardInterrupt:
            was_interrupted = True
        left = len(everything) - state.pruned.total() - len(state.found)
        if left:
            state.pruned[LEFT] = left
        best = state.found[: goal.top]
        if not best:
            _refuse(state.pruned, settings, was_interrupted=was_interrupted)
        tell("reporting the best")
        summaries = tuple(pool.report([Asked(one.candidate.setting, one.plan) for one in best], goal.run))
    return Answer(
        settings=tuple(settings),
        global_batch=batch,
        num_candidates=len(everything),
        pruned=dict(state.pruned.most_common()),
        num_simulated=len(state.found),
        plans=tuple(best),
        summaries=summaries,
        chances=chances([one.seconds for one in best], summaries),
        front=_front(state.found),
        left=left,
        was_interrupted=was_interrupted,
    )


def _everything(settings: Sequence[Setting], space: Space, global_batch: int) -> list[Candidate]:
    found = [
        (number, plan)
        for number, setting in enumerate(settings)
        for plan in candidates(with_said(space, setting.partial), setting, global_batch)
    ]
    if not found:
        raise InputError("no plan of the space uses all GPUs; give other --tp, --cp, --pp or --dp, or fewer of them")
    return [Candidate(setting=number, plan=plan, place=place) for place, (number, plan) in enumerate(found)]


def _rates(settings: Sequence[Setting], goal: Goal) -> list[float | None]:
    """Dollars per second of all GPUs of each setting."""
    prices = [price.hourly(goal.run, one.cluster, one.num_gpus)[0] for one in settings]
    if goal.by == "cost" and None in prices:
        raise InputError("a price is missing; give one with --price 2.50, or search by time")
    return [
        None if dollars is None else dollars * one.num_gpus / HOUR
        for dollars, one in zip(prices, settings, strict=True)
    ]


def _units(everything: Sequence[Candidate]) -> Iterator[list[Candidate]]:
    """Candidates that cut layers and microbatches alike, some at a time."""
    alike: dict[object, list[Candidate]] = {}
    for one in everything:
        plan = one.plan
        key = one.setting, plan.tp, plan.cp, plan.ep, plan.micro_batch, plan.recompute
        alike.setdefault(key, []).append(one)
    for several in alike.values():
        yield from (several[first : first + UNIT] for first in range(0, len(several), UNIT))


def _front(found: Sequence[Found]) -> tuple[Found, ...]:
    """Of plans that were simulated; a price that is not known counts for none."""
    best = front([(one.seconds, one.reserved, one.dollars or 0.0) for one in found])
    return tuple(one for one, is_best in zip(found, best, strict=True) if is_best)


def _refuse(pruned: Counter[str], settings: Sequence[Setting], *, was_interrupted: bool) -> NoReturn:
    """Nothing was found: because there is nothing, or because there was no time."""
    if was_interrupted:
        raise KeyboardInterrupt
    if pruned[LEFT]:
        raise OutOfTime(f"no plan was simulated in time, of {pruned.total():,}; give a longer --budget")
    reasons = ", ".join(f"{reason} ({count:,})" for reason, count in pruned.most_common(3))
    model, fix = settings[0].model.name, "use more GPUs, a shorter sequence or a smaller global batch"
    raise Infeasible(f"no plan of {pruned.total():,} for {model} was found to fit: {reasons}; {fix}")
