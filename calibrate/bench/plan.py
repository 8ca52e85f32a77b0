"""What is measured, in order: all families in turn, each from coarse to fine, so that any part of a run is useful.

The list is the same on every rank of a machine: nothing in it is random, and nothing is timed to make it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import Final

from calibrate.bench import (
    attention,
    beside,
    collectives,
    gemm,
    grouped,
    launch_overhead,
    memory_bound,
    row_kernels,
    sustained,
)
from calibrate.bench.on_gpu import PREHEAT
from calibrate.bench.point import Point
from calibrate.bench.shapes import BUDGETS
from calibrate.bench.timing import LONGEST_ON_GPU, LONGEST_ON_PROCESSOR, SUSTAINED
from calibrate.machines.machine import Machine
from calibrate.running.asked import Budget
from topologies.hardware import Gpu
from topologies.quantity import MILLISECOND

Family = Callable[[Machine, Gpu], Iterator[Point]]
FAMILIES: Final[tuple[Family, ...]] = (
    collectives.points,
    gemm.points,
    attention.points,
    memory_bound.points,
    row_kernels.points,
    launch_overhead.points,
    grouped.points,
    beside.points,
)

OVERHEAD: Final = 15 * MILLISECOND
"""Of a point, beside what it runs: its tensors, agreeing with the other ranks."""
USUAL: Final = 0.5
"""Part of the longest sampling that points take, about."""
REPETITIONS: Final = 8
"""Of slow operations: warming up, as few samples as can be, the check."""


def points(machine: Machine, gpu: Gpu, budget: Budget, *, only: str = "") -> list[Point]:
    """Those of a run so thorough, of operations whose names begin with `only`.

    Coarse ones of all operations come first; what needs the GPU to be warm for seconds follows the coarse ones.
    """
    every = [one for family in FAMILIES for one in family(machine, gpu)]
    wanted = [one for one in every if one.operation.startswith(only)]
    made: list[Point] = []
    for level in BUDGETS[: BUDGETS.index(budget) + 1]:
        made += in_turn([one for one in wanted if one.budget == level])
        if level == "quick":
            made += [
                one for one in sustained.points(machine, gpu) if _is_in(one, budget) and one.operation.startswith(only)
            ]
    return made


def in_turn(wanted: Iterable[Point]) -> list[Point]:
    """One of each operation, then the next of each, as each operation has them in order."""
    by_operation: dict[str, list[Point]] = {}
    for one in wanted:
        by_operation.setdefault(one.operation, []).append(one)
    return [one for row in zip_longest(*by_operation.values()) for one in row if one is not None]


def expected_seconds(machine: Machine, wanted: Iterable[Point]) -> Mapping[str, float]:
    """About how long the points of each operation take, in the order in which they are first met."""
    total: dict[str, float] = {}
    for one in wanted:
        total[one.operation] = total.get(one.operation, 0.0) + _seconds_of(one, machine)
    return total


def _seconds_of(point: Point, machine: Machine) -> float:
    """Of a point: making its tensors, warming up, samples, the check of what came out."""
    if point.operation in sustained.OPERATIONS:
        return SUSTAINED + OVERHEAD
    longest, preheat = (LONGEST_ON_PROCESSOR, 0.0) if machine.is_cpu else (LONGEST_ON_GPU, PREHEAT)
    return OVERHEAD + preheat + max(USUAL * longest, REPETITIONS * point.seconds)


def _is_in(one: Point, budget: Budget) -> bool:
    return BUDGETS.index(one.budget) <= BUDGETS.index(budget)
