"""A served load, played: requests come, a router deals them, replicas answer; the clock is SimPy's.

Only what wakes somebody is an event: a request that comes, a pass that is over, the end of a stretch of quiet passes.
An event that a later one has replaced is ignored.
"""

import gc
import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from simpy import Environment, Event, Timeout

from sim import deployment
from sim.requests import Requests
from sim.serving.block_pool import new_pool
from sim.serving.columns import Columns
from sim.serving.core import Core, Rank
from sim.serving.disaggregation import Apart, Handover
from sim.serving.fleet import Fleet, refusal
from sim.serving.passes import PassCosts
from sim.serving.record import CAUSES, Record
from sim.serving.replica import Action, Replica
from sim.serving.router import Router
from sim.serving.sequence import Queues, Sequence
from sim.serving.settings import Settings
from sim.serving.shares import comes_by_itself, in_turn, joined, played


def serve(
    requests: Requests,
    settings: Settings,
    costs: PassCosts,
    *,
    replicas: int = 1,
    router: deployment.Router = "round-robin",
    router_delay: float = 0.1,
    dp: int = 1,
    stretches: bool = True,
    apart: Apart | None = None,
    way_seconds: float = 0.0,
) -> Record:
    """What is left when all requests have been answered or refused.

    replicas: each of `dp` ranks in lock-step, among all of which the router chooses. router_delay: seconds after which
    it hears of an answer. stretches: quiet passes are stepped over, with the same result. apart: replicas for prompts;
    then the others decode. way_seconds: between server and user, there and back; who waits for an answer goes on so
    much later. The record's times are the server's.
    """
    with _no_garbage_collection():
        if replicas > 1 and apart is None and router == "round-robin" and comes_by_itself(requests):
            shares = in_turn(requests, settings, replicas, dp)
            play = partial(_alone, settings=settings, costs=costs, dp=dp, stretches=stretches)
            return joined(requests, shares, played(play, requests, shares), dp)
        waits = 0.0 if comes_by_itself(requests) else way_seconds
        service = _Service(requests, settings, costs, (replicas, dp), router, router_delay, stretches, apart, waits)
        if replicas == 1 and apart is None:
            service.tell_who_comes()
        return service.to_the_end()


def _alone(requests: Requests, settings: Settings, costs: PassCosts, dp: int, stretches: bool) -> Record:
    """One replica's share of what many are dealt in turn."""
    return _Service(requests, settings, costs, (1, dp), "round-robin", 0.0, stretches, None).to_the_end()


@dataclass(slots=True, eq=False)
class _Clock:
    """Wakes one replica at a time that it names; a later wish replaces an earlier one."""

    env: Environment
    version: int = 0
    time: float = 0.0
    action: Action | None = None

    def wake(self, time: float, action: Action) -> None:
        self.version += 1
        self.time, self.action = time, action
        event = Timeout(self.env, max(time - self.env.now, 0.0), self.version)
        event.callbacks.append(self._ring)

    def _ring(self, event: Event) -> None:
        if event.value == self.version and self.action is not None:
            self.action(self.time)


class _Service:
    """The state of one run."""

    def __init__(
        self, requests: Requests, settings: Settings, costs: PassCosts, size: tuple[int, int],
        router: deployment.Router, router_delay: float, stretches: bool, apart: Apart | None, way_seconds: float = 0.0,
    ) -> None:  # fmt: skip
        self._env = Environment()
        self._settings = settings
        self._requests = requests
        self._arrival: list[float] = requests.arrival.tolist()
        self._prompt: list[int] = requests.prompt.tolist()
        self._output: list[int] = requests.output.tolist()
        self._turns = _turns(requests)
        self._first = [row for row in range(len(requests)) if requests.after is None or requests.after[row] < 0]
        self._columns = Columns(requests)
        self._routed = router, router_delay
        self._way_seconds = way_seconds
        self._coming = math.inf
        self._fleet = self._deployed(settings, costs, size, self._columns, stretches)
        self._handover = None if apart is None else self._handing_over(apart, stretches)
        self._places = len(requests) if requests.concurrency is None else requests.concurrency
        self._outside: deque[int] = deque()

    def _deployed(
        self, settings: Settings, costs: PassCosts, size: tuple[int, int], columns: Columns, stretches: bool,
        first: int = 0,
    ) -> Fleet:  # fmt: skip
        """Replicas, so many of so many ranks each, which are numbered from the `first` on."""
        num_replicas, dp = size
        kind, delay = self._routed
        replicas = []
        for number in range(num_replicas):
            ranks = [Rank(Queues(), new_pool(settings, self._requests.content_tokens)) for _ in range(dp)]
            core = Core(first + number * dp, settings, costs, ranks, columns)
            replicas.append(Replica(core, _Clock(self._env).wake, self._answered, stretches))
        return Fleet(replicas=replicas, dp=dp, router=Router(num_replicas * dp, delay), kind=kind)

    def _handing_over(self, apart: Apart, stretches: bool) -> Handover:
        before, first = Columns(self._requests), len(self._fleet.replicas) * self._fleet.dp
        size = apart.replicas, apart.dp
        prompts = self._deployed(apart.settings, apart.costs, size, before, stretches, first)
        return Handover(
            apart, prompts, self._fleet, self._columns, before, self._env, self._at, self._leave, self._output
        )

    def tell_who_comes(self) -> None:
        """The only replica may know when the next request comes."""
        self._fleet.replicas[0].coming = lambda: self._coming

    def to_the_end(self) -> Record:
        """Play until nobody is left."""
        self._feed(0)
        self._env.run()
        record = self._columns.record(self._fleet.busy(), self._fleet.num_blocks)
        return record if self._handover is None else self._handover.told(record)

    def _feed(self, position: int) -> None:
        """Wait for the next of the rows that come by themselves."""
        self._coming = math.inf
        if position < len(self._first):
            self._coming = time = self._arrival[self._first[position]]
            self._at(time, partial(self._come, position))

    def _come(self, position: int, now: float) -> None:
        """All rows that come at this time."""
        first, arrival = self._first, self._arrival
        while position < len(first) and arrival[first[position]] <= now:
            self._enter(first[position], now)
            position += 1
        self._feed(position)

    def _at(self, time: float, action: Action) -> None:
        event = Timeout(self._env, max(time - self._env.now, 0.0))
        event.callbacks.append(lambda _: action(time))

    def _enter(self, row: int, now: float) -> None:
        """A user wants to send this row."""
        if self._places:
            self._places -= 1
            self._send(row, now)
        else:
            self._outside.append(row)

    def _send(self, row: int, now: float) -> None:
        """The row reaches the server."""
        self._columns.sent[row] = now
        sequence = self._sequence(row, now)
        reason = refusal(self._settings, self._fleet.num_blocks, sequence.prompt, sequence.output)
        if self._handover is not None:
            reason = reason or self._handover.refusal(sequence)
        if reason is not None:
            self._columns.refused[row] = reason
            self._leave(row, now)
            return
        if self._handover is not None:
            self._handover.send(sequence, now)
            return
        self._columns.replica[row] = target = self._fleet.deal(sequence, now)
        replica, rank = self._fleet.at(target)
        replica.take(sequence, rank, now)

    def _sequence(self, row: int, now: float) -> Sequence:
        contents = self._requests.contents
        return Sequence(
            row=row,
            prompt=self._prompt[row],
            output=self._output[row],
            arrival=now,
            contents=() if contents is None else contents[row],
            causes=[0.0] * len(CAUSES),
            since=now,
        )

    def _answered(self, sequence: Sequence, now: float) -> None:
        """A replica is done with the sequence."""
        self._fleet.router.answered(self._columns.replica[sequence.row], now)
        self._leave(sequence.row, now)

    def _leave(self, row: int, now: float) -> None:
        """An answer is on its way to a user."""
        if self._way_seconds:
            self._at(now + self._way_seconds, partial(self._arrive, row))
        else:
            self._arrive(row, now)

    def _arrive(self, row: int, now: float) -> None:
        """A user has an answer: others may send, and so may the user again."""
        for turn in self._turns.get(row, ()):
            self._at(now + self._arrival[turn], partial(self._enter, turn))
        if self._outside:
            self._at(now, partial(self._send, self._outside.popleft()))
        else:
            self._places += 1


def _turns(requests: Requests) -> dict[int, list[int]]:
    """By row, the rows that follow its answer."""
    turns: dict[int, list[int]] = {}
    for row, before in enumerate(() if requests.after is None else requests.after.tolist()):
        if before >= 0:
            turns.setdefault(before, []).append(row)
    return turns


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A run makes millions of objects and no cycles: looking for some would cost a tenth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
