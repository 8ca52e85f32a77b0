"""All blocks on these ranks: each beside its reference, then timed, then recorded once more for its timeline.

Equality is a matter of small tensors in fp32 (and bf16); time one of large products, in what people train in there,
bf16 on GPUs and fp32 on processors. A repetition begins when all ranks have met, and lasts until the slowest is done.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

from calibrate.bench.point import Ranks
from calibrate.bench.tensors import usual_dtype
from calibrate.bench.world import group_of
from calibrate.sharded.block import Block, Recorder, Shard, Tensors
from calibrate.sharded.blocks import BLOCKS
from calibrate.verification.ladder import fitted
from calibrate.verification.sizes import Sizes
from calibrate.verification.spans import RealSpan
from calibrate.verification.verified import Ran, Skipped

PRECISIONS: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}
SHORTEST: Final = 1e-3
"""Of the longest row's length."""
FEWEST, MOST = 5, 15
ENOUGH: Final = 1.5
"""Seconds of repetitions after which more tell little."""
RECORDED: Final = 3
"""Repetitions are recorded so often; the one in the middle is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """The ranks of a run: `group` moves the data, `control` (always Gloo) their words to each other."""

    ranks: Ranks
    group: ProcessGroup
    control: ProcessGroup
    recorder: Recorder

    def shard(self, dtype: torch.dtype) -> Shard:
        """This rank's place in a block."""
        return Shard(
            rank=self.ranks.rank,
            num_ranks=self.ranks.num_ranks,
            group=self.group,
            device=self.ranks.device,
            dtype=dtype,
            recorder=self.recorder,
        )


def verify(ranks: Ranks, sizes: Mapping[str, Sizes], tell: Callable[[Ran | Skipped], None]) -> None:
    """Run these blocks in their order, timed at these sizes, all ranks in step; rank 0 tells what came of each."""
    torch.set_float32_matmul_precision("highest")  # NVIDIA's images allow TF32, by an environment variable
    meeting = _meeting(ranks)
    for name, timed in sizes.items():
        found = _looked_at(BLOCKS[name], timed, meeting)
        if ranks.rank == 0:
            tell(found)


def _meeting(ranks: Ranks) -> Meeting:
    """All ranks, in a group of the backend that is measured and in the control plane."""
    group, control = group_of(tuple(range(ranks.num_ranks)), ranks.device), dist.group.WORLD
    assert group is not None
    assert control is not None
    return Meeting(ranks=ranks, group=group, control=control, recorder=Recorder(rank=ranks.rank, device=ranks.device))


def _looked_at(block: Block, timed: Sizes, meeting: Meeting) -> Ran | Skipped:
    num_ranks = meeting.ranks.num_ranks
    small = fitted(Sizes(), num_ranks)
    reason = block.fits(small, num_ranks) or block.fits(timed, num_ranks)
    return Skipped(name=block.name, reason=reason) if reason else _run(block, small, timed, meeting)


def _run(block: Block, small: Sizes, timed: Sizes, meeting: Meeting) -> Ran:
    shards = {name: meeting.shard(dtype) for name, dtype in PRECISIONS.items()}
    errors = {name: _largest(error_of(block, shard, small), meeting.control) for name, shard in shards.items()}
    repeat = block.prepare(meeting.shard(usual_dtype(meeting.ranks.device)), timed)
    return Ran(
        name=block.name,
        summary=block.summary,
        errors=errors,
        tolerances={name: block.tolerance(dtype) for name, dtype in PRECISIONS.items()},
        sizes=timed,
        times=_times(repeat, meeting),
        spans=_recorded(repeat, meeting),
    )


def error_of(block: Block, shard: Shard, sizes: Sizes) -> float:
    """The largest relative error of any tensor on this rank."""
    return relative_error(block.run(shard, sizes), block.reference(shard, sizes))


def relative_error(found: Tensors, wanted: Tensors) -> float:
    """The largest of two differences: of two numbers in the same place, relative to the largest number of its tensor;
    and of two rows, relative to the row's length, so that what is small throughout must be right as well.

    A row counts as no shorter than SHORTEST of the longest: what cancels out leaves only rounding. Infinite where
    tensors are missing, of other shapes, or not numbers.
    """
    if found.keys() != wanted.keys():
        return float("inf")
    return max(_relative(found[name], wanted[name]) for name in wanted)


def _relative(found: Tensor, wanted: Tensor) -> float:
    if found.shape != wanted.shape:
        return float("inf")
    found, wanted = found.detach().double(), wanted.detach().double()
    off = found - wanted
    errors = (_share(off.abs(), wanted.abs().max()), _share(off.norm(dim=-1), _lengths(wanted)))
    return max(error if error == error else float("inf") for error in errors)


def _share(off: Tensor, of: Tensor) -> float:
    """The largest difference, as a share of what it is relative to."""
    return (off / of.clamp_min(torch.finfo(torch.float32).tiny)).max().item()


def _lengths(rows: Tensor) -> Tensor:
    lengths: Tensor = rows.norm(dim=-1)
    return lengths.clamp_min(SHORTEST * lengths.max().item())


def _times(repeat: Callable[[], Tensors], meeting: Meeting) -> tuple[float, ...]:
    """What each repetition took the slowest rank; the first two only warm up."""
    first = min(_timed(repeat, meeting) for _ in range(2))
    count = min(MOST, max(FEWEST, round(ENOUGH / first)))
    return tuple(_timed(repeat, meeting) for _ in range(count))


def _timed(repeat: Callable[[], Tensors], meeting: Meeting) -> float:
    """All ranks begin at once; the slowest rank's seconds, which every rank learns."""
    dist.barrier(meeting.control)
    start = time.perf_counter()
    repeat()
    if meeting.ranks.device.type == "cuda":
        torch.cuda.synchronize(meeting.ranks.device)
    return _largest(time.perf_counter() - start, meeting.control)


def _recorded(repeat: Callable[[], Tensors], meeting: Meeting) -> tuple[RealSpan, ...]:
    """All ranks' spans of a repetition that is neither the fastest nor the slowest."""
    recorder, taken = meeting.recorder, []
    recorder.is_on = True
    for _ in range(RECORDED):
        dist.barrier(meeting.control)
        recorder.begin()
        repeat()
        spans = recorder.spans
        taken.append((_largest(max((span.end for span in spans), default=0.0), meeting.control), spans))
    recorder.is_on = False
    _, middle = sorted(taken, key=lambda one: one[0])[RECORDED // 2]
    return tuple(_gathered(middle, meeting.control))


def _gathered(spans: Sequence[RealSpan], control: ProcessGroup) -> Iterator[RealSpan]:
    found: list[Sequence[RealSpan]] = [()] * control.size()
    dist.all_gather_object(found, spans, group=control)
    for own in found:
        yield from own


def _largest(value: float, control: ProcessGroup) -> float:
    """Over all ranks."""
    told = torch.tensor([value], dtype=torch.float64)
    dist.all_reduce(told, dist.ReduceOp.MAX, group=control)
    return told.item()
