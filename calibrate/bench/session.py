"""A session: all ranks walk the same points in lock-step, time them, and rank 0 tells what came out.

Twice for each point they say over the control plane how they fared: when its tensors stand, so that nobody enters a
collective that another cannot, and at its end, when rank 0 also says whether it is the last.
"""

import contextlib
import math
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median, median_low
from typing import Final, NamedTuple

import torch

from calibrate.bench.monitor import Reading, mean, meter_of, sampled
from calibrate.bench.on_gpu import stream_of
from calibrate.bench.point import Point, Ranks, Run
from calibrate.bench.timing import Timed, time_alone, time_together
from calibrate.bench.world import gathered, group_of
from calibrate.measurement import LeftOut, Measurement
from topologies.document import Fault

Deliver = Callable[[Measurement | LeftOut], None]

PATIENCE: Final = 120.0
"""Seconds that a point may take beyond ten times what it should; then something hangs."""
SHARED: Final = "ranks share a GPU: plumbing only"
EAGER: Final = "launched slower than it runs: no CUDA graph can hold it"
_SHOWN: Final = 160


class Fared(NamedTuple):
    """How a rank fared with a point: its times, what was read meanwhile, what was wrong with the result, and inputs
    that only the run told; or the reason why there is nothing. `is_over` is said by rank 0 alone."""

    timed: Timed | None = None
    reading: Reading = Reading()
    wrong: str = ""
    found: tuple[tuple[str, float], ...] = ()
    reason: str = ""
    is_over: bool = False


def measure(points: Iterable[Point], ranks: Ranks, deliver: Deliver, is_over: Callable[[], bool]) -> bool:
    """Measure the points, the same on all ranks, in order; `deliver` and `is_over` are called on rank 0 alone.

    A point that does not fit in memory, or that this device cannot do, is left out, with words. Returns whether all
    points were walked; False where `is_over` ended it. All ranks call it. Raises Fault where a collective failed.
    """
    for point in points:
        fared = _walk(point, ranks, is_over)
        if ranks.rank == 0:
            deliver(result(point, fared, ranks))
        if fared[0].is_over:
            return False
    return True


def _walk(point: Point, ranks: Ranks, is_over: Callable[[], bool]) -> list[Fared]:
    """Measure one point; how all ranks fared."""
    with _patience(point), on_own_stream(ranks.device):
        own = _measured(point, ranks)
        return gathered(own._replace(is_over=ranks.rank == 0 and is_over()))


def _measured(point: Point, ranks: Ranks) -> Fared:
    """How this rank fared. What one cannot prepare, none runs."""
    takes_part = not point.members or ranks.rank in point.members
    group = group_of(point.members, ranks.device) if point.members else None
    own = replace(ranks, group=group)
    run, reason = _prepared(point, own) if takes_part else (None, "")
    if any(gathered(reason)) or run is None:
        return Fared(reason=reason)
    if point.members:
        return _together(point, run, own)
    return _alone(point, run, own)


def _prepared(point: Point, ranks: Ranks) -> tuple[Run | None, str]:
    """What runs, or why it cannot."""
    try:
        return point.prepare(ranks), ""
    except (RuntimeError, MemoryError, NotImplementedError) as error:
        return None, _reason(point, error, ranks)


def _alone(point: Point, run: Run, ranks: Ranks) -> Fared:
    """A kernel: where it fails, it fails here alone."""
    try:
        return _timed(run, ranks, time_alone)
    except (RuntimeError, MemoryError) as error:
        return Fared(reason=_reason(point, error, ranks))


def _together(point: Point, run: Run, ranks: Ranks) -> Fared:
    """A collective: where it fails on one rank, the others wait in it, and nothing but an end helps them."""
    try:
        return _timed(run.trial() if run.trial else run, ranks, time_together)
    except RuntimeError as error:
        raise _fault(point, error, ranks) from None


def _timed(run: Run, ranks: Ranks, clock: Callable[[Run, Ranks], Timed]) -> Fared:
    with sampled(meter_of(ranks.device)) as samples:
        timed = clock(run, ranks)
    if timed.eager:
        return Fared(reason=EAGER)
    return Fared(timed=timed, reading=mean(samples), wrong=run.check(), found=tuple(run.found.items()))


def result(point: Point, fared: Sequence[Fared], ranks: Ranks) -> Measurement | LeftOut:
    """What all ranks found, as one: of kernels the median GPU's, and the slowest one's; of a collective, whose time is
    the same on all of its members, the first's, and no slowest."""
    failed = next((rank for rank, one in enumerate(fared) if one.reason), None)
    if failed is not None:
        reason = f"rank {failed}: {fared[failed].reason}"
        return LeftOut(operation=point.operation, inputs=point.inputs, reason=reason)
    took = {rank: one.timed for rank, one in enumerate(fared) if one.timed is not None}
    typical = median_low(sorted((timed.seconds, rank) for rank, timed in took.items()))[1]
    slowest = max(took, key=lambda rank: took[rank].seconds)
    timed, reading = took[typical], fared[typical].reading
    return Measurement(
        operation=point.operation,
        part=point.part,
        gpu=point.gpu,
        fabric=point.fabric,
        inputs={**point.inputs, **dict(fared[typical].found)},
        seconds=_seconds(took, typical, ranks),
        low=timed.low,
        high=timed.high,
        repeats=timed.repeats,
        slowest=math.nan if point.members else took[slowest].seconds,
        slowest_rank=0 if point.members else slowest,
        clock=reading.clock,
        power=reading.power,
        temperature=reading.temperature,
        throttled=_throttled(fared) if point.members else reading.throttled,
        wrong=_wrong(fared, ranks),
    )


def _seconds(took: Mapping[int, Timed], typical: int, ranks: Ranks) -> float:
    """Those of the median GPU. Processes of one machine differ by chance alone, and of two the median is between."""
    if ranks.device.type == "cuda":
        return took[typical].seconds
    return median(timed.seconds for timed in took.values())


def _throttled(fared: Sequence[Fared]) -> str:
    """Of a collective: one member that is held back holds back all."""
    told = [f"rank {rank}: {one.reading.throttled}" for rank, one in enumerate(fared) if one.reading.throttled]
    return "; ".join(told[:1])


def _wrong(fared: Sequence[Fared], ranks: Ranks) -> str:
    told = [f"rank {rank}: {one.wrong}" for rank, one in enumerate(fared) if one.wrong]
    return "; ".join([SHARED] * ranks.shares_gpu + told[:1])


def named(point: Point) -> str:
    """A point in a few words: its operation, and its inputs as they are."""
    return f"{point.operation} ({', '.join(f'{name} {value:g}' for name, value in point.inputs.items())})"


def _reason(point: Point, error: Exception, ranks: Ranks) -> str:
    """Why a point is left out. Memory that its tensors held is given back. Raises Fault where the GPU is lost."""
    is_memory = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
    if ranks.device.type == "cuda":
        torch.cuda.empty_cache() if is_memory else _check_works(point, error, ranks)
    return "out of memory" if is_memory else f"{type(error).__name__}: {_line(error)}"


def _check_works(point: Point, error: Exception, ranks: Ranks) -> None:
    """After a fault of the hardware, or an access to memory that is not there, all that a process asks of its GPU fails
    [CUDA runtime, cudaErrorIllegalAddress and others]: no further point could be measured."""
    try:
        torch.cuda.synchronize(ranks.device)
    except RuntimeError:
        raise _fault(point, error, ranks) from None


def _fault(point: Point, error: Exception, ranks: Ranks) -> Fault:
    return Fault(f"rank {ranks.rank} on {socket.gethostname()}: {named(point)}: {_line(error)}")


def _line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")[:_SHOWN]


@contextlib.contextmanager
def _patience(point: Point) -> Iterator[None]:
    """Within it, a rank that hangs ends itself with words about the point; whoever watches it ends the others."""
    seconds = PATIENCE + 10 * point.seconds
    timer = threading.Timer(seconds, _give_up, (f"{named(point)}: no end after {seconds:.0f} s",))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _give_up(words: str) -> None:
    """What hangs is in a library: no exception reaches it."""
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()
    os._exit(1)


@contextlib.contextmanager
def on_own_stream(device: torch.device) -> Iterator[None]:
    """On a GPU, tensors are made on the stream that is timed."""
    if device.type != "cuda":
        yield
        return
    with torch.cuda.stream(stream_of(device)):
        yield
