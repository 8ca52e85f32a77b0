"""DeepSpeed-Ulysses [Jacobs et al. 2023, arXiv 2309.14509]: ranks that share a sequence trade tokens for heads.

Before attention an all-to-all gives each rank all tokens of 1/n of the heads, behind it another brings the output back
to where its tokens are. Each moves what a rank has, once, however many ranks there are; but these cannot be more than
heads.
"""

import torch
from torch import Tensor

from calibrate.sharded import kernels
from calibrate.sharded.block import Shard, Tensors
from calibrate.sharded.collectives import COMPUTE, all_to_all, conjugate
from calibrate.sharded.weights import OUTPUT, Whole, block_of, indivisible, second_cut
from calibrate.verification.sizes import Sizes


def ulysses(q: Tensor, k: Tensor, v: Tensor, shard: Shard) -> Tensor:
    """Causal attention of this rank's tokens to the whole sequence: (batch, tokens / n, heads, head_dim)."""
    q, k, v = (heads_for_tokens(x, shard, "query, key and value") for x in (q, k, v))
    return tokens_for_heads(kernels.attention(q, k, v, shard), shard, "output")


def heads_for_tokens(x: Tensor, shard: Shard, name: str) -> Tensor:
    """All tokens of this rank's heads, for this rank's tokens of all heads; back, the other way."""
    return conjugate(x, lambda x: _gathered(x, shard, name), lambda x: _dealt(x, shard, f"{name} gradient"))


def tokens_for_heads(x: Tensor, shard: Shard, name: str) -> Tensor:
    """This rank's tokens of all heads, for all tokens of its heads; back, the other way."""
    return conjugate(x, lambda x: _dealt(x, shard, name), lambda x: _gathered(x, shard, f"{name} gradient"))


def _gathered(x: Tensor, shard: Shard, name: str) -> Tensor:
    """(batch, tokens / n, heads, head_dim) to (batch, tokens, heads / n, head_dim)."""
    with shard.recorder.span(COMPUTE, f"{name} order"):
        by_rank = torch.stack(x.chunk(shard.num_ranks, 2))
    arrived = all_to_all(by_rank, shard, f"{name} exchange")
    with shard.recorder.span(COMPUTE, f"{name} order"):
        return arrived.movedim(0, 1).flatten(1, 2)


def _dealt(x: Tensor, shard: Shard, name: str) -> Tensor:
    """(batch, tokens, heads / n, head_dim) to (batch, tokens / n, heads, head_dim)."""
    with shard.recorder.span(COMPUTE, f"{name} order"):
        by_rank = torch.stack(x.chunk(shard.num_ranks, 1))
    arrived = all_to_all(by_rank, shard, f"{name} exchange")
    with shard.recorder.span(COMPUTE, f"{name} order"):
        return arrived.movedim(0, 2).flatten(2, 3)


def _tensors(sizes: Sizes, num_ranks: int) -> dict[str, Whole]:
    shape = sizes.micro_batch, sizes.seq_len, sizes.heads, sizes.head_dim
    return {name: Whole(shape, second_cut) for name in ("query", "key", "value", OUTPUT)}


def _plain(whole: Tensors, sizes: Sizes) -> Tensor:
    return kernels.causal(whole["query"], whole["key"], whole["value"])


def _fits(sizes: Sizes, num_ranks: int) -> str:
    return indivisible(num_ranks, heads=sizes.heads, seq_len=sizes.seq_len)


BLOCKS = (
    block_of(
        "ulysses",
        "ranks share a sequence, and trade tokens for heads around attention",
        tensors=_tensors,
        sharded=lambda own, shard, sizes: ulysses(own["query"], own["key"], own["value"], shard),
        plain=_plain,
        fits=_fits,
    ),
)
