"""Collectives as a rank calls them, and in pairs that autograd can go back through: each is the other's gradient.

A sum over the ranks (all-reduce) goes back as it is, a copy to all ranks as a sum [Megatron-LM, Shoeybi et al. 2019,
f and g]. Cut along the sequence, reduce-scatter and all-gather are such a pair [Korthikanti et al. 2022]; an all-to-all
is its own.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx

from calibrate.bench.world import ALL_GATHER, REDUCE_SCATTER
from calibrate.sharded.block import Shard

COMPUTE: Final = "compute"
"""The stream of all that the products wait for, as the simulator names it."""


def summed(x: Tensor, shard: Shard, name: str) -> Tensor:
    """The sum of all ranks' x, in its place; each rank's gradient is that of the sum."""
    return conjugate(x, lambda part: all_reduce(part, shard, name), lambda gradient: gradient)


def scatter_summed(x: Tensor, shard: Shard, name: str, backward: str) -> Tensor:
    """This rank's rows of the sum; back, all ranks' rows of the gradient are put together."""
    return conjugate(
        x,
        lambda part: reduce_scatter(part, shard, name),
        lambda gradient: all_gather(gradient, shard, backward),
    )


def summed_gradient(weight: Tensor, shard: Shard, name: str) -> Tensor:
    """A weight that all ranks have, each for its own tokens: its gradient is the sum of theirs."""
    return conjugate(
        weight, lambda same: same.view_as(same), lambda gradient: all_reduce(gradient.clone(), shard, name)
    )


def conjugate(x: Tensor, go: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> Tensor:
    """`go` of x; `back` makes the gradient of x from that of the result."""
    moved: Tensor = _Conjugate.apply(x, go, back)  # type: ignore[no-untyped-call]
    return moved


def all_reduce(x: Tensor, shard: Shard, name: str) -> Tensor:
    """x, which becomes the sum over the ranks of x."""
    with shard.recorder.span(COMPUTE, name):
        dist.all_reduce(x, group=shard.group)
    return x


def all_gather(x: Tensor, shard: Shard, name: str) -> Tensor:
    """All ranks' x, one after the other along the first dimension."""
    x = x.contiguous()
    gathered = x.new_empty(shard.num_ranks * x.shape[0], *x.shape[1:])
    with shard.recorder.span(COMPUTE, name):
        ALL_GATHER(gathered, x, group=shard.group)
    return gathered


def reduce_scatter(x: Tensor, shard: Shard, name: str) -> Tensor:
    """The sum over the ranks of x, of which each rank has 1/n along the first dimension."""
    x = x.contiguous()
    part = x.new_empty(x.shape[0] // shard.num_ranks, *x.shape[1:])
    with shard.recorder.span(COMPUTE, name):
        REDUCE_SCATTER(part, x, group=shard.group)
    return part


def all_to_all(
    x: Tensor, shard: Shard, name: str, sent: Sequence[int] | None = None, received: Sequence[int] | None = None
) -> Tensor:
    """Rank i's j-th part of x becomes rank j's i-th: equal parts along the first dimension, or so many rows of each."""
    x = x.contiguous()
    arrived = x.new_empty(sum(received) if received is not None else x.shape[0], *x.shape[1:])
    with shard.recorder.span(COMPUTE, name):
        dist.all_to_all_single(
            arrived, x, list(received) if received else None, list(sent) if sent else None, group=shard.group
        )
    return arrived


def exchange(x: Tensor, shard: Shard, stream: str, name: str, hop: int = 1) -> Callable[[], Tensor]:
    """Send x `hop` ranks on round the ring while other work goes on; what is returned waits for what arrives.

    The span lasts until it is waited for.
    """
    x = x.contiguous()
    arriving = torch.empty_like(x)
    onward, behind = (shard.rank + hop) % shard.num_ranks, (shard.rank - hop) % shard.num_ranks
    start = shard.recorder.mark()
    sends = dist.P2POp(dist.isend, x, group=shard.group, group_peer=onward)
    receives = dist.P2POp(dist.irecv, arriving, group=shard.group, group_peer=behind)
    works = dist.batch_isend_irecv([sends, receives])

    def arrived() -> Tensor:
        for work in works:
            work.wait()
        shard.recorder.note(stream, name, start, shard.recorder.mark())
        return arriving

    return arrived


class _Conjugate(Function):
    """One function forward, another backward."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, go: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]
    ) -> Tensor:
        ctx.back = back  # type: ignore[attr-defined]
        return go(x)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.back(gradient), None, None  # type: ignore[attr-defined]
