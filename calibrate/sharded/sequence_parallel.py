"""Megatron sequence parallelism [Korthikanti et al. 2022, arXiv 2205.05198]: between tensor-parallel halves a rank has
1/n of the tokens, so norms and residuals are not done, nor kept, n times.

The all-reduce of a half becomes an all-gather before it and a reduce-scatter behind it: as many bytes. What was
gathered is not kept but gathered again for the weight gradient.
"""

from typing import Final

from torch import Tensor
from torch.autograd.function import Function, FunctionCtx

from calibrate.sharded import attention, linear, mlp
from calibrate.sharded.block import Shard, Tensors
from calibrate.sharded.collectives import all_gather, reduce_scatter, scatter_summed, summed_gradient
from calibrate.sharded.weights import OUTPUT, Whole, block_of, first_cut, indivisible
from calibrate.verification.sizes import Sizes

NORMS: Final = ("attention norm", "mlp norm")


def layer(x: Tensor, weights: Tensors, shard: Shard, sizes: Sizes) -> Tensor:
    """A Llama layer on (tokens / n, hidden). Norms see a part of the tokens: their gradients are summed."""
    norms = {name: summed_gradient(weights[name], shard, f"{name} gradient sum") for name in NORMS}
    weights = {**weights, **norms}
    x = attention.half(x, weights, shard, sizes, column=gathered_column, row=scattered_row)
    return mlp.half(x, weights, shard, column=gathered_column, row=scattered_row)


def gathered_column(x: Tensor, weight: Tensor, shard: Shard, name: str) -> Tensor:
    """A column-parallel product of all ranks' tokens; the input's gradient is summed to where its tokens are."""
    y: Tensor = _GatheredColumn.apply(x, weight, shard, name)  # type: ignore[no-untyped-call]
    return y


def scattered_row(x: Tensor, weight: Tensor, shard: Shard, name: str) -> Tensor:
    """A row-parallel product, of whose sum each rank keeps its tokens; back, the gradient is gathered."""
    part = linear.product(x, weight, shard, name)
    return scatter_summed(part, shard, f"{name} output sum", f"{name} output gradient gather")


class _GatheredColumn(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, shard: Shard, name: str) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.call = shard, name  # type: ignore[attr-defined]
        return linear.forward(all_gather(x, shard, f"{name} input gather"), weight, shard, name)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (x, weight), (shard, name) = ctx.saved_tensors, ctx.call  # type: ignore[attr-defined]
        gathered = all_gather(x, shard, f"{name} input gather")
        of_input = linear.input_gradient(gradient, weight, shard, name)
        of_input = reduce_scatter(of_input, shard, f"{name} input gradient sum")
        return of_input, linear.weight_gradient(gradient, gathered, shard, name), None, None


def _tensors(sizes: Sizes, num_ranks: int) -> dict[str, Whole]:
    state = Whole((sizes.micro_batch * sizes.seq_len, sizes.hidden), first_cut)
    return {"input": state, **attention.weights(sizes), **mlp.weights(sizes), OUTPUT: state}


def _plain(whole: Tensors, sizes: Sizes) -> Tensor:
    return mlp.plain(attention.plain(whole["input"], whole, sizes), whole)


def _fits(sizes: Sizes, num_ranks: int) -> str:
    tokens = sizes.micro_batch * sizes.seq_len
    return indivisible(num_ranks, heads=sizes.heads, ffn=sizes.ffn, tokens=tokens)


BLOCKS = (
    block_of(
        "sequence parallelism",
        "a layer whose tokens are gathered before each half, and whose sums are scattered behind it",
        tensors=_tensors,
        sharded=lambda own, shard, sizes: layer(own["input"], own, shard, sizes),
        plain=_plain,
        fits=_fits,
    ),
)
