"""What keeps a schedule from being one whole step: each microbatch passes each stage of its model once, and back."""

from collections.abc import Sequence

from sim.schedules.action import Action, Kind, Schedule

_EXCLUDES: dict[Kind, tuple[Kind, ...]] = {"F": (), "B": ("I", "W"), "I": ("B",), "W": ("B",)}


def homes_of(rows: Sequence[Sequence[Action]]) -> tuple[int, ...]:
    """The rank of each stage, by who names it first; ends before the first stage that nobody names (see `fault`)."""
    found: dict[int, int] = {}
    for rank, row in enumerate(rows):
        for action in row:
            found.setdefault(action.stage, rank)
    homes: list[int] = []
    while len(homes) in found:
        homes.append(found[len(homes)])
    return tuple(homes)


def fault(schedule: Schedule) -> tuple[int, str] | None:
    """The rank and description of the first thing that keeps this from being a whole step, or None.

    Each microbatch passes each stage of its model with one F, and one B or one I and one W, on the stage's rank.
    """
    count = 1 + max((action.microbatch for row in schedule.rows for action in row), default=-1)
    if not count:
        return 0, "no actions; write cells such as 0F0, one row per rank"
    seen: set[Action] = set()
    for rank, row in enumerate(schedule.rows):
        if not row:
            return rank, "no actions; write cells such as 0F0, or remove the row"
        for action in row:
            problem = _misplaced(action, rank, schedule, count) or _repeated(action, seen)
            if problem:
                return rank, problem
            seen.add(action)
    return _missing(seen, schedule, count)


def _misplaced(action: Action, rank: int, schedule: Schedule, count: int) -> str | None:
    if action.stage >= len(schedule.homes):
        return f"{action} is of stage {action.stage}, but no rank has stage {len(schedule.homes)}; leave no stage out"
    home = schedule.homes[action.stage]
    if home != rank:
        return f"{action} does not belong here: stage {action.stage} is on rank {home}; move it there"
    own = schedule.microbatches_of(action.stage, count)
    if action.microbatch not in own:
        return f"{action}: of two models, stage {action.stage}'s takes microbatches {own.start} to {own.stop - 1} alone"
    return None


def _repeated(action: Action, seen: set[Action]) -> str | None:
    kind, stage, microbatch = action
    if action in seen:
        return f"{action} comes twice; remove one of them"
    other = next((half for half in _EXCLUDES[kind] if Action(half, stage, microbatch) in seen), None)
    if other is None:
        return None
    return f"{action} and {stage}{other}{microbatch}: B is I and W in one; write B alone, or I and W"


def _missing(seen: set[Action], schedule: Schedule, count: int) -> tuple[int, str] | None:
    """Ends soon even where a microbatch is absurdly large: the first gap is at most len(seen) steps away."""
    size = f"{len(schedule.homes)} stages and {count} microbatches"
    for microbatch in range(count):
        for stage, home in enumerate(schedule.homes):
            if microbatch not in schedule.microbatches_of(stage, count):
                continue
            absent = _absent(stage, microbatch, seen)
            if absent:
                return home, f"{absent} is missing; with {size}, each must pass each once"
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
