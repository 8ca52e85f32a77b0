"""Gradients summed in int8 [ZeRO++, Wang et al. 2023, arXiv 2306.10209]: a quarter of the bytes of fp32 on the wire.

Each block of 256 values has a scale of its own. Sums of int8 would overflow, so each rank sends every other its part,
sums what it gets in fp32, and all gather the sums, in int8 again. What rounding leaves out is added the next time, so
that it is late and never lost [error feedback: Seide et al. 2014; Karimireddy et al. 2019, arXiv 1901.09847].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from calibrate.sharded.block import Block, Shard, Tensors
from calibrate.sharded.collectives import COMPUTE, all_gather, all_to_all
from calibrate.sharded.weights import Whole, drawn, replicated
from calibrate.verification.sizes import Sizes

VALUES: Final = 256
"""That share a scale, as the simulator counts them."""
LARGEST: Final = 127
TOLERANCE: Final = 1 / 32
"""n ranks' values g are rounded by at most max|g| / 254 each, their sum by max|sum| / 254, and either carries as much
from the step before: with independent gradients 2 (sqrt(n) + 1) / 254 of the largest sum, 0.024 of four ranks."""
SUM: Final = "gradient sum"


@dataclass(slots=True)
class Errors:
    """What rounding has left out so far: of what this rank sends, and of the sums that it makes."""

    sent: Tensor | float = 0.0
    summed: Tensor | float = 0.0


def int8_all_reduce(gradient: Tensor, errors: Errors, shard: Shard) -> Tensor:
    """The sum over the ranks of a gradient in fp32, whose length is a multiple of 256 n."""
    with shard.recorder.span(COMPUTE, "gradient quantise"):
        packed, errors.sent = rounded(gradient, errors.sent)
    arrived = all_to_all(packed, shard, "int8 gradient exchange")
    with shard.recorder.span(COMPUTE, "int8 gradient sum"):
        total = dequantised(arrived).view(shard.num_ranks, -1).sum(0)
    with shard.recorder.span(COMPUTE, "gradient quantise"):
        packed, errors.summed = rounded(total, errors.summed)
    gathered = all_gather(packed, shard, "int8 gradient gather")
    with shard.recorder.span(COMPUTE, "gradient dequantise"):
        return dequantised(gathered)


def rounded(values: Tensor, late: Tensor | float) -> tuple[Tensor, Tensor]:
    """Values and what is late of them, in int8; and what that leaves out."""
    values = values + late
    packed = quantised(values)
    return packed, values - dequantised(packed)


def quantised(values: Tensor) -> Tensor:
    """(blocks, 4 + 256) bytes: each block's scale in fp32, and its values in int8."""
    blocks = values.view(-1, VALUES)
    scales = (blocks.abs().amax(1, keepdim=True) / LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
    rounded = (blocks / scales).round().to(torch.int8)
    return torch.cat((scales.view(torch.uint8), rounded.view(torch.uint8)), 1)


def dequantised(packed: Tensor) -> Tensor:
    """The values, in fp32."""
    scales, rounded = packed[:, :4].contiguous().view(torch.float32), packed[:, 4:].view(torch.int8)
    return (rounded * scales).flatten()


def _prepare(shard: Shard, sizes: Sizes) -> Callable[[], Tensors]:
    """Each call is a step with the same gradient, and the errors of those before."""
    gradient, errors = _gradients(shard, sizes)[shard.rank].float(), Errors()
    return lambda: {SUM: int8_all_reduce(gradient, errors, shard)}


def _reference(shard: Shard, sizes: Sizes) -> Tensors:
    return {SUM: _gradients(shard, sizes).float().sum(0)}


def _gradients(shard: Shard, sizes: Sizes) -> Tensor:
    """All ranks' gradients of one weight, flat."""
    return drawn("gradient", Whole((shard.num_ranks, sizes.hidden * sizes.ffn), replicated), shard)


def _fits(sizes: Sizes, num_ranks: int) -> str:
    if sizes.hidden * sizes.ffn % (num_ranks * VALUES):
        return (
            f"{num_ranks} ranks cannot have equal parts of {sizes.hidden * sizes.ffn} gradients in blocks of {VALUES}"
        )
    return ""


BLOCKS = (
    Block(
        name="int8 gradients",
        summary="gradients are summed in int8, with a scale for each 256 of them",
        prepare=_prepare,
        reference=_reference,
        fits=_fits,
        tolerance=lambda dtype: TOLERANCE,
    ),
)
