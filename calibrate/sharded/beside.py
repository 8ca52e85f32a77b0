"""Collectives over the replicas that run beside a rank's own work, on the stream "dp": what starts one gives back what
waits for its result. On a GPU they have a stream of NCCL's, on a processor Gloo's threads.
"""

from collections.abc import Callable
from threading import Thread
from typing import Final

import torch.distributed as dist
from torch import Tensor
from torch.distributed import Work

from calibrate.bench.world import ALL_GATHER, REDUCE_SCATTER
from calibrate.sharded.block import Mark, Shard

STREAM: Final = "dp"
"""As the simulator names it."""

Arriving = Callable[[], Tensor]
"""Waits, and gives what came."""


def all_reduce(flat: Tensor, shard: Shard, name: str) -> Arriving:
    """The sum over the ranks, in the place of `flat`."""
    start = shard.recorder.mark()
    return _arriving(dist.all_reduce(flat, group=shard.group, async_op=True), flat, shard, name, start)


def reduce_scatter(flat: Tensor, shard: Shard, name: str) -> Arriving:
    """This rank's 1/n of the sum over the ranks."""
    start, own = shard.recorder.mark(), flat.new_empty(flat.numel() // shard.num_ranks)
    return _arriving(REDUCE_SCATTER(own, flat, group=shard.group, async_op=True), own, shard, name, start)


def all_gather(own: Tensor, flat: Tensor, shard: Shard, name: str) -> Arriving:
    """All ranks' 1/n, one after the other in `flat`."""
    start = shard.recorder.mark()
    return _arriving(ALL_GATHER(flat, own, group=shard.group, async_op=True), flat, shard, name, start)


def _arriving(work: Work | None, result: Tensor, shard: Shard, name: str, start: Mark) -> Arriving:
    """The span ends when the work does."""
    assert work is not None
    wait = _noting(work, shard, name, start) if shard.recorder.is_on else work.wait

    def arrived() -> Tensor:
        wait()
        return result

    return arrived


def _noting(work: Work, shard: Shard, name: str, start: Mark) -> Callable[[], object]:
    """What waits for a work whose end is noted, by its future, or by a thread that waits where it has none: Gloo's
    reduce-scatter is an all-reduce and a copy, which whoever waits for it makes."""

    def note(_: object = None) -> None:
        shard.recorder.note(STREAM, name, start, shard.recorder.mark())

    def wait_and_note() -> None:
        work.wait()
        note()

    try:
        work.get_future().add_done_callback(note)
    except RuntimeError:
        waiting = Thread(target=wait_and_note, daemon=True)
        waiting.start()
        return waiting.join
    return work.wait
