"""Work for seconds on end: clocks fall until the GPU draws no more than its power limit, and it warms up.

A mix of arithmetic and bytes says through its sustained seconds what a FLOP and a byte cost in energy: the law "power".
The course of one large product, in slices of some seconds, shows clock, power and temperature settling.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import torch

from calibrate.bench.on_gpu import rested_seconds
from calibrate.bench.point import Point, Ranks, Run
from calibrate.bench.shapes import roofline
from calibrate.bench.tensors import random, wrong_product
from calibrate.bench.timing import SUSTAINED
from calibrate.machines.machine import Machine
from topologies.hardware import Gpu
from topologies.quantity import GIB, MIB

SLICES: Final = "sustained product"
OPERATIONS: Final = ("power", SLICES)
NUM_SLICES: Final = 5
"""Of SUSTAINED seconds each: half a minute."""


class Mix(NamedTuple):
    """A product of m x k by k x n (none where m is 0), then a copy of so many bytes (none where 0)."""

    m: int
    n: int
    k: int
    copied: int

    @property
    def flops(self) -> float:
        return 2.0 * self.m * self.n * self.k

    @property
    def nbytes(self) -> float:
        """Read and written."""
        return 2.0 * (self.m * self.k + self.k * self.n + self.m * self.n) * bool(self.m) + 2.0 * self.copied


COURSE: Final = Mix(8192, 8192, 8192, 0)
MIXES: Final = (
    COURSE,
    Mix(4096, 8192, 8192, int(GIB)),
    Mix(8192, 8192, 1024, int(256 * MIB)),
    Mix(512, 8192, 8192, 0),
    Mix(0, 0, 0, int(GIB)),
)


def points(machine: Machine, gpu: Gpu) -> Iterator[Point]:
    """On GPUs alone: first the course of clocks from cold, then mixes, for `power`."""
    if machine.is_cpu:
        return
    for index in range(NUM_SLICES):
        yield _point(SLICES, machine, gpu, COURSE, {**_product(COURSE), "since": index * SUSTAINED})
    for mix in MIXES:
        yield _point("power", machine, gpu, mix, _work(gpu, mix))


def with_whole_course(left: Sequence[Point], planned: Sequence[Point]) -> list[Point]:
    """The points that are left of a plan, and where any slice of the course is, all of them: it begins with a cold GPU,
    and one that is taken up midway would be cold again."""
    if all(point.operation != SLICES for point in left):
        return list(left)
    wanted = [id(point) for point in left]
    return [point for point in planned if point.operation == SLICES or id(point) in wanted]


def _point(operation: str, machine: Machine, gpu: Gpu, mix: Mix, inputs: Mapping[str, float]) -> Point:
    seconds = roofline(gpu, mix.flops, mix.nbytes, efficiency=gpu.fit["gemm_efficiency"])
    return Point(
        operation=operation, part=machine.part, inputs=inputs, prepare=partial(_mixed, mix, operation),
        seconds=seconds, budget="default",
    )  # fmt: skip


def _product(mix: Mix) -> Mapping[str, float]:
    return {"m": mix.m, "n": mix.n, "k": mix.k}


def _work(gpu: Gpu, mix: Mix) -> Mapping[str, float]:
    """Inputs of the law but `alone`, which the run finds: arithmetic at the peak, bytes at the bandwidth."""
    return {"math": mix.flops / gpu.peak_flops["bf16"], "memory": mix.nbytes / gpu.memory_bandwidth, "link": 0.0}


def _mixed(mix: Mix, operation: str, ranks: Ranks) -> Run:
    left, right = random(mix.m, mix.k, device=ranks.device), random(mix.k, mix.n, device=ranks.device, seed=1)
    source = random(mix.copied // 2, device=ranks.device, seed=2)
    made, target = torch.empty(mix.m, mix.n, device=ranks.device, dtype=left.dtype), torch.empty_like(source)

    def go() -> None:
        if mix.m:
            torch.mm(left, right, out=made)
        if mix.copied:
            target.copy_(source)

    def check() -> str:
        wrong = wrong_product(made, left, right) if mix.m else ""
        return wrong or ("" if torch.equal(target, source) else "the copy is not what was copied")

    run = Run(go, check, regime="sustained")
    return run._replace(found={"alone": rested_seconds(run, ranks.device)}) if operation == "power" else run
