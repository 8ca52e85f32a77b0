"""Who gets the next request: a router deals requests to replicas, knowing of answers only some time after them.

It knows at once what it has sent itself, as vLLM's load balancer does between two reports of its engines [vLLM 0.19,
v1/engine/core_client.py: DPLBAsyncMPClient.get_core_engine_for_request]; what was answered it hears `delay` later.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Final

from sim import deployment
from sim.requests import Names

MOST_AHEAD: Final = 32
MOST_TIMES: Final = 1.1
"""A replica that knows a prompt's beginning is passed over where it has so many requests more, and so many times as
many, as the least loaded."""

MOST_OUTDATED: Final = 8
"""Ranks of each target that are kept; fewer are put in order more often."""


@dataclass(slots=True, eq=False)
class Router:
    """The state of one run. `known` requests under way at each target; `turn`: how many were dealt so far."""

    num_targets: int
    delay: float
    known: list[int] = field(init=False)
    turn: int = field(init=False, default=0)
    _answers: deque[tuple[float, int]] = field(init=False, default_factory=deque)
    _least: list[tuple[int, int, int]] = field(init=False)
    _last_turn: list[int] = field(init=False)
    _seen: dict[int, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.known = [0] * self.num_targets
        self._last_turn = [target - self.num_targets for target in range(self.num_targets)]
        self._least = [(0, turn, target) for target, turn in enumerate(self._last_turn)]
        heapify(self._least)

    def send(self, target: int) -> None:
        """The next request goes there."""
        self.known[target] += 1
        self._last_turn[target] = self.turn
        self.turn += 1
        self._rank(target)

    def answered(self, target: int, now: float) -> None:
        """A request was answered there, which is heard of later."""
        self._answers.append((now + self.delay, target))

    def hear(self, now: float) -> None:
        """All answers that are known by now."""
        while self._answers and self._answers[0][0] <= now:
            target = self._answers.popleft()[1]
            self.known[target] -= 1
            self._rank(target)

    def _rank(self, target: int) -> None:
        """Its place among all; what was said of it before is outdated, and dropped when there is much of that."""
        heappush(self._least, (self.known[target], self._last_turn[target], target))
        if len(self._least) > MOST_OUTDATED * self.num_targets:
            self._least = list(zip(self.known, self._last_turn, range(self.num_targets), strict=True))
            heapify(self._least)

    def least_loaded(self) -> int:
        """The target with fewest requests, as far as is known; of several the one that has waited longest for one."""
        while True:
            count, turn, target = self._least[0]
            if count == self.known[target] and turn == self._last_turn[target]:
                return target
            heappop(self._least)

    def longest_prefix(self, contents: Names, target_if_none: int) -> int:
        """The least loaded of the targets that were sent the longest beginning of these contents."""
        mask, key = 0, 0
        for content in contents:
            key = hash((key, content))
            narrower = self._seen.get(key, 0) & (mask or -1)
            if not narrower:
                break
            mask = narrower
        return min(_ones(mask), key=self.known.__getitem__, default=target_if_none)

    def remember(self, contents: Names, target: int) -> None:
        """The target has these contents from now on."""
        key = 0
        for content in contents:
            key = hash((key, content))
            self._seen[key] = self._seen.get(key, 0) | 1 << target


def _ones(mask: int) -> Iterator[int]:
    """The places of its ones, lowest first."""
    while mask:
        yield (mask & -mask).bit_length() - 1
        mask &= mask - 1


def _round_robin(router: Router, contents: Names) -> int:
    return router.turn % router.num_targets


def _least_loaded(router: Router, contents: Names) -> int:
    return router.least_loaded()


def _prefix_aware(router: Router, contents: Names) -> int:
    least = router.least_loaded()
    target = router.longest_prefix(contents, least)
    load, lowest = router.known[target], router.known[least]
    if load > lowest + MOST_AHEAD and load > lowest * MOST_TIMES:
        target = least
    router.remember(contents, target)
    return target


ROUTERS: Final[Mapping[deployment.Router, Callable[[Router, Names], int]]] = {
    "round-robin": _round_robin,
    "least-loaded": _least_loaded,
    "prefix-aware": _prefix_aware,
}
"""Each names the next request's target, by the router's state and the request's contents."""
