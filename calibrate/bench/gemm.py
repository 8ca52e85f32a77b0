"""Matrix products, with the operands as a linear layer has them: y = x w^T, dx = dy w, dw = dy^T x.

Which operand is transposed decides which kernel runs: the gradients of a layer may be a little slower than its forward.
All are timed warm, as the tables of the law: `in_l2` says what that means. On GPUs in bf16, on processors in fp32.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Final, Literal

import torch
from torch import Tensor

from calibrate.bench.point import Point, Ranks, Run
from calibrate.bench.shapes import Candidate, number_nbytes, roofline, small_weights, spread_out, weights
from calibrate.bench.tensors import random, wrong_product
from calibrate.machines.machine import Machine
from calibrate.verification.sizes import Sizes
from sim.costs.processor import PRECISION
from topologies.hardware import Gpu

Layout = Literal[0, 1, 2]
"""0 is forward, 1 the gradient of the input, 2 that of the weights; m, n, k are always those of forward."""

TOKENS: Final = tuple(2**power for power in range(16))
TOKENS_ON_PROCESSOR: Final = tuple(2**power for power in range(6, 12))
"""It trains small models and serves none."""
SIDES: Final = tuple(2**power for power in range(6, 15))
SIDES_ON_PROCESSOR: Final = tuple(2**power for power in range(6, 12))
FIRST_ON_PROCESSOR: Final = (
    (512, 512, 512),
    (1024, 1024, 1024),
    (512, 2048, 1024),
    (256, 1024, 512),
    (1024, 512, 1024),
)
"""Large ones, for it is these that a step consists of."""
GRADIENT_TOKENS: Final = 32
"""Nobody trains on fewer at a time."""
FP8_MULTIPLE: Final = 16
"""Both n and k of a product in fp8 [cuBLAS: operands aligned to 16 bytes]."""
LARGEST_FP8: Final = 448.0

ON_GPU: Final = {"bf16": (40, 200, 800), "fp16": (2, 4, 4), "fp8": (16, 80, 400), "gradients": (24, 120, 400)}
ON_PROCESSOR: Final = {"fp32": (24, 80, 200), "gradients": (24, 60, 160)}
"""Points by the end of a quick, a default and a full run. Few in fp16: it has no law of its own, but that of bf16."""
DTYPES: Final = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def points(machine: Machine, gpu: Gpu) -> Iterator[Point]:
    """Products in the precisions that people use on the device, and both gradients in the usual one, coarse to fine."""
    if machine.is_cpu:
        yield from _forward(machine, gpu, PRECISION)
    else:
        yield from _forward(machine, gpu, "bf16")
        yield from _forward(machine, gpu, "fp16")
        if "fp8" in gpu.peak_flops:
            yield from _forward(machine, gpu, "fp8")
    yield from _gradients(machine, gpu)


def _forward(machine: Machine, gpu: Gpu, precision: str) -> Iterator[Point]:
    prepare = _fp8 if precision == "fp8" else partial(_product, 0, DTYPES[precision])
    shapes = (shape for shape in _shapes(machine) if precision != "fp8" or not (shape[1] | shape[2]) % FP8_MULTIPLE)
    candidates = [_candidate(machine, gpu, (*shape, 0), precision) for shape in shapes]
    counts = (ON_PROCESSOR if machine.is_cpu else ON_GPU)[precision]
    for (m, n, k, _), seconds, budget in spread_out(candidates, machine, gpu, counts, first=_first(machine, (0,))):
        yield Point(
            operation=f"gemm {precision}", part=machine.part, inputs={"m": m, "n": n, "k": k},
            prepare=partial(prepare, m, n, k), seconds=seconds, budget=budget,
        )  # fmt: skip


def _gradients(machine: Machine, gpu: Gpu) -> Iterator[Point]:
    shapes = [shape for shape in _shapes(machine) if shape[0] >= GRADIENT_TOKENS]
    precision = PRECISION if machine.is_cpu else "bf16"
    candidates = [_candidate(machine, gpu, (*shape, layout), precision) for shape, layout in product(shapes, (1, 2))]
    counts = (ON_PROCESSOR if machine.is_cpu else ON_GPU)["gradients"]
    for (m, n, k, layout), seconds, budget in spread_out(
        candidates, machine, gpu, counts, first=_first(machine, (1, 2))
    ):
        yield Point(
            operation="gemm gradients", part=machine.part, inputs={"m": m, "n": n, "k": k, "layout": layout},
            prepare=partial(_product, 1 if layout == 1 else 2, DTYPES[precision], m, n, k),
            seconds=seconds, budget=budget,
        )  # fmt: skip


def _shapes(machine: Machine) -> Iterator[tuple[int, int, int]]:
    """Tokens with the layers of the grid, of the small model, and on a GPU of the catalogue's models."""
    tokens, sides = (TOKENS_ON_PROCESSOR, SIDES_ON_PROCESSOR) if machine.is_cpu else (TOKENS, SIDES)
    known = () if machine.is_cpu else weights()
    layers = [*product(sides, sides), *known, *small_weights(Sizes())]
    return ((m, n, k) for m, (n, k) in product(tokens, layers))


def _first(machine: Machine, layouts: Sequence[int]) -> list[tuple[int, ...]]:
    """On a processor, products as large as those of the blocks that are verified there."""
    if not machine.is_cpu:
        return []
    return [(*sides, layout) for sides, layout in product(FIRST_ON_PROCESSOR, layouts)]


def _candidate(machine: Machine, gpu: Gpu, sizes: tuple[int, int, int, int], precision: str) -> Candidate:
    m, n, k, _ = sizes
    nbytes = float(number_nbytes(machine) * (m * k + k * n + m * n))
    efficiency = gpu.fit["gemm_efficiency"]
    return Candidate(sizes, roofline(gpu, 2.0 * m * n * k, nbytes, efficiency=efficiency, precision=precision), nbytes)


def _product(layout: Layout, dtype: torch.dtype, m: int, n: int, k: int, ranks: Ranks) -> Run:
    """A product; m, n and k are those of forward."""
    left, right = _operands(layout, m, n, k, partial(random, device=ranks.device, dtype=dtype))
    made = torch.empty(left.shape[0], right.shape[1], device=ranks.device, dtype=dtype)

    def go() -> None:
        torch.mm(left, right, out=made)

    return Run(go, lambda: wrong_product(made, left, right))


def _operands(layout: Layout, m: int, n: int, k: int, make: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    if layout == 0:
        return make(m, k, seed=0), make(n, k, seed=1).t()
    if layout == 1:
        return make(m, n, seed=2), make(n, k, seed=1)
    return make(m, n, seed=2).t(), make(m, k, seed=0)


def _fp8(m: int, n: int, k: int, ranks: Ranks) -> Run:
    """The activation is scaled by its largest number, cast and multiplied; weights were cast when they were loaded."""
    x, w = random(m, k, device=ranks.device), random(n, k, device=ranks.device, seed=1)
    weight, weight_scale = quantised(w)
    made: list[Tensor] = []

    def go() -> None:
        activation, scale = quantised(x)
        made[:] = [_multiplied(activation, weight, scale, weight_scale)]

    def check() -> str:
        activation, scale = quantised(x)
        go()
        return wrong_product(made[0], activation.bfloat16(), weight.bfloat16().t(), scale * weight_scale)

    return Run(go, check)


def quantised(x: Tensor) -> tuple[Tensor, Tensor]:
    """In 8 bits, with the one scale that the largest number asks for.

    All numbers are read for the largest, then read again and written in 8 bits by the kernel that divides: five bytes
    each, as the law counts them. The scale takes eager PyTorch two more kernels that move nothing; a framework with one
    kernel for it starts as much sooner, which the law's parameter `cast_start` holds.
    """
    scale = torch.linalg.vector_norm(x, ord=torch.inf).float() / LARGEST_FP8
    return torch.div(x, scale, out=torch.empty_like(x, dtype=torch.float8_e4m3fn)), scale


def _multiplied(activation: Tensor, weight: Tensor, scale: Tensor, weight_scale: Tensor) -> Tensor:
    return torch._scaled_mm(activation, weight.t(), scale_a=scale, scale_b=weight_scale, out_dtype=torch.bfloat16)
