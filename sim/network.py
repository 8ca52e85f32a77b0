"""Shared wires: who gets how much of a link while several messages are on it.

A collective or a transfer is one fluid activity: after its latency it moves bytes over all its wires in step, so its
speed is that of its tightest wire, or its own ceiling. Wires are shared max-min fairly (see max_min). When activities
come or go, only those are solved again whose speed that can change; the changes of one moment are solved together.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from simpy import Environment, Event, Timeout

from sim.instructions import Activity
from sim.max_min import Usage, filled
from topologies.fabric import Wire, capacity
from topologies.hardware import Cluster

SAME_MOMENT = 1e-12
"""Two ends are one where they differ by less than this part of the clock.

Who ends by a rounding error before its equals has the wire to itself in its next message for just as long, and gains
many times that: without this, equal ranks on one wire would soon be equal no more.
"""
SAME_SPEED = 1e-12
"""Speeds that differ by less than this part are equal, as far as rounding tells."""
_NEVER = float("inf")
_UNKNOWN = -2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flow:
    """An activity made ready for the wires: bytes on its busiest wire, and the share of that on each wire.

    `speed` is what it reaches when it has the wires to itself, in bytes per second of the busiest wire; `ceiling` is
    what it can do at most, however wide they are.
    """

    latency: float
    nbytes: float
    usage: tuple[tuple[int, float], ...]
    speed: float
    ceiling: float = _NEVER
    wires: tuple[int, ...] = field(init=False)
    seconds: float = field(init=False)

    def __post_init__(self) -> None:
        """What every start needs: the wires alone, and the seconds until the last byte where nobody shares them."""
        object.__setattr__(self, "wires", tuple(wire for wire, _ in self.usage))
        object.__setattr__(self, "seconds", self.latency + self.nbytes / self.speed)


def flow_of(cluster: Cluster, activity: Activity, numbers: dict[Wire, int]) -> Flow:
    """The activity on numbered wires; wires that are new get the next numbers."""
    busiest = activity.nbytes
    used = [(wire, nbytes) for wire, nbytes in activity.loads if nbytes]
    usage = tuple((numbers.setdefault(wire, len(numbers)), nbytes / busiest) for wire, nbytes in used)
    speed = min((capacity(cluster, wire) * busiest / nbytes for wire, nbytes in used), default=1.0)
    return Flow(
        latency=activity.latency,
        nbytes=busiest,
        usage=usage,
        speed=min(speed, activity.ceiling),
        ceiling=activity.ceiling,
    )


class _Running:
    """One flow in flight. `promised` its wires to itself, its one event is its finish until somebody else enters.

    Its next event is `event`; one that was scheduled before and is no longer meant finds another in its place. `held`
    is the wire that holds its speed, unknown while it is promised; `ends` is when it will be done as things stand.
    """

    __slots__ = (
        "done",
        "ends",
        "enters",
        "event",
        "flow",
        "held",
        "network",
        "promised",
        "remaining",
        "since",
        "speed",
    )

    def __init__(self, network: "Network", flow: Flow, done: Callable[[], None], now: float) -> None:
        self.network = network
        self.flow = flow
        self.done = done
        self.enters = now + flow.latency
        self.remaining = flow.nbytes
        self.since = now
        self.speed = 0.0
        self.held = _UNKNOWN
        self.promised = False
        self.ends = _NEVER
        self.event: Event | None = None

    def left(self, now: float) -> float:
        """Bytes still to move at time `now`."""
        return max(0.0, self.remaining - self.speed * max(0.0, now - max(self.since, self.enters)))

    def on_event(self, event: Event) -> None:
        if event is not self.event:
            return
        if self.speed:
            self.network.finish(self)
        else:
            self.network.enter(self)


class Network:
    """The wires of one run. `capacities[w]` is in bytes per second."""

    def __init__(self, env: Environment, capacities: Sequence[float]) -> None:
        self._env = env
        self._capacities = capacities
        self._users: list[dict[_Running, float]] = [{} for _ in capacities]
        self._on_no_wire: dict[_Running, None] = {}
        self._unsettled: dict[_Running, None] = {}

    def start(self, flow: Flow, done: Callable[[], None]) -> None:
        """Put the flow on its wires; `done()` is called when its last byte has arrived."""
        running = _Running(self, flow, done, self._env.now)
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
        seen = dict.fromkeys(running for users in (*self._users, self._on_no_wire) for running in users)
        return [(max(0.0, running.enters - now), running.left(now), running.speed) for running in seen]

    def enter(self, running: _Running) -> None:
        """The latency of an activity that is not alone is over."""
        running.enters = self._env.now
        self._settle_soon((running,))

    def finish(self, running: _Running) -> None:
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

    def _settle_soon(self, several: Iterable[_Running]) -> None:
        """Solve them again at the end of this moment, when all that comes or goes with them has done so."""
        was_settled = not self._unsettled
        self._unsettled.update(dict.fromkeys(several))
        if was_settled and self._unsettled:
            Timeout(self._env, 0.0).callbacks.append(self._settle)

    def _settle(self, _: object = None) -> None:
        if self._unsettled:
            changed, self._unsettled = self._unsettled, {}
            for running, speed, held in _Settling(self, self._env.now, changed).speeds():
                running.held = held
                if speed != running.speed:
                    self._move(running, speed)

    def moving(self, wire: int, now: float) -> Iterator[tuple[_Running, float]]:
        """Who moves bytes over a wire, and its share; not those who are done at this moment."""
        soon = now * (1 + SAME_MOMENT)
        for user, share in self._users[wire].items():
            if user.enters <= now and (user.ends > soon or not self._is_over(user, now)):
                yield user, share

    def enters_among(self, wire: int, now: float) -> None:
        """Whoever was promised the wire and is still in its latency will enter as one of several."""
        for user in self._users[wire]:
            if user.promised and user.enters > now:
                user.promised, user.speed, user.ends = False, 0.0, _NEVER
                self._wake_in(user.enters - now, user)

    def capacity(self, wire: int) -> float:
        return self._capacities[wire]

    def _is_over(self, running: _Running, now: float) -> bool:
        """What ends so soon that it is now, ends now."""
        if running.ends > now:
            running.remaining, running.since, running.promised, running.ends = 0.0, now, False, now
            self._wake_in(0.0, running)
        return True

    def _move(self, running: _Running, speed: float) -> None:
        """From now on at another speed."""
        now = self._env.now
        running.remaining, running.since, running.speed = running.left(now), now, speed
        running.promised = False
        running.ends = now + running.remaining / speed
        self._wake_in(running.remaining / speed, running)

    def _wake_in(self, delay: float, running: _Running) -> None:
        event = running.event = Timeout(self._env, delay)
        event.callbacks.append(running.on_event)


class _Settling:
    """New speeds after some came or went: exact, but only those are solved whose speed the change reaches.

    Max-min fair speeds are unique, and known by a certificate: everybody is held by a full wire on which nobody is
    faster [Bertsekas & Gallager, 6.5.2]. So some are solved with all others as they are; then those join them whose
    certificate no longer holds, until all hold.
    """

    def __init__(self, network: Network, now: float, changed: Mapping[_Running, None]) -> None:
        self._network = network
        self._now = now
        self._changed = changed
        self._solved: dict[_Running, None] = {}
        self._rests: dict[int, _Rest] = {}
        self._moving: dict[int, list[tuple[_Running, float]]] = {}
        going_on = [running for running in changed if running.ends > now * (1 + SAME_MOMENT)]
        self._add([*going_on, *(user for running in going_on if not running.speed for user in self._held_by(running))])

    def _held_by(self, entering: _Running) -> Iterator[_Running]:
        """Those who will have less: they are held on its wires."""
        for wire in entering.flow.wires:
            self._network.enters_among(wire, self._now)
            yield from (user for user, _ in self._on(wire) if user.held in (wire, _UNKNOWN))

    def _on(self, wire: int) -> list[tuple[_Running, float]]:
        """Who moves on a wire, and its share."""
        found = self._moving.get(wire)
        if found is None:
            moving = self._network.moving(wire, self._now)
            found = self._moving[wire] = [use for use in moving if use[0].speed or use[0] in self._changed]
        return found

    def _add(self, several: Iterable[_Running]) -> None:
        """They are solved too; on their wires the rest is fewer."""
        new = dict.fromkeys(several)
        self._solved |= new
        for wire in dict.fromkeys(wire for running in new for wire in running.flow.wires):
            users = [use for use in self._on(wire) if use[0] not in self._solved]
            self._rests[wire] = _Rest(wire, self._network.capacity(wire), users)

    def speeds(self) -> Iterator[tuple[_Running, float, int]]:
        """The speed of each that had to be solved, and what holds it."""
        while True:
            solved = [*self._solved]
            usages, ceilings = [r.flow.usage for r in solved], [r.flow.ceiling for r in solved]
            found = filled(usages, {wire: rest.spare for wire, rest in self._rests.items()}, ceilings)
            upset = self._upset(usages, found)
            if not upset:
                return ((running, speed, held) for running, (speed, held) in zip(solved, found, strict=True))
            self._add(upset)

    def _upset(self, usages: Sequence[Usage], found: Sequence[tuple[float, int]]) -> list[_Running]:
        """Those of the rest that must give up some of a wire, or can have more."""
        levels: dict[int, float] = {}
        fastest = dict.fromkeys(self._rests, 0.0)
        carried = dict.fromkeys(self._rests, 0.0)
        for usage, (speed, held) in zip(usages, found, strict=True):
            levels[held] = min(speed, levels.get(held, _NEVER))
            for wire, share in usage:
                carried[wire] += share * speed
                if speed > fastest[wire]:
                    fastest[wire] = speed
        rests = ((rest, levels.get(wire, _NEVER), fastest[wire], carried[wire]) for wire, rest in self._rests.items())
        return [user for rest, *solved in rests if rest.users for user in rest.upset(*solved)]


class _Rest:
    """Those on a wire who stay as they are: what they leave, how fast they are, how slow the slowest that it holds."""

    __slots__ = ("capacity", "fastest", "slowest_held", "spare", "users", "wire")

    def __init__(self, wire: int, capacity: float, users: list[tuple[_Running, float]]) -> None:
        self.wire = wire
        self.capacity = capacity
        self.users = users
        self.spare = capacity
        self.fastest = 0.0
        self.slowest_held = _NEVER
        for user, share in users:
            speed = user.speed
            self.spare -= share * speed
            if speed > self.fastest:
                self.fastest = speed
            if speed < self.slowest_held and user.held in (wire, _UNKNOWN):
                self.slowest_held = speed
        self.spare = max(0.0, self.spare)

    def upset(self, level: float, fastest: float, carried: float) -> Iterator[_Running]:
        """Who is faster than those whom the wire now holds, at `level`, or is held by it though it is not full, or while
        the `fastest` of those who are solved is faster; they `carried` that much."""
        level, fastest = level * (1 + SAME_SPEED), fastest * (1 - SAME_SPEED)
        is_full = carried >= self.spare - SAME_SPEED * self.capacity
        if self.fastest <= level and (self.slowest_held == _NEVER or (is_full and self.slowest_held >= fastest)):
            return
        for user, _ in self.users:
            holds = user.held in (self.wire, _UNKNOWN)
            if user.speed > level or (holds and not (is_full and user.speed >= fastest)):
                yield user
