"""An activity made ready for the wires, and one in flight: a fluid that moves over all its wires in step.

It progresses in bytes of its busiest wire; each other wire carries a share of that. So its speed is that of its
tightest wire, or its own ceiling.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from sim.instructions import Activity
from topologies.fabric import Wire, capacity
from topologies.hardware import Cluster

NEVER = float("inf")
UNKNOWN = -2
"""What holds a flow that has had its wires to itself."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flow:
    """An activity on numbered wires: bytes on its busiest wire, and the share of that on each wire.

    `speed` is what it reaches when it has the wires to itself, in bytes per second of the busiest wire; `ceiling` is
    what it can do at most, however wide they are.
    """

    latency: float
    nbytes: float
    usage: tuple[tuple[int, float], ...]
    speed: float
    ceiling: float = NEVER
    wires: tuple[int, ...] = field(init=False)
    seconds: float = field(init=False)

    def __post_init__(self) -> None:
        """What every start needs: the wires alone, and the seconds until the last byte where nobody shares them."""
        object.__setattr__(self, "wires", tuple(wire for wire, _ in self.usage))
        object.__setattr__(self, "seconds", self.latency + self.nbytes / self.speed)


def flow_of(cluster: Cluster, activity: Activity, numbers: dict[Wire, int]) -> Flow:
    """The activity as a flow; wires that are new get the next numbers."""
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


class Running:
    """One flow in flight. `promised` its wires to itself, its one event is its finish until somebody else enters.

    Its next event is `event`, at which it calls `enter` or `finish`; one that was scheduled before and is no longer
    meant finds another in its place. `held` is the wire that holds its speed; `ends` is when it will be done as things
    stand: never, while it waits to enter.
    """

    __slots__ = (
        "done",
        "ends",
        "enter",
        "enters",
        "event",
        "finish",
        "flow",
        "held",
        "promised",
        "remaining",
        "since",
        "speed",
    )

    def __init__(
        self,
        flow: Flow,
        done: Callable[[], None],
        now: float,
        enter: Callable[["Running"], None],
        finish: Callable[["Running"], None],
    ) -> None:
        self.flow = flow
        self.done = done
        self.enter = enter
        self.finish = finish
        self.enters = now + flow.latency
        self.remaining = flow.nbytes
        self.since = now
        self.speed = 0.0
        self.held = UNKNOWN
        self.promised = False
        self.ends = NEVER
        self.event: object = None

    def on_event(self, event: object) -> None:
        """Its last byte has arrived, or, where nothing moves yet, its latency is over."""
        if event is self.event:
            (self.finish if self.speed else self.enter)(self)

    def left(self, now: float) -> float:
        """Bytes still to move at time `now`."""
        return max(0.0, self.remaining - self.speed * max(0.0, now - max(self.since, self.enters)))

    def move(self, speed: float, now: float) -> None:
        """From now on at another speed."""
        self.remaining, self.since, self.speed = self.left(now), now, speed
        self.promised = False
        self.ends = now + self.remaining / speed

    def take_back(self) -> None:
        """Others came while it was still in its latency: it will enter as one of them, the promised end is void."""
        self.promised, self.speed, self.ends = False, 0.0, NEVER

    def end(self, now: float) -> None:
        """It ends so soon that it is now."""
        self.remaining, self.since, self.promised, self.ends = 0.0, now, False, now
