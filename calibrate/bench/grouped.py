"""The products of several experts in one kernel: so many rows, dealt evenly to experts with a weight matrix each."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Final

import torch
from torch import Tensor

from calibrate.bench.point import Point, Ranks, Run
from calibrate.bench.shapes import Candidate, number_nbytes, roofline, spread_out
from calibrate.bench.tensors import random, wrong_product
from calibrate.machines.machine import Machine
from calibrate.verification.sizes import Sizes
from sim import models
from sim.costs.processor import PRECISION
from topologies.hardware import Gpu

ROWS: Final = tuple(2**power for power in range(8, 18))
ROWS_ON_PROCESSOR: Final = (64, 128, 256, 512)
EXPERTS: Final = (1, 2, 4, 8, 16, 32)
"""Of one rank."""
ON_GPU: Final = (2, 6, 6)
ON_PROCESSOR: Final = (2, 4, 4)
"""Points by the end of a quick, a default and a full run: a few figures, for no law is fitted to them."""


def points(machine: Machine, gpu: Gpu) -> Iterator[Point]:
    """Gate and up as one, and down, of the experts of the catalogue's models."""
    all_rows, layers = (ROWS_ON_PROCESSOR, _small_layers()) if machine.is_cpu else (ROWS, _layers())
    every = (sizes for sizes in product(EXPERTS, all_rows, layers) if sizes[1] >= sizes[0])
    candidates = [_candidate(machine, gpu, *sizes) for sizes in every]
    counts = ON_PROCESSOR if machine.is_cpu else ON_GPU
    for (num_experts, rows, n, k), seconds, budget in spread_out(candidates, machine, gpu, counts):
        yield Point(
            operation=f"grouped product {PRECISION if machine.is_cpu else 'bf16'}",
            part=machine.part,
            inputs={"num_experts": num_experts, "rows": rows, "n": n, "k": k},
            prepare=partial(_products, num_experts, rows, n, k),
            seconds=seconds,
            budget=budget,
        )


def _layers() -> list[tuple[int, int]]:
    """Outputs and inputs of experts."""
    found = {(model.hidden, model.moe.ffn) for name in models.names() if (model := models.load(name)).moe is not None}
    return sorted({layer for hidden, ffn in found for layer in ((2 * ffn, hidden), (hidden, ffn))})


def _small_layers() -> list[tuple[int, int]]:
    sizes = Sizes()
    return [(2 * sizes.ffn, sizes.hidden), (sizes.hidden, sizes.ffn)]


def _candidate(machine: Machine, gpu: Gpu, num_experts: int, rows: int, layer: tuple[int, int]) -> Candidate:
    n, k = layer
    nbytes = float(number_nbytes(machine) * (num_experts * n * k + rows * (n + k)))
    seconds = roofline(gpu, 2.0 * rows * n * k, nbytes, efficiency=gpu.fit["gemm_efficiency"])
    return Candidate((num_experts, rows, n, k), seconds, nbytes)


def _products(num_experts: int, rows: int, n: int, k: int, ranks: Ranks) -> Run:
    x = random(rows, k, device=ranks.device)
    w = random(num_experts, n, k, device=ranks.device, seed=1).transpose(1, 2)
    ends = torch.tensor([rows * (expert + 1) // num_experts for expert in range(num_experts)], dtype=torch.int32)
    multiply = _grouped(x, w, ends.to(ranks.device)) if ranks.device.type == "cuda" else _looped(x, w, ends.tolist())

    def check() -> str:
        last = slice(ends.tolist()[-2] if num_experts > 1 else 0, rows)
        return wrong_product(multiply()[last], x[last], w[-1])

    return Run(multiply, check)


def _grouped(x: Tensor, w: Tensor, ends: Tensor) -> Callable[[], Tensor]:
    def multiply() -> Tensor:
        return torch._grouped_mm(x, w, offs=ends)

    return multiply


def _looped(x: Tensor, w: Tensor, ends: list[int]) -> Callable[[], Tensor]:
    """A processor has no kernel of many products."""
    starts = [0, *ends[:-1]]

    def multiply() -> Tensor:
        return torch.cat(
            [x[start:end] @ w[expert] for expert, (start, end) in enumerate(zip(starts, ends, strict=True))]
        )

    return multiply
