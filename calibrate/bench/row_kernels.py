"""Kernels of a layer that are no mere streams to a processor: each by the very function that the sharded blocks run.

Eager PyTorch takes several operations for most, and a processor as long for an exponential as for many bytes. The law
"memory bound" has a rate of each `kind`, for the bytes that the layers count of it.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product, zip_longest
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from calibrate.bench.point import Point, Ranks, Run
from calibrate.bench.shapes import Candidate, roofline, spread_out
from calibrate.bench.tensors import NUM_ROWS, difference, random, some
from calibrate.machines.machine import Machine
from calibrate.sharded import compression, kernels
from calibrate.verification.predicted import CORRECTED, DEQUANTISED, QUANTISED
from sim.costs.memory_bound import ROW_NBYTES
from sim.costs.memory_bound.kernels import NBYTES
from sim.costs.processor import KINDS, WIDER, Kind
from topologies.hardware import Gpu

ROWS: Final = (128, 256, 512, 1024)
WIDTHS: Final = (256, 512, 1024, 2048)
COUNTS: Final = (5, 10, 20)
"""Points of each kind by the end of a quick, a default and a full run."""
SLOWER: Final = 10.0
"""Than a stream of as many bytes, about: for plans only."""
HEAD_DIM: Final = 64
SCALE: Final = 4
"""Bytes of a scale, before the numbers of its block."""
LOGIT: Final = 2
"""Bytes, as a layer counts them."""

Inputs = tuple[Tensor, ...]
Function = Callable[..., Tensor]


class RowKernel(NamedTuple):
    """Bytes of each of rows x width numbers as layers count them; what makes the inputs, what runs, and what gives the
    same of double precision where that does not."""

    nbytes: float
    inputs: Callable[[int, int, Ranks], Inputs]
    function: Function
    exact: Function | None = None
    is_backward: bool = False


def points(machine: Machine, gpu: Gpu) -> Iterator[Point]:
    """All kinds in turn, on a processor alone."""
    if not machine.is_cpu:
        return
    for row in zip_longest(*(_of_kind(machine, gpu, kind) for kind in KERNELS)):
        yield from (one for one in row if one is not None)


def _of_kind(machine: Machine, gpu: Gpu, kind: Kind) -> Iterator[Point]:
    kernel = KERNELS[kind]
    candidates = [_candidate(gpu, kernel, *sizes) for sizes in product(ROWS, WIDTHS)]
    for (rows, width), seconds, budget in spread_out(candidates, machine, gpu, COUNTS):
        nbytes = WIDER * kernel.nbytes * rows * width
        yield Point(
            operation="memory bound", part=machine.part,
            inputs={"kind": KINDS.index(kind), "rows": rows, "width": width, "nbytes": nbytes},
            prepare=partial(prepare, kernel, rows, width), seconds=seconds, budget=budget,
        )  # fmt: skip


def prepare(kernel: RowKernel, rows: int, width: int, ranks: Ranks) -> Run:
    """The kernel at a size; its result is compared with the same function's of double precision."""
    inputs = kernel.inputs(rows, width, ranks)
    go = _run(kernel, inputs)

    def check() -> str:
        precise = tuple(x.detach().double() if x.is_floating_point() else x for x in inputs)
        exact = _run(kernel._replace(function=kernel.exact or kernel.function), precise)()
        chosen = some(len(exact), NUM_ROWS)
        return difference(go().detach()[chosen].flatten(1), exact.detach()[chosen].flatten(1), chosen)

    return Run(go, check)


def _run(kernel: RowKernel, inputs: Inputs) -> Callable[[], Tensor]:
    """Forward, or backward alone: the gradient of the first input, and that of all others with it."""
    if not kernel.is_backward:
        return partial(kernel.function, *inputs)
    leaves = [x.detach().requires_grad_() for x in inputs if x.is_floating_point()]
    made = kernel.function(*leaves, *inputs[len(leaves) :])
    above = random(*made.shape, device=made.device, seed=9).to(made.dtype)
    return lambda: torch.autograd.grad(made, leaves, above, retain_graph=True)[0]


def _candidate(gpu: Gpu, kernel: RowKernel, rows: int, width: int) -> Candidate:
    nbytes = WIDER * kernel.nbytes * rows * width
    return Candidate((rows, width), roofline(gpu, 0.0, SLOWER * nbytes, efficiency=1.0), nbytes)


def _normed(rows: int, width: int, ranks: Ranks) -> Inputs:
    return random(rows, width, device=ranks.device), random(width, device=ranks.device, seed=1)


def _gated(rows: int, width: int, ranks: Ranks) -> Inputs:
    return (random(rows, 2 * width, device=ranks.device),)


def _heads(rows: int, width: int, ranks: Ranks) -> Inputs:
    return (random(1, rows, width // HEAD_DIM, HEAD_DIM, device=ranks.device),)


def _looked_up(rows: int, width: int, ranks: Ranks) -> Inputs:
    generator = torch.Generator(ranks.device).manual_seed(rows)
    return random(rows, width, device=ranks.device), torch.randperm(rows, generator=generator, device=ranks.device)


def _logits(rows: int, width: int, ranks: Ranks) -> Inputs:
    generator = torch.Generator(ranks.device).manual_seed(rows)
    return (
        random(rows, width, device=ranks.device),
        torch.randint(width, (rows,), generator=generator, device=ranks.device),
    )


def _values(rows: int, width: int, ranks: Ranks) -> Inputs:
    return (random(rows, width, device=ranks.device),)


def _packed(rows: int, width: int, ranks: Ranks) -> Inputs:
    return (compression.quantised(random(rows * width, device=ranks.device)),)


def _rotated(x: Tensor) -> Tensor:
    return kernels.rotated(x)[0]


def _loss(logits: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(logits, targets)[None, None]


def _rounded(values: Tensor) -> Tensor:
    """What rounding leaves out, of each block."""
    return compression.rounded(values.flatten(), 0.0)[1].view(-1, compression.VALUES)


def _rounded_exactly(values: Tensor) -> Tensor:
    blocks = values.view(-1, compression.VALUES)
    scales = blocks.abs().amax(1, keepdim=True) / compression.LARGEST
    return blocks - (blocks / scales).round() * scales


def _restored(packed: Tensor) -> Tensor:
    return compression.dequantised(packed).view(len(packed), -1)


def _restored_exactly(packed: Tensor) -> Tensor:
    scales = packed[:, :SCALE].contiguous().view(torch.float32)
    return packed[:, SCALE:].view(torch.int8).double() * scales.double()


KERNELS: Final[Mapping[Kind, RowKernel]] = {
    "norm": RowKernel(NBYTES["norm forward"], _normed, kernels.rms_norm),
    "gated activation": RowKernel(NBYTES["swiglu forward"], _gated, kernels.swiglu),
    "rotary": RowKernel(NBYTES["rotary"], _heads, _rotated),
    "lookup": RowKernel(ROW_NBYTES["lookup"], _looked_up, lambda table, index: table.index_select(0, index)),
    "norm backward": RowKernel(NBYTES["norm backward"], _normed, kernels.rms_norm, is_backward=True),
    "gated activation backward": RowKernel(NBYTES["swiglu backward"], _gated, kernels.swiglu, is_backward=True),
    "loss": RowKernel(8 * LOGIT, _logits, _loss),
    "loss backward": RowKernel(2 * LOGIT, _logits, _loss, is_backward=True),
    "quantise": RowKernel((CORRECTED + QUANTISED) / WIDER, _values, _rounded, _rounded_exactly),
    "dequantise": RowKernel(DEQUANTISED / WIDER, _packed, _restored, _restored_exactly),
}
