"""New speeds after some activities came or went: exact, but only those are solved whose speed the change reaches.

Max-min fair speeds are unique, and known by a certificate: everybody is held by a full wire on which nobody is faster,
or by a ceiling [Bertsekas & Gallager, Data Networks, 6.5.2]. So some are solved with all others as they are; then those
join them whose certificate no longer holds, until all hold.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from sim.flow import NEVER, UNKNOWN, Running
from sim.max_min import Usage, filled

SAME_SPEED = 1e-12
"""Speeds that differ by less than this part are equal, as far as rounding tells."""

Use = tuple[Running, float]
"""Somebody who moves over a wire, and the share."""


class Settling:
    """One change: `changed` are those who entered, and those who were held by a wire that somebody left.

    `moving` are all who move bytes over a wire, and the shares.
    """

    def __init__(
        self, capacities: Sequence[float], moving: Callable[[int], Iterable[Use]], changed: Sequence[Running]
    ) -> None:
        self._capacities = capacities
        self._moving = moving
        self._entering = frozenset(running for running in changed if not running.speed)
        self._solved: dict[Running, None] = {}
        self._users: dict[int, list[Use]] = {}
        self._rests: dict[int, _Rest] = {}
        self._add(changed)
        self._add([user for running in changed if running in self._entering for user in self._held_by(running)])

    def _held_by(self, entering: Running) -> Iterator[Running]:
        """Those who will have less: they are held on its wires."""
        for wire in entering.flow.wires:
            yield from (user for user, _ in self._rests[wire].users if user.held in (wire, UNKNOWN))

    def _on(self, wire: int) -> list[Use]:
        """Who moves on a wire; not those who enter at this moment, but after this."""
        found = self._users.get(wire)
        if found is None:
            found = [use for use in self._moving(wire) if use[0].speed or use[0] in self._entering]
            self._users[wire] = found
        return found

    def _add(self, several: Iterable[Running]) -> None:
        """They are solved too; on their wires the rest is fewer."""
        new = dict.fromkeys(several)
        self._solved |= new
        for wire in dict.fromkeys(wire for running in new for wire in running.flow.wires):
            users = [use for use in self._on(wire) if use[0] not in self._solved]
            self._rests[wire] = _Rest(wire, self._capacities[wire], users)

    def speeds(self) -> Iterator[tuple[Running, float, int]]:
        """The speed of each that had to be solved, and what holds it."""
        while True:
            solved = [*self._solved]
            usages, ceilings = [r.flow.usage for r in solved], [r.flow.ceiling for r in solved]
            found = filled(usages, {wire: rest.spare for wire, rest in self._rests.items()}, ceilings)
            upset = self._upset(usages, found)
            if not upset:
                return ((running, speed, held) for running, (speed, held) in zip(solved, found, strict=True))
            self._add(upset)

    def _upset(self, usages: Sequence[Usage], found: Sequence[tuple[float, int]]) -> list[Running]:
        """Those of the rest that must give up some of a wire, or can have more."""
        levels: dict[int, float] = {}
        fastest = dict.fromkeys(self._rests, 0.0)
        carried = dict.fromkeys(self._rests, 0.0)
        for usage, (speed, held) in zip(usages, found, strict=True):
            levels[held] = min(speed, levels.get(held, NEVER))
            for wire, share in usage:
                carried[wire] += share * speed
                if speed > fastest[wire]:
                    fastest[wire] = speed
        return self._asked(levels, fastest, carried)

    def _asked(
        self, levels: Mapping[int, float], fastest: Mapping[int, float], carried: Mapping[int, float]
    ) -> list[Running]:
        rests = ((wire, rest) for wire, rest in self._rests.items() if rest.users)
        return [
            user for wire, rest in rests for user in rest.upset(levels.get(wire, NEVER), fastest[wire], carried[wire])
        ]


class _Rest:
    """Those on a wire who stay as they are: what they leave, how fast they are, how slow the slowest that it holds."""

    __slots__ = ("capacity", "fastest", "slowest_held", "spare", "users", "wire")

    def __init__(self, wire: int, capacity: float, users: list[Use]) -> None:
        self.wire = wire
        self.capacity = capacity
        self.users = users
        taken, self.fastest, self.slowest_held = 0.0, 0.0, NEVER
        for user, share in users:
            speed = user.speed
            taken += share * speed
            if speed > self.fastest:
                self.fastest = speed
            if speed < self.slowest_held and user.held in (wire, UNKNOWN):
                self.slowest_held = speed
        self.spare = max(0.0, capacity - taken)

    def upset(self, level: float, fastest: float, carried: float) -> Iterator[Running]:
        """Who is faster than those whom the wire now holds, at `level`; or is held by it though it is not full, or
        though the `fastest` of those who are solved, and carry `carried`, is faster."""
        level, fastest = level * (1 + SAME_SPEED), fastest * (1 - SAME_SPEED)
        is_full = carried >= self.spare - SAME_SPEED * self.capacity
        if self.fastest <= level and (self.slowest_held == NEVER or (is_full and self.slowest_held >= fastest)):
            return
        for user, _ in self.users:
            is_held = user.held in (self.wire, UNKNOWN)
            if user.speed > level or (is_held and not (is_full and user.speed >= fastest)):
                yield user
