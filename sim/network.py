"""Shared wires: who gets how much of a link while several messages are on it.

A collective or a transfer is one fluid activity: after its latency it moves bytes over all its wires in step, so its
speed is that of its tightest wire. Wires are shared max-min fairly: speeds rise together until a wire is full, its
users are fixed, the others go on rising. Only the connected activities are solved again when one comes or goes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from simpy import Environment, Event, Timeout

SAME_MOMENT = 1e-12
"""Two ends are one where they differ by less than this part of the clock.

Who ends by a rounding error before its equals has the wire to itself in its next message for just as long, and gains
many times that: without this, equal ranks on one wire would soon be equal no more.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flow:
    """An activity made ready for the wires: bytes on its busiest wire, and the share of that on each wire.

    `speed` is what the wires give it when it has them to itself, in bytes per second of the busiest wire.
    """

    latency: float
    nbytes: float
    usage: tuple[tuple[int, float], ...]
    speed: float
    wires: tuple[int, ...] = field(init=False)
    seconds: float = field(init=False)

    def __post_init__(self) -> None:
        """What every start needs: the wires alone, and the seconds until the last byte where nobody shares them."""
        object.__setattr__(self, "wires", tuple(wire for wire, _ in self.usage))
        object.__setattr__(self, "seconds", self.latency + self.nbytes / self.speed)


def fair_speeds(flows: Sequence[Mapping[int, float]], capacities: Mapping[int, float]) -> list[float]:
    """Max-min fair speeds [bytes/s] of flows that use `usage[wire]` bytes of each wire per byte of progress.

    Progressive filling [Bertsekas & Gallager, Data Networks, 6.5.2]; a flow without a wire is infinitely fast.
    """
    speeds = [float("inf")] * len(flows)
    spare = dict(capacities)
    rising = {index: usage for index, usage in enumerate(flows) if usage}
    while rising:
        demand: dict[int, float] = {}
        for usage in rising.values():
            for wire, share in usage.items():
                demand[wire] = demand.get(wire, 0.0) + share
        tightest = min(demand, key=lambda wire: (spare[wire] / demand[wire], wire))
        speed = spare[tightest] / demand[tightest]
        for index in [index for index, usage in rising.items() if tightest in usage]:
            speeds[index] = speed
            for wire, share in rising.pop(index).items():
                spare[wire] = max(0.0, spare[wire] - share * speed)
    return speeds


class _Running:
    """One flow in flight. `promised` its wires to itself, its one event is its finish until somebody else enters.

    Its next event is `event`; one that was scheduled before and is no longer meant finds another in its place.
    """

    __slots__ = ("done", "enters", "event", "flow", "network", "promised", "remaining", "since", "speed")

    def __init__(self, network: "Network", flow: Flow, done: Callable[[], None], now: float) -> None:
        self.network = network
        self.flow = flow
        self.done = done
        self.enters = now + flow.latency
        self.remaining = flow.nbytes
        self.since = now
        self.speed = 0.0
        self.promised = False
        self.event: Event | None = None

    def left(self, now: float) -> float:
        """Bytes still to move at time `now`."""
        return max(0.0, self.remaining - self.speed * max(0.0, now - max(self.since, self.enters)))

    def ends(self) -> float:
        """When its last byte will have arrived, as things stand; never, while it still has to enter among others."""
        if self.promised:
            return self.since + self.flow.seconds
        return self.since + self.remaining / self.speed if self.speed else float("inf")

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
        self._users: list[dict[_Running, None]] = [{} for _ in capacities]
        self._on_no_wire: dict[_Running, None] = {}

    def start(self, flow: Flow, done: Callable[[], None]) -> None:
        """Put the flow on its wires; `done()` is called when its last byte has arrived."""
        running = _Running(self, flow, done, self._env.now)
        alone = True
        for wire in flow.wires:
            users = self._users[wire]
            if users:
                alone = False
            users[running] = None
        if not flow.wires:
            self._on_no_wire[running] = None
        if alone:
            running.promised = True
            running.speed = flow.speed
            self._wake_in(flow.seconds, running)
        else:
            self._wake_in(flow.latency, running)

    def in_flight(self) -> list[tuple[float, float, float]]:
        """Of every activity: seconds until it enters the wires, bytes left, speed; in the order of their wires."""
        now = self._env.now
        seen = dict.fromkeys(running for users in (*self._users, self._on_no_wire) for running in users)
        return [(max(0.0, running.enters - now), running.left(now), running.speed) for running in seen]

    def enter(self, running: _Running) -> None:
        """The latency of an activity that is not alone is over."""
        running.enters = self._env.now
        self._share(self._connected([running]))

    def finish(self, running: _Running) -> None:
        """The last byte has arrived: the wires are free for those who shared them."""
        neighbours: dict[_Running, None] = {}
        for wire in running.flow.wires:
            users = self._users[wire]
            del users[running]
            if users:
                neighbours.update(users)
        if not running.flow.wires:
            del self._on_no_wire[running]
        if neighbours:
            self._share(self._connected(neighbours))
        running.done()

    def _connected(self, seeds: Iterable[_Running]) -> list[_Running]:
        """All activities that share wires with the seeds, directly or through others."""
        found: dict[_Running, None] = {}
        stack = list(seeds)
        while stack:
            running = stack.pop()
            if running not in found:
                found[running] = None
                for wire in running.flow.wires:
                    stack.extend(self._users[wire])
        return list(found)

    def _share(self, component: list[_Running]) -> None:
        now = self._env.now
        for running in component:
            if running.promised and running.enters > now:
                self._take_back(running, now)
        moving = [running for running in component if running.enters <= now and not self._is_over(running, now)]
        capacities = {wire: self._capacities[wire] for running in moving for wire in running.flow.wires}
        speeds = fair_speeds([dict(running.flow.usage) for running in moving], capacities)
        for running, speed in zip(moving, speeds, strict=True):
            if speed != running.speed:
                running.remaining, running.since, running.speed = running.left(now), now, speed
                running.promised = False
                self._wake_in(running.remaining / speed, running)

    def _is_over(self, running: _Running, now: float) -> bool:
        """Whether it ends now, or so soon that it does."""
        ends = running.ends()
        if ends > now * (1 + SAME_MOMENT):
            return False
        if ends > now:
            running.remaining, running.since, running.promised = 0.0, now, False
            self._wake_in(0.0, running)
        return True

    def _take_back(self, running: _Running, now: float) -> None:
        """Others came while it was still in its latency: it will enter as one of them, the promised finish is void."""
        running.promised = False
        running.speed = 0.0
        self._wake_in(running.enters - now, running)

    def _wake_in(self, delay: float, running: _Running) -> None:
        event = running.event = Timeout(self._env, delay)
        event.callbacks.append(running.on_event)
