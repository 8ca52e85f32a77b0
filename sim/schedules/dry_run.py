"""Playing a schedule in whole units of time, without a machine: does it come to its end, and where does it idle?

A forward waits for the forward of the stage before, a backward for the backward of the stage after (at the last stage:
for its own forward), a weight gradient for its input gradient. The order on a rank is fixed, so start times are unique.
"""

from collections.abc import Mapping

from sim.schedules.action import Action, Deadlock, Grid, Kind, Schedule, last_steps
from topologies.document import InputError

UNIT: Mapping[Kind, int] = {"F": 1, "B": 1, "I": 1, "W": 1}
_EXCLUDES: Mapping[Kind, tuple[Kind, ...]] = {"F": (), "B": ("I", "W"), "I": ("B",), "W": ("B",)}


def dry_run(schedule: Schedule, durations: Mapping[Kind, int] = UNIT) -> Grid:
    """What each rank does in each unit of time; an action fills as many cells as it lasts, a row is the makespan long.

    Raises InputError where an action is missing or superfluous (see `fault`), Deadlock where nothing can go on.
    """
    found = fault(schedule)
    if found:
        raise InputError(f"rank {found[0]}: {found[1]}")
    play = _Play(schedule, durations)
    for rank in range(schedule.num_ranks):
        play.advance(rank)
    makespan = max(map(len, play.rows))
    rows = tuple((*row, *[None] * (makespan - len(row))) for row in play.rows)
    if play.blocked:
        raise Deadlock(_circle(play.blocked, schedule.num_ranks), last_steps(rows))
    return rows


def fault(schedule: Schedule) -> tuple[int, str] | None:
    """The rank and description of the first thing that keeps this from being a whole step, or None.

    Each microbatch passes each stage with one F, and one B or one I and one W; stage s lives on rank s % num_ranks.
    """
    seen: set[Action] = set()
    for rank, row in enumerate(schedule.rows):
        for action in row:
            problem = _misplaced(action, rank, schedule.num_ranks) or _repeated(action, seen)
            if problem:
                return rank, problem
            seen.add(action)
    return _missing(seen, schedule.num_ranks) if seen else (0, "no actions; write cells such as 0F0, one row per rank")


def _misplaced(action: Action, rank: int, num_ranks: int) -> str | None:
    home = action.stage % num_ranks
    if home == rank:
        return None
    return (
        f"{action} does not belong here: stage {action.stage} of {num_ranks} ranks is on rank {home}; "
        f"move it there (other placements of stages are not supported yet)"
    )


def _repeated(action: Action, seen: set[Action]) -> str | None:
    kind, stage, microbatch = action
    if action in seen:
        return f"{action} comes twice; remove one of them"
    other = next((half for half in _EXCLUDES[kind] if Action(half, stage, microbatch) in seen), None)
    if other is None:
        return None
    return f"{action} and {stage}{other}{microbatch}: B is I and W in one; write B alone, or I and W"


def _missing(seen: set[Action], num_ranks: int) -> tuple[int, str] | None:
    """Ends soon even where a stage or microbatch is absurdly large: the first gap is at most len(seen) steps away."""
    num_stages = -(-(max(action.stage for action in seen) + 1) // num_ranks) * num_ranks
    num_microbatches = max(action.microbatch for action in seen) + 1
    for microbatch in range(num_microbatches):
        for stage in range(num_stages):
            absent = _absent(stage, microbatch, seen)
            if absent:
                size = f"{num_stages} stages and {num_microbatches} microbatches"
                return stage % num_ranks, f"{absent} is missing; with {size}, each must pass each once"
    return None


def _absent(stage: int, microbatch: int, seen: set[Action]) -> str | None:
    forward, backward, inputs, weights = (Action(kind, stage, microbatch) for kind in ("F", "B", "I", "W"))
    if forward not in seen:
        return str(forward)
    if backward in seen or (inputs in seen and weights in seen):
        return None
    if inputs in seen or weights in seen:
        return str(weights if inputs in seen else inputs)
    return str(backward)


class _Play:
    """The state of one run: how far each rank is, when each action ended, and who waits for what."""

    def __init__(self, schedule: Schedule, durations: Mapping[Kind, int]) -> None:
        self.schedule = schedule
        self.durations = durations
        self.last_stage = max(action.stage for row in schedule.rows for action in row)
        self.halved = {action for row in schedule.rows for action in row if action.kind == "I"}
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
        order, row = self.schedule.rows[rank], self.rows[rank]
        freed: list[int] = []
        self.blocked.pop(rank, None)
        while self.position[rank] < len(order):
            action = order[self.position[rank]]
            need = self._need(action)
            if need is not None and need not in self.end:
                self.blocked[rank] = action, need
                self.waiters.setdefault(need, []).append(rank)
                break
            self._append(row, action, self.end[need] if need else 0)
            self.position[rank] += 1
            freed += self.waiters.pop(action, ())
        return freed

    def _append(self, row: list[Action | None], action: Action, earliest: int) -> None:
        row.extend([None] * (earliest - len(row)))
        row.extend([action] * self.durations[action.kind])
        self.end[action] = len(row)

    def _need(self, action: Action) -> Action | None:
        kind, stage, microbatch = action
        if kind == "F":
            return Action("F", stage - 1, microbatch) if stage else None
        if kind == "W":
            return Action("I", stage, microbatch)
        if stage == self.last_stage:
            return Action("F", stage, microbatch)
        half = Action("I", stage + 1, microbatch)
        return half if half in self.halved else Action("B", stage + 1, microbatch)


def _circle(blocked: Mapping[int, tuple[Action, Action]], num_ranks: int) -> tuple[str, ...]:
    """Who waits for whom around the circle: in a whole schedule, a blocked rank waits for one that is blocked too."""
    path: list[int] = []
    rank = min(blocked)
    while rank not in path:
        path.append(rank)
        rank = blocked[rank][1].stage % num_ranks
    circle = path[path.index(rank) :]
    return tuple(_wait(waiting, *blocked[waiting], num_ranks) for waiting in circle)


def _wait(rank: int, action: Action, need: Action, num_ranks: int) -> str:
    return f"rank {rank} at {action} waits for {need} of rank {need.stage % num_ranks}"
