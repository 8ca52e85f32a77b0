"""Shared wires: who gets how much of a link while several messages are on it.

A collective or a transfer is one fluid activity: its latency, then its bytes. Wires are shared max-min fairly (see
max_min). When activities come or go, only those are solved again whose speed that can change (see settling); the
changes of one moment are solved together. An activity alone on its wires costs one event.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from simpy import Environment, Timeout

from sim.flow import Flow, Running
from sim.settling import Settling

SAME_MOMENT = 1e-12
"""Two ends are one where they differ by less than this part of the clock.

Who ends by a rounding error before its equals has the wire to itself in its next message for just as long, and gains
many times that: without this, equal ranks on one wire would soon be equal no more.
"""


class Network:
    """The wires of one run. `capacities[w]` is in bytes per second."""

    def __init__(self, env: Environment, capacities: Sequence[float]) -> None:
        self._env = env
        self._capacities = list(capacities)
        self._users: list[dict[Running, float]] = [{} for _ in capacities]
        self._on_no_wire: dict[Running, None] = {}
        self._unsettled: dict[Running, None] = {}

    def widen(self, capacities: Iterable[float]) -> None:
        """More wires, numbered after those that there are."""
        for one in capacities:
            self._capacities.append(one)
            self._users.append({})

    def start(self, flow: Flow, done: Callable[[], None]) -> None:
        """Put the flow on its wires; `done()` is called when its last byte has arrived."""
        running = Running(flow, done, self._env.now, self._enter, self._finish)
        alone = True
        for wire, share in flow.usage:
            users = self._users[wire]
            if users:
                alone = False
            users[running] = share
        if not flow.wires:
            self._on_no_wire[running] = None
        if alone:
            running.promised = True
            running.speed = flow.speed
            running.ends = running.since + flow.seconds
            self._wake_in(flow.seconds, running)
        else:
            self._wake_in(flow.latency, running)

    def in_flight(self) -> list[tuple[float, float, float]]:
        """Of every activity: seconds until it enters the wires, bytes left, speed; in the order of their wires."""
        self._settle()
        now = self._env.now
        seen = dict.fromkeys(chain(*self._users, self._on_no_wire))
        return [(max(0.0, running.enters - now), running.left(now), running.speed) for running in seen]

    def _enter(self, running: Running) -> None:
        """The latency of an activity that is not alone is over."""
        now = running.enters = self._env.now
        for wire in running.flow.wires:
            for user in self._users[wire]:
                if user.promised and user.enters > now:
                    user.take_back()
                    self._wake_in(user.enters - now, user)
        self._settle_soon((running,))

    def _finish(self, running: Running) -> None:
        """The last byte has arrived: the wires are free for those who were held by them."""
        self._unsettled.pop(running, None)
        for wire in running.flow.wires:
            users = self._users[wire]
            del users[running]
            if users:
                self._settle_soon([user for user in users if user.held == wire])
        if not running.flow.wires:
            del self._on_no_wire[running]
        running.done()

    def _settle_soon(self, several: Iterable[Running]) -> None:
        """Solve them again at the end of this moment, when all that comes or goes with them has done so."""
        was_settled = not self._unsettled
        self._unsettled.update(dict.fromkeys(several))
        if was_settled and self._unsettled:
            Timeout(self._env, 0.0).callbacks.append(self._settle)

    def _settle(self, _: object = None) -> None:
        if not self._unsettled:
            return
        now = self._env.now
        soon = now * (1 + SAME_MOMENT)
        changed = [running for running in self._unsettled if running.ends > soon]
        self._unsettled = {}
        for running, speed, held in Settling(self._capacities, self._moving, changed).speeds():
            running.held = held
            if speed != running.speed:
                running.move(speed, now)
                self._wake_in(running.remaining / speed, running)

    def _moving(self, wire: int) -> Iterator[tuple[Running, float]]:
        """Who moves bytes over a wire, and its share; not those who are done at this moment: they end now."""
        now = self._env.now
        soon = now * (1 + SAME_MOMENT)
        for user, share in self._users[wire].items():
            if user.enters > now:
                continue
            if user.ends > soon:
                yield user, share
            elif user.ends > now:
                user.end(now)
                self._wake_in(0.0, user)

    def _wake_in(self, delay: float, running: Running) -> None:
        event = running.event = Timeout(self._env, delay)
        event.callbacks.append(running.on_event)
