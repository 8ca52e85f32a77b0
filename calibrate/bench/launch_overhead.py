"""What it costs to start a kernel: on the device, and on the processor that launches it.

Where the processor takes longer to launch than the GPU to run, the GPU waits: small models in eager mode are bound by
it. A CUDA graph launches many kernels by one call.
"""

from collections.abc import Callable, Iterator
from typing import Final

import torch

from calibrate.bench.point import Point, Ranks, Run
from calibrate.machines.machine import Machine
from topologies.hardware import Gpu

NUM_ELEMENTS: Final = 256
NUM_REPLAYED: Final = 100
"""Operations of the graph."""


def points(machine: Machine, gpu: Gpu) -> Iterator[Point]:
    """Kind 0: a kernel that does nearly nothing, back to back; 1: the processor's time for one eager operation; 2: for
    one of a CUDA graph that is replayed."""
    kinds: list[Callable[[Ranks], Run]] = [_kernel, _eager] if machine.is_cpu else [_kernel, _eager, _replayed]
    for kind, prepare in enumerate(kinds):
        yield Point(
            operation="launch",
            part=machine.part,
            inputs={"kind": kind},
            prepare=prepare,
            seconds=gpu.fit["kernel_latency"],
        )


def _kernel(ranks: Ranks) -> Run:
    go, check = _counting(ranks)
    return Run(go, check)


def _eager(ranks: Ranks) -> Run:
    go, check = _counting(ranks)
    return Run(go, check, regime="host")


def _replayed(ranks: Ranks) -> Run:
    from calibrate.bench.timing import captured

    go, check = _counting(ranks)
    replay = captured(Run(go, check), ranks.device, NUM_REPLAYED)
    assert replay is not None, "adding to a tensor can be captured"
    return Run(replay, check, regime="host", times=NUM_REPLAYED)


def _counting(ranks: Ranks) -> tuple[Callable[[], object], Callable[[], str]]:
    numbers = torch.zeros(NUM_ELEMENTS, device=ranks.device)

    def go() -> object:
        return numbers.add_(1.0)

    def check() -> str:
        before = float(numbers[0])
        go()
        return "" if float(numbers[-1]) in (before + 1.0, before) else "the operation did not run once"

    return go, check
