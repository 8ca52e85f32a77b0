"""Kernels that do little arithmetic: sums, activations, norms and lookups of training, and copies.

The law counts the bytes that each tensor takes once (`kind` 0: it streams), from sizes that stay in the L2 to those
that never do. Copies are timed cold, within the memory and from the processor's: they tell a healthy device.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding, rms_norm, silu

from calibrate.bench.point import Point, Ranks, Run
from calibrate.bench.shapes import Candidate, number_nbytes, roofline, spread_out
from calibrate.bench.tensors import NUM_ROWS, difference, random, some, usual_dtype
from calibrate.machines.machine import Machine
from calibrate.running.asked import Budget
from sim.costs import ELEMENT
from sim.costs.memory_bound import ROW_KERNELS, ROW_NBYTES
from sim.costs.memory_bound.kernels import NBYTES
from topologies.hardware import Gpu
from topologies.quantity import GIGA

ROWS: Final = tuple(2**power for power in range(0, 18, 2))
ROWS_ON_PROCESSOR: Final = tuple(2**power for power in range(4, 12))
WIDTHS: Final = (512, 1024, 2048, 4096, 8192, 16384)
WIDTHS_ON_PROCESSOR: Final = (64, 128, 256, 512, 1024, 2048)
VOCAB: Final = 32768
COPIES: Final = tuple(2**power for power in range(12, 33, 2))
HOST_BANDWIDTH: Final = 20 * GIGA
"""Of PCIe, about: for estimates only."""
EPSILON: Final = 1e-5

STREAMS_ON_GPU, LOOKUPS_ON_GPU, COPIES_ON_GPU = (18, 60, 120), (4, 16, 40), (3, 8, 11)
STREAMS_ON_PROCESSOR, COPIES_ON_PROCESSOR = (20, 40, 60), (2, 6, 9)
"""Points by the end of a quick, a default and a full run."""

Kernel = Callable[[Tensor, Tensor], Tensor]


def points(machine: Machine, gpu: Gpu) -> Iterator[Point]:
    """Streams and lookups of the law "memory bound", then copies."""
    yield from _law(machine, gpu, 0, STREAMS_ON_PROCESSOR if machine.is_cpu else STREAMS_ON_GPU)
    if not machine.is_cpu:
        yield from _law(machine, gpu, 1 + ROW_KERNELS.index("lookup"), LOOKUPS_ON_GPU)
    yield from _device_copies(machine, gpu)
    if not machine.is_cpu:
        yield from _host_copies(machine, gpu)


def _law(machine: Machine, gpu: Gpu, kind: int, counts: tuple[int, int, int]) -> Iterator[Point]:
    all_rows, widths = (ROWS_ON_PROCESSOR, WIDTHS_ON_PROCESSOR) if machine.is_cpu else (ROWS, WIDTHS)
    nbytes = {sizes: _nbytes(machine, kind, *sizes) for sizes in product(all_rows, widths)}
    candidates = [Candidate(sizes, roofline(gpu, 0.0, moved, efficiency=1.0), moved) for sizes, moved in nbytes.items()]
    for (rows, width), seconds, budget in spread_out(candidates, machine, gpu, counts):
        prepare = partial(_lookup, VOCAB) if kind else partial(_stream, stream_name(machine, rows, width))
        yield Point(
            operation="memory bound", part=machine.part,
            inputs={"kind": kind, "rows": rows, "width": width, "nbytes": nbytes[rows, width]},
            prepare=partial(prepare, rows, width), seconds=seconds, budget=budget,
        )  # fmt: skip


def _nbytes(machine: Machine, kind: int, rows: int, width: int) -> float:
    """What the kernel moves, as the law counts it."""
    per_element = ROW_NBYTES["lookup"] if kind else STREAMS[stream_name(machine, rows, width)].nbytes
    return rows * width * per_element * number_nbytes(machine) / ELEMENT


def stream_name(machine: Machine, rows: int, width: int) -> str:
    """Sizes take turns, so that each kernel meets small ones and large ones. On a processor the sums alone stream:
    row_kernels.py has what it computes."""
    names = SUMS if machine.is_cpu else tuple(STREAMS)
    return names[(rows.bit_length() + 2 * width.bit_length()) % len(names)]


class Stream(NamedTuple):
    """Bytes per element, the kernel, and its result written out."""

    nbytes: float
    kernel: "Kernel"
    exact: "Kernel"


def _normed(x: Tensor, other: Tensor) -> Tensor:
    return rms_norm(x, (x.shape[-1],), other[0], EPSILON)


def _normed_exactly(x: Tensor, other: Tensor) -> Tensor:
    return x * (x.square().mean(-1, keepdim=True) + EPSILON).rsqrt() * other[0]


STREAMS: Final[Mapping[str, Stream]] = {
    "add": Stream(NBYTES["add"], torch.add, lambda x, other: x + other),
    "norm": Stream(NBYTES["norm forward"], _normed, _normed_exactly),
    "scaled add": Stream(NBYTES["add"], partial(torch.add, alpha=0.5), lambda x, other: x + other / 2),
    "activation": Stream(NBYTES["gelu forward"], lambda x, other: silu(x), lambda x, other: x * x.sigmoid()),
}
SUMS: Final = ("add", "scaled add")


def _stream(name: str, rows: int, width: int, ranks: Ranks) -> Run:
    _, kernel, exact = STREAMS[name]
    x, other = (random(rows, width, device=ranks.device, seed=seed) for seed in (0, 1))

    def check() -> str:
        chosen = some(rows, NUM_ROWS)
        return difference(kernel(x, other)[chosen], _exactly(exact, x, other, chosen), chosen)

    return Run(partial(kernel, x, other), check)


def _exactly(exact: Kernel, x: Tensor, other: Tensor, rows: list[int]) -> Tensor:
    """Rows in double precision; the first of `other` stays where it is, for it may weigh all columns."""
    if exact is _normed_exactly:
        return exact(x[rows].double(), other.double())
    return exact(x[rows].double(), other[rows].double())


def _lookup(vocab: int, rows: int, width: int, ranks: Ranks) -> Run:
    """As vLLM looks tokens up, whose kernel the law's rows are of."""
    table = random(vocab, width, device=ranks.device)
    generator = torch.Generator(ranks.device).manual_seed(rows)
    tokens = torch.randint(vocab, (rows,), device=ranks.device, generator=generator)

    def check() -> str:
        chosen = some(rows, NUM_ROWS)
        return difference(embedding(tokens, table)[chosen], table[tokens[chosen]], chosen)

    return Run(partial(embedding, tokens, table), check)


def _device_copies(machine: Machine, gpu: Gpu) -> Iterator[Point]:
    """`nbytes` are those read and those written."""
    candidates = [Candidate((size,), roofline(gpu, 0.0, 2.0 * size, efficiency=1.0), 2.0 * size) for size in COPIES]
    counts = COPIES_ON_PROCESSOR if machine.is_cpu else COPIES_ON_GPU
    for (size,), seconds, budget in spread_out(candidates, machine, gpu, counts, first=[(max(COPIES[:-3]),)]):
        yield _copy("device copy", machine, {"nbytes": 2 * size}, partial(_copied, size, None), seconds, budget)


def _host_copies(machine: Machine, gpu: Gpu) -> Iterator[Point]:
    """`nbytes` cross once; direction 0 is to the GPU, 1 from it."""
    candidates = [
        Candidate((size, direction), size / HOST_BANDWIDTH + gpu.fit["kernel_latency"], size)
        for size, direction in product(COPIES[:-2], (0, 1))
    ]
    for (size, direction), seconds, budget in spread_out(candidates, machine, gpu, COPIES_ON_GPU):
        inputs = {"nbytes": size, "direction": direction}
        yield _copy("host copy", machine, inputs, partial(_copied, size, direction), seconds, budget)


def _copy(
    operation: str, machine: Machine, inputs: Mapping[str, float], prepare: Callable[[Ranks], Run], seconds: float,
    budget: Budget,
) -> Point:  # fmt: skip
    return Point(operation=operation, part=machine.part, inputs=inputs, prepare=prepare, seconds=seconds, budget=budget)


def _copied(nbytes: int, direction: int | None, ranks: Ranks) -> Run:
    """Between the GPU and pinned memory in a direction, or within the device."""
    source = random(nbytes // usual_dtype(ranks.device).itemsize, device=ranks.device)
    target = torch.empty_like(source)
    if direction == 0:
        source = source.cpu().pin_memory()
    if direction == 1:
        target = target.cpu().pin_memory()

    def check() -> str:
        target.zero_()
        target.copy_(source)
        is_equal = torch.equal(target.to(ranks.device), source.to(ranks.device))  # a GPU compares faster by far
        return "" if is_equal else "the copy is not what was copied"

    return Run(partial(target.copy_, source, non_blocking=True), check, regime="cold" if direction is None else "warm")
