"""Collectives over the replicas that run beside a rank's own work, on the stream "dp": what starts one gives back what
waits for its result. On a GPU they have a stream of NCCL's, on a processor Gloo's threads.
"""

from collections.abc import Callable
from typing import Final

import torch.distributed as dist
from torch import Tensor
from torch.distributed import Work

from calibrate.sharded.block import Mark, Shard

STREAM: Final = "dp"
"""As the simulator names it."""

# Renamed in PyTorch 2.13, which warns of the old names.
_ALL_GATHER = dist.all_gather_single if hasattr(dist, "all_gather_single") else dist.all_gather_into_tensor
_REDUCE_SCATTER = dist.reduce_scatter_single if hasattr(dist, "reduce_scatter_single") else dist.reduce_scatter_tensor

Arriving = Callable[[], Tensor]
"""Waits, and gives what came."""


def all_reduce(flat: Tensor, shard: Shard, name: str) -> Arriving:
    """The sum over the ranks, in the place of `flat`."""
    start = shard.recorder.mark()
    return _arriving(dist.all_reduce(flat, group=shard.group, async_op=True), flat, shard, name, start)


def reduce_scatter(flat: Tensor, shard: Shard, name: str) -> Arriving:
    """This rank's 1/n of the sum over the ranks."""
    start, own = shard.recorder.mark(), flat.new_empty(flat.numel() // shard.num_ranks)
    return _arriving(_REDUCE_SCATTER(own, flat, group=shard.group, async_op=True), own, shard, name, start)


def all_gather(own: Tensor, flat: Tensor, shard: Shard, name: str) -> Arriving:
    """All ranks' 1/n, one after the other in `flat`."""
    start = shard.recorder.mark()
    return _arriving(_ALL_GATHER(flat, own, group=shard.group, async_op=True), flat, shard, name, start)


def _arriving(work: Work | None, result: Tensor, shard: Shard, name: str, start: Mark) -> Arriving:
    """The span ends when the work does, or where nobody tells of that, when it has been waited for."""
    assert work is not None
    is_told = not shard.recorder.is_on or _tells(
        work, lambda: shard.recorder.note(STREAM, name, start, shard.recorder.mark())
    )

    def arrived() -> Tensor:
        work.wait()
        if not is_told:
            shard.recorder.note(STREAM, name, start, shard.recorder.mark())
        return result

    return arrived


def _tells(work: Work, done: Callable[[], None]) -> bool:
    """Whether `done` will be called at its end: Gloo's reduce-scatter, an all-reduce and a copy, has no such future."""
    try:
        work.get_future().add_done_callback(lambda _: done())
    except RuntimeError:
        return False
    return True
