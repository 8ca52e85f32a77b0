"""Linear layers cut over ranks [Megatron-LM, Shoeybi et al. 2019, arXiv 1909.08053]: y = x W^T.

By columns of the output each rank makes its part of y from all of x; back, each has a part of the sum that is the
gradient of x. By rows, each takes its part of x and makes a part of the sum that is y; back, each has all it needs.
So one all-reduce follows a row-parallel layer forward, and the column-parallel one backward.
"""

from torch import Tensor
from torch.autograd.function import Function, FunctionCtx
from torch.nn import functional

from calibrate.sharded.block import Shard, Tensors
from calibrate.sharded.collectives import COMPUTE, all_reduce, summed
from calibrate.sharded.weights import (
    OUTPUT,
    Whole,
    block_of,
    first_cut,
    indivisible,
    product_scale,
    replicated,
    second_cut,
)
from calibrate.verification.sizes import Sizes


def column_parallel(x: Tensor, weight: Tensor, shard: Shard, name: str) -> Tensor:
    """x whole on all ranks, of the weight 1/n of its rows, so of the output 1/n of its columns."""
    y: Tensor = _Product.apply(x, weight, shard, name, True)  # type: ignore[no-untyped-call]
    return y


def row_parallel(x: Tensor, weight: Tensor, shard: Shard, name: str) -> Tensor:
    """Of x and of the weight 1/n of their columns; the output whole on all ranks."""
    return summed(product(x, weight, shard, name), shard, f"{name} output sum")


def product(x: Tensor, weight: Tensor, shard: Shard, name: str) -> Tensor:
    """x W^T on one rank, (tokens, width_in) by (width_out, width_in), its three products noted."""
    y: Tensor = _Product.apply(x, weight, shard, name, False)  # type: ignore[no-untyped-call]
    return y


def forward(x: Tensor, weight: Tensor, shard: Shard, name: str) -> Tensor:
    """The output."""
    with shard.recorder.span(COMPUTE, f"{name} forward"):
        return functional.linear(x, weight)


def input_gradient(gradient: Tensor, weight: Tensor, shard: Shard, name: str) -> Tensor:
    """The gradient of x from that of the output."""
    with shard.recorder.span(COMPUTE, f"{name} input gradient"):
        return gradient @ weight


def weight_gradient(gradient: Tensor, x: Tensor, shard: Shard, name: str) -> Tensor:
    """The gradient of the weight from that of the output."""
    with shard.recorder.span(COMPUTE, f"{name} weight gradient"):
        return gradient.T @ x


class _Product(Function):
    """`sums`: the ranks' gradients of the input are summed, before the weight's is made."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, shard: Shard, name: str, sums: bool) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.call = shard, name, sums  # type: ignore[attr-defined]
        return forward(x, weight, shard, name)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        (x, weight), (shard, name, sums) = ctx.saved_tensors, ctx.call  # type: ignore[attr-defined]
        of_input = input_gradient(gradient, weight, shard, name)
        if sums:
            of_input = all_reduce(of_input, shard, f"{name} input gradient sum")
        return of_input, weight_gradient(gradient, x, shard, name), None, None, None


def _column_tensors(sizes: Sizes, num_ranks: int) -> dict[str, Whole]:
    tokens = sizes.micro_batch * sizes.seq_len
    return {
        "input": Whole((tokens, sizes.hidden), replicated),
        "weight": Whole((sizes.ffn, sizes.hidden), first_cut, product_scale(sizes.hidden)),
        OUTPUT: Whole((tokens, sizes.ffn), second_cut),
    }


def _row_tensors(sizes: Sizes, num_ranks: int) -> dict[str, Whole]:
    tokens = sizes.micro_batch * sizes.seq_len
    return {
        "input": Whole((tokens, sizes.ffn), second_cut),
        "weight": Whole((sizes.hidden, sizes.ffn), second_cut, product_scale(sizes.ffn)),
        OUTPUT: Whole((tokens, sizes.hidden), replicated),
    }


def _fits(sizes: Sizes, num_ranks: int) -> str:
    return indivisible(num_ranks, ffn=sizes.ffn)


def _plain(whole: Tensors, sizes: Sizes) -> Tensor:
    return functional.linear(whole["input"], whole["weight"])


BLOCKS = (
    block_of(
        "column-parallel linear",
        "each rank makes some columns of the output; the gradient of the input is summed",
        tensors=_column_tensors,
        sharded=lambda own, shard, sizes: column_parallel(own["input"], own["weight"], shard, "linear"),
        plain=_plain,
        fits=_fits,
    ),
    block_of(
        "row-parallel linear",
        "each rank takes some columns of the input; the output is summed",
        tensors=_row_tensors,
        sharded=lambda own, shard, sizes: row_parallel(own["input"], own["weight"], shard, "linear"),
        plain=_plain,
        fits=_fits,
    ),
)
