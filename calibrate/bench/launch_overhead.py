"""What it costs to start a kernel: on the device, and on the processor that launches it.

Where the processor takes longer to launch than the GPU to run, the GPU waits: small models in eager mode are bound by
it. A CUDA graph launches many kernels by one call.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import torch
from torch import Tensor

from calibrate.bench.on_gpu import captured
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
    return _counting(ranks)


def _eager(ranks: Ranks) -> Run:
    return _counting(ranks)._replace(regime="host")


def _replayed(ranks: Ranks) -> Run:
    numbers = _zeros(ranks)
    replay = captured(_counted(numbers, partial(numbers.add_, 1.0)), ranks.device, NUM_REPLAYED)
    assert replay is not None, "adding to a tensor can be captured"
    return _counted(numbers, replay, NUM_REPLAYED)._replace(regime="host", times=NUM_REPLAYED)


def _counting(ranks: Ranks) -> Run:
    numbers = _zeros(ranks)
    return _counted(numbers, partial(numbers.add_, 1.0))


def _zeros(ranks: Ranks) -> Tensor:
    return torch.zeros(NUM_ELEMENTS, device=ranks.device)


def _counted(numbers: Tensor, go: Callable[[], object], times: int = 1) -> Run:
    """Begins at zero to be checked: where fp32 numbers are large, adding one leaves them as they are."""

    def check() -> str:
        numbers.zero_()
        go()
        return "" if bool((numbers == times).all()) else f"what adds one {times} times to zero gave {float(numbers[0])}"

    return Run(go, check)
