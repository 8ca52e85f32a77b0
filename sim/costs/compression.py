"""Gradients made smaller before they are summed: what goes onto the wire, and the kernels before and after.

int8: blocks of values with one scale each. Sums of int8 would overflow, so every rank sends each other its part, sums
what it got in fp32, and where all need the sum, gathers it in int8 again [ZeRO++, Wang et al. 2023, arXiv 2306.10209].
low-rank: a matrix is taken as P Q^T with few columns, found by one step of power iteration; what is left out is added
to the next gradient [PowerSGD, Vogels et al. 2019; torch powerSGD_hook.py].
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from sim.costs.memory_bound.law import stream
from sim.instructions import CollectiveOperation
from topologies.hardware import Gpu

BLOCK: Final = 256
"""Values that share an fp32 scale."""
INT8: Final = 1 + 4 / BLOCK
"""Bytes of a value in int8, with its share of the scale."""
RANK: Final = 4
"""Columns of P and Q: the largest of the paper's experiments on language models [Vogels et al. 2019, table 4]."""
FP32: Final = 4
PASSES_BEFORE: Final = 4
"""Over the matrix in fp32 for P: error and gradient read, their sum written, the sum read for P = M Q."""
PASSES_AFTER: Final = 3
"""P Q^T written; the sum read again, and what P Q^T leaves out of it written as the new error."""


class Kernel(NamedTuple):
    """A kernel of so many seconds that the HBM bounds."""

    name: str
    seconds: float


class OnWire(NamedTuple):
    """A collective of the replicas, its bytes as nccl-tests counts them."""

    name: str
    operation: CollectiveOperation
    nbytes: float


Step = Kernel | OnWire


def int8(gpu: Gpu, num_parameters: float, num_ranks: int, gradient_nbytes: int, *, scattered: bool) -> list[Step]:
    """What sums so many gradients over the ranks in int8, in order; `scattered`: each keeps its part of the sum."""
    part = num_parameters / num_ranks
    steps: list[Step] = [
        Kernel("gradient quantise", stream(gpu, num_parameters * (gradient_nbytes + INT8))),
        OnWire("int8 gradient exchange", "all_to_all", num_parameters * INT8),
        Kernel("int8 gradient sum", stream(gpu, num_parameters * INT8 + part * gradient_nbytes)),
    ]
    return steps if scattered else [*steps, *_gathered(gpu, num_parameters, num_ranks, gradient_nbytes)]


def _gathered(gpu: Gpu, num_parameters: float, num_ranks: int, gradient_nbytes: int) -> Iterator[Step]:
    """The sum goes to all in int8."""
    yield Kernel("gradient quantise", stream(gpu, num_parameters / num_ranks * (gradient_nbytes + INT8)))
    yield OnWire("int8 gradient gather", "all_gather", num_parameters * INT8)
    yield Kernel("gradient dequantise", stream(gpu, num_parameters * (INT8 + gradient_nbytes)))


def low_rank(gpu: Gpu, num_parameters: float, width: int) -> list[Step]:
    """What sums so many gradients over the ranks by two thin matrices, in order; all ranks have the sum then.

    Parameters are taken as square matrices of `width`: real ones are up to four times as long, and send up to 1.6 times
    less. Gram-Schmidt takes a kernel for each column, and one to take it out of the others [torch, powerSGD_hook.py].
    """
    thin = num_parameters * RANK / width
    turned = 2 * RANK * stream(gpu, FP32 * thin)
    return [
        Kernel("low-rank P", stream(gpu, PASSES_BEFORE * FP32 * num_parameters)),
        OnWire("low-rank P sum", "all_reduce", FP32 * thin),
        Kernel("low-rank Q", turned + stream(gpu, FP32 * num_parameters)),
        OnWire("low-rank Q sum", "all_reduce", FP32 * thin),
        Kernel("low-rank gradient", stream(gpu, PASSES_AFTER * FP32 * num_parameters)),
    ]
