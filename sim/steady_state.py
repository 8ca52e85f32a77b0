"""Skipping what repeats: where all relative clocks are again as one period ago, the future is the past, moved on.

A marker is set at equal steps of one stream. If between two markers every stream has moved by whole periods of its own
list, waits for the same, and all clocks read the same relative to now, then each further period repeats the last one,
until some list stops being periodic. Clocks are compared to 1e-12 of the period, so that a leap adds no more than that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.timeline import Repeat
from sim.walker import Walker

PROBES = 16
MAX_CANDIDATES = 128
FAR_LONGER = 2
LONG_ENOUGH = 3
"""Of a run of one part in so many of its list no longer one is looked for."""
PARTS = 8
LONG = 4 * PARTS
"""Markers in a period, if it has so many steps or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leap:
    """So many more periods of so many seconds; flags of moving microbatches grow by `flag_shift` in all."""

    times: int
    period: float
    flag_shift: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Steps start..stop of a stream in which step i + length repeats step i for microbatches `shift` keys later."""

    start: int
    stop: int
    length: int
    shift: int

    @property
    def num_steps(self) -> int:
        return self.stop - self.start

    @property
    def stride(self) -> int:
        """Steps from marker to marker: a period, or a part of a long one (a group of microbatches through all chunks).
        A step has few of those, and as soon as two equal ones are over, wherever they begin, this should be known."""
        return self.length // PARTS if self.length % PARTS == 0 and self.length >= LONG else self.length

    @property
    def first_patience(self) -> int:
        """Periods for which the first state is kept; see `SteadyState.at_marker`."""
        return 2 if self.stride == self.length else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    now: float
    lap: float
    positions: list[int]
    num_rows: list[int]
    states: list[tuple[int, int, bool]]
    clocks: NDArray[np.float64]
    wires: NDArray[np.float64]
    flags: frozenset[int]


@dataclass(slots=True)
class _Kept:
    """What the run is compared with at one place of its period, for `patience` markers."""

    snapshot: _Snapshot
    patience: int
    age: int = 0


class SteadyState:
    """Watches one run for periods that repeat."""

    def __init__(self, walkers: Sequence[Walker]) -> None:
        self._walkers = walkers
        self._lists: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        self._reference = max(reversed(walkers), key=lambda walker: len(walker.blocks), default=None)
        self._runs = [] if self._reference is None else _find_runs(*self._list(self._reference))
        self._kept: dict[int, _Kept] = {}
        self._last_marker = 0.0
        self._set_marker(1)

    def at_marker(self, now: float, flags: Iterable[int], wires: list[tuple[float, float, float]]) -> Leap | None:
        """Compare the run with itself some markers ago; move all streams on where it repeats.

        What it is compared with is kept for 1, 2, 4, ... markers at this place of the period, so that a period of any
        number of markers is found [Brent 1980]. Two states can be the same only if the reference took as long to come
        to each.
        """
        assert self._reference is not None
        run = self._run_at(self._reference.position)
        assert run is not None
        place = (self._reference.position - run.start) % run.length
        lap, self._last_marker = now - self._last_marker, now
        kept, leap = self._kept.get(place), None
        if kept is not None and abs(lap - kept.snapshot.lap) <= _tolerance(lap, now):
            leap = self._leap(kept.snapshot, self._take(now, lap, flags, wires), run)
        if leap is not None:
            self._kept = {}
        elif kept is None or kept.age + 1 == kept.patience:
            patience = 2 * kept.patience if kept else run.first_patience
            self._kept[place] = _Kept(self._take(now, lap, flags, wires), patience)
        else:
            kept.age += 1
        self._set_marker(self._reference.position + 1)
        return leap

    def _set_marker(self, from_position: int) -> None:
        """The next step of the reference at which a period may end."""
        if self._reference is None:
            return
        for run in self._runs:
            strides = max(0, -(-(from_position - run.start) // run.stride))
            marker = run.start + strides * run.stride
            if marker < run.stop:
                self._reference.marker = marker
                return
        self._reference.marker = -1

    def _run_at(self, position: int) -> _Run | None:
        return next((run for run in self._runs if run.start <= position < run.stop), None)

    def _take(self, now: float, lap: float, flags: Iterable[int], wires: list[tuple[float, float, float]]) -> _Snapshot:
        return _Snapshot(
            now=now,
            lap=lap,
            positions=[walker.position for walker in self._walkers],
            num_rows=[len(walker.rows) for walker in self._walkers],
            states=[(walker.pointer, walker.wire_label, walker.waits_for is None) for walker in self._walkers],
            clocks=np.array([_clocks(walker, now) for walker in self._walkers]),
            wires=np.array(wires).reshape(-1, 3),
            flags=frozenset(flags),
        )

    def _leap(self, before: _Snapshot, after: _Snapshot, run: _Run) -> Leap | None:
        period = after.now - before.now
        moved = [end - start for start, end in zip(before.positions, after.positions, strict=True)]
        reference = self._walkers.index(self._reference) if self._reference else 0
        shift = moved[reference] // run.length * run.shift
        if moved[reference] % run.length or not _repeats(before, after, moved, shift, period):
            return None
        times = min(
            self._times(walker, steps, shift) for walker, steps in zip(self._walkers, moved, strict=True) if steps
        )
        if times < 1:
            return None
        for index, (walker, steps) in enumerate(zip(self._walkers, moved, strict=True)):
            if steps:
                walker.repeats.append(Repeat(before.num_rows[index], after.num_rows[index], times, period, steps))
                walker.position += times * steps
                walker.key += times * shift
                if walker.waits_for is not None:
                    walker.waits_for += times * shift
            else:  # it has been waiting since before: the leap moves only now away from then
                walker.since -= times * period
                walker.wire_since -= times * period
        return Leap(times=times, period=period, flag_shift=times * shift)

    def _times(self, walker: Walker, steps: int, shift: int) -> int:
        """How many more whole periods the walker's list goes on as in the last one."""
        if walker.finished:
            return 0
        blocks, keys = self._list(walker)
        first = walker.position - steps
        if first < 0:
            return 0
        same = (blocks[first + steps :] == blocks[first : len(blocks) - steps]) & (
            keys[first + steps :] == keys[first : len(keys) - steps] + shift
        )
        repeated = int(np.argmin(same)) if not same.all() else len(same)
        return (repeated - 1) // steps

    def _list(self, walker: Walker) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The walker's blocks and keys as numbers."""
        found = self._lists.get(walker.index)
        if found is None:
            blocks = np.fromiter(map(id, walker.blocks), dtype=np.int64, count=len(walker.blocks))
            found = self._lists[walker.index] = (blocks, np.array(walker.keys, dtype=np.int64))
        return found


def _tolerance(period: float, now: float) -> float:
    """What rounding may do to a clock: a leap of some hundred periods then stays below 1e-9 of the step."""
    return 1e-12 * period + 4e-16 * now


def _clocks(walker: Walker, now: float) -> tuple[float, float, float, float]:
    """What a walker's future depends on: when its kernel ends (at the speed that it has, so how much work remains) or
    since when it waits, and its last bytes on a wire."""
    computing = max(0.0, walker.until - now)
    return (
        computing,
        0.0 if computing else now - walker.since,
        now - walker.wire_since if walker.wire_label >= 0 else 0.0,
        walker.speed if computing else 0.0,
    )


def _repeats(before: _Snapshot, after: _Snapshot, moved: list[int], shift: int, period: float) -> bool:
    if before.states != after.states or before.wires.shape != after.wires.shape:
        return False
    if {flag + shift for flag in before.flags} != after.flags:
        return False
    active = np.array(moved) > 0
    tolerance = _tolerance(period, after.now)
    in_one_kernel = after.clocks[~active, 0].any()
    earlier, later = (_recent(each.clocks[active], period) for each in (before, after))
    return not in_one_kernel and bool(
        np.allclose(earlier, later, rtol=0.0, atol=tolerance)
        and np.allclose(before.wires, after.wires, rtol=1e-12, atol=tolerance)
    )


def _recent(clocks: NDArray[np.float64], period: float) -> NDArray[np.float64]:
    """Since when bytes are on a wire matters only as far back as somebody waits for them: less than a period."""
    clocks = clocks.copy()
    clocks[:, 2] = np.minimum(clocks[:, 2], period)
    return clocks


def _find_runs(blocks: NDArray[np.int64], keys: NDArray[np.int64]) -> list[_Run]:
    """The stretches of a stream's list that repeat themselves at least twice, found from evenly spread probes."""
    runs: list[_Run] = []
    covered = 0
    for probe in range(0, len(blocks), max(1, len(blocks) // PROBES)):
        if probe >= covered:
            run = _run_around(probe, blocks, keys)
            if run is not None:
                runs.append(run)
                covered = run.stop
    return runs


def _run_around(probe: int, blocks: NDArray[np.int64], keys: NDArray[np.int64]) -> _Run | None:
    """The run with the shortest period, but for one that is far longer: of an interleaved schedule the one of whole
    groups of microbatches, not of one chunk of a group, which each rank leaves at another time."""
    longest: _Run | None = None
    for candidate in np.flatnonzero(blocks[probe + 1 :] == blocks[probe])[:MAX_CANDIDATES]:
        run = _run_of(int(candidate) + 1, probe, blocks, keys)
        if run is not None and (longest is None or run.num_steps >= FAR_LONGER * longest.num_steps):
            longest = run
        if longest is not None and LONG_ENOUGH * longest.num_steps >= len(blocks):
            break
    return longest


def _run_of(length: int, probe: int, blocks: NDArray[np.int64], keys: NDArray[np.int64]) -> _Run | None:
    """The run of a period around the probe, if it repeats from there three times."""
    shift, last = int(keys[probe + length] - keys[probe]), probe + 3 * length
    if shift <= 0 or last >= len(keys) or keys[last] != keys[probe] + 3 * shift:
        return None
    same = (blocks[length:] == blocks[:-length]) & (keys[length:] == keys[:-length] + shift)
    breaks = np.flatnonzero(~same)
    after = int(breaks[breaks > probe][0]) if (breaks > probe).any() else len(same)
    start = int(breaks[breaks < probe][-1]) + 1 if (breaks < probe).any() else 0
    if after - probe < 3 * length:
        return None
    return _Run(start=start, stop=after + length, length=length, shift=shift)
