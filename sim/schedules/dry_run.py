"""Playing a schedule in whole units of time, without a machine: does it come to its end, and where does it idle?

A forward waits for the forward of the stage before, a backward for the backward of the stage after (at the last stage:
for its own forward), a weight gradient for its input gradient; a pair for what both its passes need, and both end with
it. The order on a rank is fixed, so start times are unique.
"""

from collections.abc import Mapping, Sequence

from sim.schedules.action import Action, Deadlock, Grid, Kind, Schedule, last_steps
from sim.schedules.fault import fault
from topologies.document import InputError

UNIT: Mapping[Kind, int] = {"F": 1, "B": 1, "I": 1, "W": 1}


def dry_run(schedule: Schedule, durations: Mapping[Kind, int] = UNIT, *, paired: int | None = None) -> Grid:
    """What each rank does in each unit of time; an action fills as many cells as it lasts, a row is the makespan long.

    paired: how long a forward and a backward last that run as one, at least 2; None: F and B one after the other. Of a
    pair's cells the forward has as many as it lasts alone, but leaves one for the backward.
    Raises InputError where an action is missing or superfluous (see `fault`), Deadlock where nothing can go on.
    """
    found = fault(schedule)
    if found:
        raise InputError(f"rank {found[0]}: {found[1]}")
    play = _Play(schedule, durations, durations["F"] + durations["B"] if paired is None else paired)
    for rank in range(schedule.num_ranks):
        play.advance(rank)
    makespan = max(map(len, play.rows))
    rows = tuple((*row, *[None] * (makespan - len(row))) for row in play.rows)
    if play.blocked:
        raise Deadlock(_circle(play.blocked, schedule.homes), last_steps(rows))
    return rows


class _Play:
    """The state of one run: how far each rank is, when each action ended, and who waits for what."""

    def __init__(self, schedule: Schedule, durations: Mapping[Kind, int], paired: int) -> None:
        self.schedule = schedule
        self.durations = durations
        self.paired = paired
        self.halved = {action for row in schedule.rows for action in row if action.kind == "I"}
        self.passes = [list(schedule.passes(rank)) for rank in range(schedule.num_ranks)]
        self.rows: list[list[Action | None]] = [[] for _ in schedule.rows]
        self.position = [0] * schedule.num_ranks
        self.end: dict[Action, int] = {}
        self.blocked: dict[int, tuple[Action, Action]] = {}  # rank: (its next action, the one that it waits for)
        self.waiters: dict[Action, list[int]] = {}

    def advance(self, rank: int) -> None:
        """Play this rank, and whoever waited for it, until all are blocked or done."""
        ready = [rank]
        while ready:
            ready.extend(self._play_rank(ready.pop()))

    def _play_rank(self, rank: int) -> list[int]:
        """Play one rank until it is blocked or done; the ranks that it set free."""
        order = self.passes[rank]
        freed: list[int] = []
        self.blocked.pop(rank, None)
        while self.position[rank] < len(order):
            passes = order[self.position[rank]]
            needs = [(action, need) for action in passes if (need := self._need(action)) is not None]
            blocked = next(((action, need) for action, need in needs if need not in self.end), None)
            if blocked:
                self.blocked[rank] = blocked
                self.waiters.setdefault(blocked[1], []).append(rank)
                break
            self._append(self.rows[rank], passes, max((self.end[need] for _, need in needs), default=0))
            self.position[rank] += 1
            for action in passes:
                freed += self.waiters.pop(action, ())
        return freed

    def _append(self, row: list[Action | None], passes: tuple[Action, ...], earliest: int) -> None:
        row.extend([None] * (earliest - len(row)))
        first, last = passes[0], passes[-1]
        length = self.durations[first.kind] if len(passes) == 1 else self.paired
        cells = length if len(passes) == 1 else min(self.durations["F"], length - 1)
        row.extend([*[first] * cells, *[last] * (length - cells)])
        self.end.update(dict.fromkeys(passes, len(row)))

    def _need(self, action: Action) -> Action | None:
        kind, stage, microbatch = action
        if kind == "W":
            return Action("I", stage, microbatch)
        source = self.schedule.before(stage) if kind == "F" else self.schedule.after(stage)
        if kind == "F":
            return None if source is None else Action("F", source, microbatch)
        if source is None:
            return Action("F", stage, microbatch)
        half = Action("I", source, microbatch)
        return half if half in self.halved else Action("B", source, microbatch)


def _circle(blocked: Mapping[int, tuple[Action, Action]], homes: Sequence[int]) -> tuple[str, ...]:
    """Who waits for whom around the circle: in a whole schedule, a blocked rank waits for one that is blocked too."""
    path: list[int] = []
    rank = min(blocked)
    while rank not in path:
        path.append(rank)
        rank = homes[blocked[rank][1].stage]
    circle = path[path.index(rank) :]
    return tuple(_wait(waiting, *blocked[waiting], homes) for waiting in circle)


def _wait(rank: int, action: Action, need: Action, homes: Sequence[int]) -> str:
    return f"rank {rank} at {action} waits for {need} of rank {homes[need.stage]}"
