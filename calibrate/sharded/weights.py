"""Whole tensors drawn from a seed, the same on every rank; which part of each a rank has; a pass through a block.

The name of a tensor is its seed. Both sides of a comparison begin with these: the ranks with their parts of them, the
reference with all, of whose outputs and gradients the same parts are taken.
"""

import math
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from calibrate.sharded.block import Block, Shard, Tensors
from calibrate.verification.sizes import Sizes

Cut = Callable[[Tensor, int, int], Tensor]
"""The part of a whole tensor that a rank of so many has."""

OUTPUT = "output"


class Whole(NamedTuple):
    """A tensor before it is cut: normally distributed numbers, `scale` their standard deviation."""

    shape: tuple[int, ...]
    cut: Cut
    scale: float = 1.0


def replicated(x: Tensor, rank: int, num_ranks: int) -> Tensor:
    """All of it, on each rank."""
    return x


def first_cut(x: Tensor, rank: int, num_ranks: int) -> Tensor:
    """1/n of the first dimension: tokens; a weight's rows, which make columns of its output; experts."""
    return x.chunk(num_ranks, 0)[rank]


def second_cut(x: Tensor, rank: int, num_ranks: int) -> Tensor:
    """1/n of the second dimension: the inputs that a weight takes; rows of each of several weights in one tensor."""
    return x.chunk(num_ranks, 1)[rank]


def block_of(
    name: str,
    summary: str,
    *,
    tensors: Callable[[Sizes, int], Mapping[str, Whole]],
    sharded: Callable[[Tensors, Shard, Sizes], Tensor],
    plain: Callable[[Tensors, Sizes], Tensor],
    fits: Callable[[Sizes, int], str],
) -> Block:
    """A block from its forward passes, `sharded` on this rank's parts and `plain` on whole tensors; autograd goes back.

    `tensors(sizes, num_ranks)` are inputs and weights by name; that named "output" is the gradient from above.
    """

    def prepare(shard: Shard, sizes: Sizes) -> Callable[[], Tensors]:
        wholes = tensors(sizes, shard.num_ranks)
        parts = {key: _own(whole, shard, drawn(key, whole, shard)) for key, whole in wholes.items()}
        return lambda: passed(lambda leaves: sharded(leaves, shard, sizes), parts)

    def reference(shard: Shard, sizes: Sizes) -> Tensors:
        wholes = tensors(sizes, shard.num_ranks)
        drawn_wholes = {key: drawn(key, whole, shard) for key, whole in wholes.items()}
        made = passed(lambda leaves: plain(leaves, sizes), drawn_wholes)
        return {key: _own(wholes[key.removesuffix(" gradient")], shard, tensor) for key, tensor in made.items()}

    return Block(name=name, summary=summary, prepare=prepare, reference=reference, fits=fits)


def drawn(name: str, whole: Whole, shard: Shard) -> Tensor:
    """The tensor of this name on the rank's device; drawn on the host, so that every device has the same."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    numbers = torch.randn(whole.shape, generator=generator) * whole.scale
    return numbers.to(shard.device, shard.dtype)


def passed(forward: Callable[[Tensors], Tensor], parts: Tensors) -> Tensors:
    """Forward, and backward from the output's gradient: the output, and the gradients of all inputs and weights."""
    leaves = {name: part.detach().requires_grad_() for name, part in parts.items() if name != OUTPUT}
    output = forward(leaves)
    gradients = torch.autograd.grad(output, list(leaves.values()), parts[OUTPUT])
    return {OUTPUT: output.detach(), **dict(zip((f"{name} gradient" for name in leaves), gradients, strict=True))}


def product_scale(width_in: int) -> float:
    """Weights so wide that a product's output is as large as its input."""
    return 1 / math.sqrt(width_in)


def indivisible(num_ranks: int, **numbers: int) -> str:
    """Why so many ranks cannot share these numbers, or nothing."""
    return "; ".join(f"{num_ranks} ranks do not divide {name}={n}" for name, n in numbers.items() if n % num_ranks)


def _own(whole: Whole, shard: Shard, tensor: Tensor) -> Tensor:
    return whole.cut(tensor, shard.rank, shard.num_ranks).contiguous()
