"""The attention half of a Llama layer on tensor-parallel ranks [Megatron-LM, Shoeybi et al. 2019, section 3].

Heads are independent, so they are dealt to the ranks: one column-parallel product makes queries, keys and values of a
rank's heads, attention runs on these, and a row-parallel product brings all heads together. One all-reduce forward, one
backward; norm, residual and what they keep are the same on all ranks.
"""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from calibrate.sharded import kernels
from calibrate.sharded.block import Shard, Tensors
from calibrate.sharded.linear import column_parallel, row_parallel
from calibrate.sharded.weights import (
    OUTPUT,
    Whole,
    block_of,
    indivisible,
    product_scale,
    replicated,
    second_cut,
)
from calibrate.verification.sizes import Sizes

Linear = Callable[[Tensor, Tensor, Shard, str], Tensor]
"""x, weight, shard and the product's name to its output."""

NAME = "attention"


def half(
    x: Tensor,
    weights: Tensors,
    shard: Shard,
    sizes: Sizes,
    *,
    column: Linear = column_parallel,
    row: Linear = row_parallel,
) -> Tensor:
    """(tokens, hidden) to the same; weights: "attention norm", "qkv", "projection" as a rank has them."""
    x, around = kernels.fork(x, shard, f"{NAME} norm residual gradient")
    normed = kernels.norm(x, weights["attention norm"], shard, f"{NAME} norm")
    qkv = column(normed, weights["qkv"].flatten(0, 1), shard, "qkv")
    qkv = qkv.view(sizes.micro_batch, sizes.seq_len, 3, -1, sizes.head_dim)
    q, k, v = kernels.apart(qkv, shard)
    q, k = kernels.rotary(q, k, shard)
    context = kernels.attention(q, k, v, shard).flatten(2).flatten(0, 1)
    made = row(context, weights["projection"], shard, "projection")
    return kernels.residual(around, made, shard, NAME)


def plain(x: Tensor, weights: Tensors, sizes: Sizes) -> Tensor:
    """The same in one process, of whole weights."""
    qkv = functional.linear(kernels.rms_norm(x, weights["attention norm"]), weights["qkv"].flatten(0, 1))
    qkv = qkv.view(sizes.micro_batch, sizes.seq_len, 3, sizes.heads, sizes.head_dim)
    q, k, v = qkv.unbind(2)
    context = kernels.causal(kernels.rotated(q), kernels.rotated(k), v).reshape(-1, sizes.hidden)
    return x + functional.linear(context, weights["projection"])


def weights(sizes: Sizes) -> dict[str, Whole]:
    """Queries, keys and values are three weights in one tensor, each of them cut into heads."""
    scale = product_scale(sizes.hidden)
    return {
        "attention norm": Whole((sizes.hidden,), replicated),
        "qkv": Whole((3, sizes.hidden, sizes.hidden), second_cut, scale),
        "projection": Whole((sizes.hidden, sizes.hidden), second_cut, scale),
    }


def fits(sizes: Sizes, num_ranks: int) -> str:
    """Whether heads can be dealt to the ranks."""
    return indivisible(num_ranks, heads=sizes.heads)


def _tensors(sizes: Sizes, num_ranks: int) -> dict[str, Whole]:
    state = Whole((sizes.micro_batch * sizes.seq_len, sizes.hidden), replicated)
    return {"input": state, **weights(sizes), OUTPUT: state}


BLOCKS = (
    block_of(
        "tensor-parallel attention",
        "heads are dealt to the ranks, and their output is summed",
        tensors=_tensors,
        sharded=lambda own, shard, sizes: half(own["input"], own, shard, sizes),
        plain=lambda whole, sizes: plain(whole["input"], whole, sizes),
        fits=fits,
    ),
)
