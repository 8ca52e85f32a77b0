"""Ring attention [Liu et al. 2023, arXiv 2310.01889]: ranks share a sequence, and keys and values go round all of them.

A rank has its i-th chunk from the front and from the end (zig-zag), so that the mask spares all ranks alike. What its
queries get from each rank's keys is merged by log-sum-exp; what comes next travels meanwhile. Backward goes round the
other way, and gradients of keys and values follow these one hop behind, until they are home.
"""

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx
from torch.nn import functional

from calibrate.sharded import flash
from calibrate.sharded.block import Shard, Tensors
from calibrate.sharded.collectives import COMPUTE, exchange
from calibrate.sharded.weights import OUTPUT, Whole, block_of
from calibrate.verification.sizes import Sizes

CP: Final = "cp"
"""The stream of what goes round."""


def ring_attention(q: Tensor, k: Tensor, v: Tensor, shard: Shard) -> Tensor:
    """Causal attention of this rank's two chunks to the whole sequence: (batch, heads, 2 chunks, head_dim)."""
    output: Tensor = _RingAttention.apply(q, k, v, shard)  # type: ignore[no-untyped-call]
    return output


class _RingAttention(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, q: Tensor, k: Tensor, v: Tensor, shard: Shard) -> Tensor:
        with shard.recorder.span(COMPUTE, "key and value copy"):
            pairs = torch.stack((k, v))
        output, lse, pairs = _round(q, pairs, shard)
        ctx.save_for_backward(q, output, lse, pairs)
        ctx.shard = shard  # type: ignore[attr-defined]
        return output

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, output, lse, pairs = ctx.saved_tensors  # type: ignore[attr-defined]
        of_q, of_pairs = _round_back(gradient.contiguous(), q, output, lse, pairs, ctx.shard)  # type: ignore[attr-defined]
        return of_q, of_pairs[0], of_pairs[1], None


def _round(q: Tensor, pairs: Tensor, shard: Shard) -> tuple[Tensor, Tensor, Tensor]:
    """Output and log-sum-exp, and the keys and values that came last: those of the next rank."""
    ring = _in_turn(pairs, shard, "ring forward exchange")
    own = next(ring)
    with shard.recorder.span(COMPUTE, "flash forward"):
        output, lse = flash.forward(q, own[0], own[1], causal=True)
    output = output.float()
    for step, pairs in enumerate(ring, 1):
        queries, keys = _met(step, q, shard)
        with shard.recorder.span(COMPUTE, "flash forward"):
            k, v = pairs[:, :, :, keys]
            some, some_lse = flash.forward(q[:, :, queries], k, v, causal=False)
        with shard.recorder.span(COMPUTE, "output merge"):
            _merge(output[:, :, queries], lse[:, :, queries], some, some_lse)
    return output.to(q.dtype), lse, pairs


def _round_back(
    gradient: Tensor, q: Tensor, output: Tensor, lse: Tensor, pairs: Tensor, shard: Shard
) -> tuple[Tensor, Tensor]:
    """Gradients of q, and of keys and values: first the next rank's, as these came last, the own ones at the end."""
    of_q, of_pairs = torch.zeros_like(q), torch.zeros_like(pairs)
    steps = reversed(range(shard.num_ranks))
    for step, seen in zip(steps, _in_turn(pairs, shard, "ring backward exchange", hop=-1), strict=True):
        is_first = step == shard.num_ranks - 1
        follow = None if is_first else exchange(of_pairs, shard, CP, "ring backward exchange", hop=-1)
        queries, keys = _met(step, q, shard)
        above, asking, made, sums = (x[:, :, queries] for x in (gradient, q, output, lse))
        k, v = seen[:, :, :, keys]
        with shard.recorder.span(COMPUTE, "flash backward"):
            some_q, some_k, some_v = flash.backward(above, asking, made, sums, k, v, causal=step == 0)
        of_pairs = follow() if follow else of_pairs
        with shard.recorder.span(COMPUTE, "ring gradient sum"):
            of_q[:, :, queries] += some_q
            of_pairs[0, :, :, keys] += some_k
            of_pairs[1, :, :, keys] += some_v
    return of_q, of_pairs


def _in_turn(pairs: Tensor, shard: Shard, name: str, hop: int = 1) -> Iterator[Tensor]:
    """Each rank's keys and values; while those at hand are used, the next arrive."""
    for _ in range(shard.num_ranks - 1):
        arriving = exchange(pairs, shard, CP, name, hop)
        yield pairs
        pairs = arriving()
    yield pairs


def _met(step: int, q: Tensor, shard: Shard) -> tuple[slice, slice]:
    """Which queries meet which keys when those from `step` ranks back are here, half of each being of the front.

    Its own: all, under the mask. Those of a rank before it: all queries the front keys, as the end's come later. Those
    of a rank behind it: the end's queries all keys, as the front's come earlier.
    """
    everything, half = slice(None), q.shape[2] // 2
    if step == 0:
        return everything, everything
    return (everything, slice(half)) if step <= shard.rank else (slice(half, None), everything)


def _merge(output: Tensor, lse: Tensor, some: Tensor, some_lse: Tensor) -> None:
    """Two softmaxes of different keys are one of all, each weighted by its share of the sum of exponentials."""
    both = torch.logaddexp(lse, some_lse)
    output.mul_((lse - both).exp()[..., None]).add_(some * (some_lse - both).exp()[..., None])
    lse.copy_(both)


def _zig_zag(x: Tensor, rank: int, num_ranks: int) -> Tensor:
    """The rank-th of 2n chunks of the tokens from the front, and that from the end."""
    chunks = x.chunk(2 * num_ranks, 2)
    return torch.cat((chunks[rank], chunks[-1 - rank]), 2)


def _tensors(sizes: Sizes, num_ranks: int) -> dict[str, Whole]:
    shape = sizes.micro_batch, sizes.heads, sizes.seq_len, sizes.head_dim
    return {name: Whole(shape, _zig_zag) for name in ("query", "key", "value", OUTPUT)}


def _plain(whole: Tensors, sizes: Sizes) -> Tensor:
    return functional.scaled_dot_product_attention(whole["query"], whole["key"], whole["value"], is_causal=True)


def _fits(sizes: Sizes, num_ranks: int) -> str:
    if sizes.seq_len % (2 * num_ranks):
        return f"{num_ranks} ranks cut a sequence into {2 * num_ranks} chunks, which seq_len={sizes.seq_len} is not"
    return ""


BLOCKS = (
    block_of(
        "ring attention",
        "ranks share a sequence, and keys and values go round",
        tensors=_tensors,
        sharded=lambda own, shard, sizes: ring_attention(own["query"], own["key"], own["value"], shard),
        plain=_plain,
        fits=_fits,
    ),
)
