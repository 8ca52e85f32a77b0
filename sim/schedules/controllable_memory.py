"""V-Half and V-Min: a V of two chunks per rank, in which a microbatch soon comes back, so that little of it is held.

A pattern of four passes (F and F, I and I of a rank's two chunks) is repeated every 6 units of time, two of which are
left for W. The shorter the V, the fewer passes are held: about p/2 microbatches, or p/3, where 1F1B holds p. The price
is a bubble of half, or two thirds, of 1F1B's. Both are drawn for F = I = W.
"""

from collections import deque
from collections.abc import Callable, Sequence

from sim.schedules.action import Action, Kind, Schedule, back_and_forth, check_chunks

_PERIOD = 6


def v_half(num_ranks: int, num_chunks: int, num_microbatches: int) -> Schedule:
    """At most (p+2)//2 microbatches at once, bubble about 3p chunk passes [Qi et al. 2024, section 3].

    Raises InputError where num_chunks is not 2.
    """
    check_chunks("v-half", 2, num_chunks)
    return _schedule(_half_pattern, (num_ranks + 2) // 2, num_ranks, num_microbatches)


def v_min(num_ranks: int, num_chunks: int, num_microbatches: int) -> Schedule:
    """At most (p+4)//3 microbatches at once, bubble about 4p chunk passes [Qi et al. 2024, section 3].

    Raises InputError where num_chunks is not 2.
    """
    check_chunks("v-min", 2, num_chunks)
    return _schedule(_min_pattern, (num_ranks + 4) // 3, num_ranks, num_microbatches)


_Pattern = Callable[[int, int], tuple[int, int, int, int]]
"""(rank, num_ranks) -> when the first microbatch's F, F, I, I of that rank start."""


def _half_pattern(rank: int, num_ranks: int) -> tuple[int, int, int, int]:
    """Down two units a rank, up one. The gap keeps the four on different units of the period."""
    gap = 0 if num_ranks % 2 else 3
    up = 3 * num_ranks - rank - 2
    return 2 * rank, up, 3 * num_ranks + gap + 2 * rank - 1, up + 3 * num_ranks + gap


def _min_pattern(rank: int, num_ranks: int) -> tuple[int, int, int, int]:
    """One unit a rank down and up."""
    gap = 0 if num_ranks % 3 else 2
    up = 2 * num_ranks - rank - 1
    return rank, up, 2 * num_ranks + gap + rank, up + 2 * num_ranks + gap


def _schedule(pattern: _Pattern, most: int, num_ranks: int, num_microbatches: int) -> Schedule:
    homes = back_and_forth(num_ranks)
    orders = [_order(rank, num_ranks, pattern(rank, num_ranks), num_microbatches) for rank in range(num_ranks)]
    return Schedule(_with_weights(orders, homes, 2 * most), homes)


def _order(rank: int, num_ranks: int, starts: Sequence[int], num_microbatches: int) -> list[Action]:
    """The forwards and input gradients of a rank in the order of the pattern."""
    near, far = rank, 2 * num_ranks - 1 - rank
    kinds: tuple[tuple[Kind, int], ...] = (("F", near), ("F", far), ("I", far), ("I", near))
    slots = [
        (start + _PERIOD * microbatch, Action(kind, stage, microbatch))
        for start, (kind, stage) in zip(starts, kinds, strict=True)
        for microbatch in range(num_microbatches)
    ]
    return [action for _, action in sorted(slots)]


def _with_weights(
    orders: Sequence[Sequence[Action]], homes: Sequence[int], most: int
) -> tuple[tuple[Action, ...], ...]:
    """Play the orders in units of time; a rank that waits, or holds `most` passes and should do another F, does a W.

    Never stuck: in the pattern itself, whose order this is, no rank holds more than `most`.
    """
    play = _Play(orders, homes, most)
    while play.step():
        pass
    return tuple(map(tuple, play.rows))


class _Play:
    """The state of one play: what each rank has done, the weight gradients due, and the passes held."""

    def __init__(self, orders: Sequence[Sequence[Action]], homes: Sequence[int], most: int) -> None:
        self.waiting = [deque(order) for order in orders]
        self.due: list[deque[Action]] = [deque() for _ in orders]
        self.held = [0] * len(orders)
        self.rows: list[list[Action]] = [[] for _ in orders]
        self.done: set[Action] = set()
        self.last_stage = len(homes) - 1
        self.most = most

    def step(self) -> bool:
        """One unit of time on every rank; whether anything was done."""
        chosen = [(rank, action) for rank in range(len(self.rows)) if (action := self._choose(rank))]
        for rank, action in chosen:
            self._do(rank, action)
        return bool(chosen)

    def _choose(self, rank: int) -> Action | None:
        waiting, due = self.waiting[rank], self.due[rank]
        if waiting and self._is_ready(waiting[0]) and not (waiting[0].kind == "F" and self.held[rank] == self.most):
            return waiting.popleft()
        return due.popleft() if due else None

    def _is_ready(self, action: Action) -> bool:
        kind, stage, microbatch = action
        if kind == "F":
            return stage == 0 or Action("F", stage - 1, microbatch) in self.done
        after = Action("F", stage, microbatch) if stage == self.last_stage else Action("I", stage + 1, microbatch)
        return after in self.done

    def _do(self, rank: int, action: Action) -> None:
        self.rows[rank].append(action)
        self.done.add(action)
        self.held[rank] += (action.kind == "F") - (action.kind == "W")
        if action.kind == "I":
            self.due[rank].append(action._replace(kind="W"))
