"""A kernel beside an all-reduce: how much slower it is where communication holds SMs and moves bytes through the HBM.

All-reduces run without a gap on NCCL's own stream: for each repetition more are started than it lasts, half of them
before it begins; those left are waited for before the next. Only the kernel's stream is timed. How long either takes
alone, the law "sharing" is told as an input.
"""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Final, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from calibrate.bench.groups import groups
from calibrate.bench.point import Point, Ranks, Run
from calibrate.bench.shapes import roofline
from calibrate.bench.tensors import random, wrong_product
from calibrate.bench.timing import agreed, time_alone, time_together
from calibrate.machines.machine import Machine, cluster_of
from calibrate.running.asked import Budget
from sim.costs.collectives import all_reduce
from sim.costs.sharing import Hold, hold, product, streaming
from sim.instructions import Load
from topologies.hardware import Cluster, Gpu
from topologies.quantity import GIB, MIB, MILLISECOND

PRODUCTS: Final[tuple[tuple[int, int, int], ...]] = ((8192, 8192, 8192), (4096, 4096, 4096), (2048, 8192, 4096))
COPIED: Final = int(GIB)
SENT: Final = (int(256 * MIB), int(32 * MIB))
LONGEST_SLOWDOWN: Final = 2.0
"""Kernels beside communication have been seen 40 % slower; so a repetition has all-reduces for longer."""
LEAST: Final = 5 * MILLISECOND
"""Of a repetition, in which the second half of the all-reduces can be started while the first half runs."""
ELEMENT: Final = 2


class Kernel(NamedTuple):
    """What runs beside, what checks its result, and its load by the seconds that it takes alone."""

    go: Callable[[], object]
    check: Callable[[], str]
    load: Callable[[float], Load]


class Shape(NamedTuple):
    """A product of m x k and k x n; with no k, a copy of m rows of n."""

    m: int
    n: int
    k: int


def points(machine: Machine, gpu: Gpu) -> Iterator[Point]:
    """Products and a copy beside all-reduces of the first node; nothing where there is no second GPU."""
    if machine.is_cpu or machine.gpus_per_node < 2:
        return
    cluster = cluster_of(machine, {})
    shapes = [Shape(*PRODUCTS[0]), Shape(COPIED // ELEMENT // PRODUCTS[0][1], PRODUCTS[0][1], 0)]
    shapes += [Shape(*sizes) for sizes in PRODUCTS[1:]]
    inside = [group for group in groups(machine) if group.num_nodes == 1][::-1]
    for nbytes in SENT:
        for group in inside:
            for index, shape in enumerate(shapes):
                budget: Budget = "quick" if index < 2 and group is inside[0] else "default"
                yield _point(gpu, cluster, shape, group.members, nbytes, budget)


def _point(gpu: Gpu, cluster: Cluster, shape: Shape, members: tuple[int, ...], nbytes: int, budget: Budget) -> Point:
    inputs = {"m": shape.m, "n": shape.n, "k": shape.k, "sent_nbytes": nbytes, "num_gpus": len(members)}
    flops, moved = 2.0 * shape.m * shape.n * shape.k, 2.0 * ELEMENT * shape.m * shape.n
    return Point(
        operation="sharing",
        part=gpu.name,
        inputs={name: float(value) for name, value in inputs.items()},
        members=members,
        prepare=partial(_prepare, gpu, cluster, shape, nbytes, members),
        seconds=roofline(gpu, flops, moved, efficiency=gpu.fit["gemm_efficiency"]),
        budget=budget,
    )


def _prepare(gpu: Gpu, cluster: Cluster, shape: Shape, nbytes: int, members: tuple[int, ...], ranks: Ranks) -> Run:
    """The tensors of both; how many of each run together is known once each was timed alone."""
    kernel = _product(gpu, shape, ranks) if shape.k else _copy(gpu, shape, ranks)
    sent = random(nbytes // ELEMENT, device=ranks.device)
    return Run(kernel.go, kernel.check, trial=partial(_tried, gpu, cluster, kernel, sent, members, ranks))


def _tried(gpu: Gpu, cluster: Cluster, kernel: Kernel, sent: Tensor, members: tuple[int, ...], ranks: Ranks) -> Run:
    """Time both alone, on all members at once; then make the repetition that runs them together."""
    seconds = time_alone(Run(kernel.go, str), ranks).seconds
    alone = agreed(seconds, ranks, dist.ReduceOp.MAX)
    sending = time_together(Run(partial(dist.all_reduce, sent, group=ranks.group), str), ranks).seconds
    times, starts = counts(alone, sending)
    held = hold(gpu, all_reduce(cluster, members, float(ELEMENT * sent.numel())), sending)
    start = partial(dist.all_reduce, sent, group=ranks.group, async_op=True)
    return beside(kernel, times, partial(_start, start, ranks.device), starts, ranks.device)._replace(
        found=found(alone, kernel.load(alone), held)
    )


def beside(kernel: Kernel, times: int, start: Callable[[int], object], starts: int, device: torch.device) -> Run:
    """So many kernels beside so many all-reduces, half of which are under way when the first kernel begins."""

    def before() -> None:
        torch.cuda.synchronize(device)  # what is left of the last repetition's
        start(starts - starts // 2)

    def check() -> str:
        torch.cuda.synchronize(device)
        return kernel.check()

    return Run(partial(_both, kernel.go, times, start, starts // 2), check, times=times, before=before)


def counts(alone: float, sending: float) -> tuple[int, int]:
    """How many kernels a repetition has, and how many all-reduces, which outlast them."""
    times = max(1, math.ceil(LEAST / alone))
    return times, max(1, math.ceil(LONGEST_SLOWDOWN * times * alone / sending))


def found(alone: float, load: Load, held: Hold) -> dict[str, float]:
    """The inputs of the law."""
    return {
        "alone": alone,
        "num_blocks": float(load.num_blocks),
        "sms": load.sms,
        "memory": load.memory,
        "num_sms_held": float(held.num_sms),
        "wire_bandwidth": held.bandwidth,
    }


def _both(go: Callable[[], object], times: int, start: Callable[[int], object], starts: int) -> None:
    """The kernels; while they run, the all-reduces that follow those under way are started.

    They wait for no kernel, so what a graph captured of this would lack them: nobody may capture it.
    """
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError("runs on two streams that do not wait for each other")
    for _ in range(times):
        go()
    start(starts)


def _start(start: Callable[[], object], device: torch.device, times: int) -> None:
    """So many all-reduces, that wait for nothing but each other."""
    with torch.cuda.stream(_side(device)):
        for _ in range(times):
            start()


@lru_cache
def _side(device: torch.device) -> torch.cuda.Stream:
    """NCCL's stream waits for the one that a collective is called on: for this one, which has nothing to do."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _product(gpu: Gpu, shape: Shape, ranks: Ranks) -> Kernel:
    left = random(shape.m, shape.k, device=ranks.device)
    right = random(shape.k, shape.n, device=ranks.device, seed=1)
    out = torch.empty(shape.m, shape.n, dtype=left.dtype, device=ranks.device)
    return Kernel(
        go=partial(torch.mm, left, right, out=out),
        check=lambda: wrong_product(out, left, right),
        load=lambda seconds: product(gpu, seconds, *shape, "bf16"),
    )


def _copy(gpu: Gpu, shape: Shape, ranks: Ranks) -> Kernel:
    source = random(shape.m, shape.n, device=ranks.device)
    target = torch.empty_like(source)
    return Kernel(
        go=partial(target.copy_, source),
        check=lambda: _wrong_copy(target, source),
        load=lambda _: streaming(gpu),
    )


def _wrong_copy(target: Tensor, source: Tensor) -> str:
    return "" if torch.equal(target, source) else "the copy is not what was copied"
