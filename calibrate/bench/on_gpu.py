"""How a GPU is sampled: by two events of its own stream, between which repetitions run back to back.

A short kernel takes less time than its launch, so repetitions are captured in a CUDA graph. And a GPU that has nothing
to do passes the first event at once, while what follows is still being launched: so it first spins for as long as
launching takes. Ranks of a group reach a collective at different times; one that is not timed lets them meet.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from statistics import median
from typing import Final, NamedTuple

import torch

from calibrate.bench.batches import Sample, batch_of, in_a_row, taken
from calibrate.bench.point import Run
from topologies.quantity import GIGA, MICROSECOND, MILLISECOND

PREHEAT: Final = 20 * MILLISECOND
"""A GPU that waits clocks down within milliseconds of nothing to do, and up again as fast."""
SAMPLE: Final = MILLISECOND
"""A sample is no shorter: events resolve half a microsecond."""
SAMPLE_SUSTAINED: Final = 50 * MILLISECOND
"""Between two samples the GPU only spins: it must not cool down."""
MOST_WAITING: Final = 500
"""Launches that wait to be run; once a thousand do, the next launch waits for the GPU."""
MOST_REPLAYS: Final = 50
"""Of a graph in one sample."""
HEAD_START: Final = 100 * MICROSECOND
"""Launching a graph takes 10 or 20; where repetitions are launched one by one, it is twice what that takes."""
LONGEST_HEAD_START: Final = 10 * MILLISECOND
CLOCK: Final = 2 * GIGA
"""Cycles a second of the fastest GPUs, nearly: slower ones spin for longer."""
KEPT_UP: Final = 0.9
"""A processor that takes no longer than this part of the time of the GPU, its head start included, was ahead of it."""
REST: Final = 50 * MILLISECOND
"""So long nothing runs before a kernel is timed that is to be at the clock of one alone."""
RESTED: Final = 5
"""Samples after a rest."""

Agree = Callable[[float], float]
"""The largest of what the members of a group say; a rank alone says it to itself."""


class Row(NamedTuple):
    """What is timed as one: so many repetitions. Before it the GPU spins for `head_start` seconds, then runs `lead`."""

    go: Callable[[], object]
    times: int
    head_start: float = HEAD_START
    lead: Callable[[], object] | None = None


class Sampled(NamedTuple):
    """How samples are taken, and whether they tell what launching takes, for the GPU waits for the processor."""

    sample: Sample
    eager: bool = False


@lru_cache
def stream_of(device: torch.device) -> torch.cuda.Stream:
    """The stream on which all is prepared, captured and timed: what a graph captures must not touch another, and
    autograd runs the backward of an operation on the stream that its forward was on."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def sampled_alone(run: Run, device: torch.device) -> Sampled:
    """Of one kernel on one GPU, as its regime asks."""
    once = _preheat(run, device, float)
    if run.regime == "host":
        return Sampled(lambda: _host_seconds(run, device))
    if run.regime == "cold":
        return _one_by_one(run, device, 1, flushes=True)
    least = SAMPLE_SUSTAINED if run.regime == "sustained" else SAMPLE
    row = _of_graphs(run, device, least, float)
    if row is None:
        return _one_by_one(run, device, batch_of(once, least, MOST_REPLAYS))
    return Sampled(lambda: _seconds(row, run, device))


def sampled_together(run: Run, device: torch.device, agree: Agree) -> Sampled:
    """Of a collective: all members replay as many repetitions, or all launch as many."""
    once = agree(_preheat(run, device, agree))
    row = _of_graphs(run, device, SAMPLE, agree, meets=True)
    if row is None:
        return _one_by_one(run, device, batch_of(once, SAMPLE, MOST_REPLAYS))
    return Sampled(lambda: _seconds(row, run, device))


def rested_seconds(run: Run, device: torch.device) -> float:
    """One repetition at the clock that a kernel has alone: a few milliseconds of work, each after a rest."""
    row = Row(go=run.go, times=1, head_start=_head_start(run, device, 1))
    samples = []
    for _ in range(RESTED):
        time.sleep(REST)
        samples.append(_second(row, run, device))
    return median(samples)


def captured(run: Run, device: torch.device, times: int) -> Callable[[], None] | None:
    """So many repetitions as one CUDA graph; None where the operation cannot be captured.

    Other threads (NCCL's watchdog, say) may call CUDA while one captures: so only this thread's calls are restricted.
    """
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize(device)
    try:
        with torch.cuda.graph(graph, stream=stream_of(device), capture_error_mode="thread_local"):
            for _ in range(times):
                run.go()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # it waits for the GPU, or allocates behind PyTorch's back
        torch.cuda.synchronize(device)
        return None
    return graph.replay


def fell_behind(launching: float, head_start: float, running: float) -> bool:
    """Whether a GPU that ran for so many seconds after its head start had to wait for launches that took so many."""
    return launching > KEPT_UP * (head_start + running)


def _of_graphs(run: Run, device: torch.device, least: float, agree: Agree, *, meets: bool = False) -> Row | None:
    """Graphs of as many repetitions, and so many of them, that they last; None where any member cannot capture.

    How long one takes is told by a graph of one: launched, most take the processor longer than the GPU.
    """
    one = captured(run, device, 1)
    if agree(float(one is None)) or one is None:
        return None
    copies = batch_of(agree(run.times * _second(Row(go=one, times=1), run, device)), least)
    several = captured(run, device, copies)
    if agree(float(several is None)) or several is None:
        return None
    whole = copies * run.times * agree(_second(Row(go=several, times=copies), run, device))
    replays = batch_of(whole, least, MOST_REPLAYS)
    return Row(go=in_a_row(several, replays), times=copies * replays, lead=one if meets else None)


def _one_by_one(run: Run, device: torch.device, times: int, *, flushes: bool = False) -> Sampled:
    """Repetitions that are launched each, behind a head start that lets the processor come first."""
    row = Row(
        go=in_a_row(run.go, times),
        times=times,
        head_start=_head_start(run, device, times),
        lead=(lambda: _flush(device)) if flushes else None,
    )
    _, launching = _took(row, run, device)
    running = times * run.times * _seconds(row, run, device)
    return Sampled(lambda: _seconds(row, run, device), fell_behind(launching, row.head_start, running))


def _head_start(run: Run, device: torch.device, times: int) -> float:
    """0 where something must be under way as the first repetition begins: spinning, the GPU would let it end."""
    if run.before is not None:
        return 0.0
    return max(HEAD_START, min(LONGEST_HEAD_START, 2 * _launching(run, device, times)))


def _launching(run: Run, device: torch.device, times: int) -> float:
    """What the processor takes to launch so many repetitions, while the GPU is not waited for."""
    _begin(run)
    with torch.cuda.stream(stream_of(device)):
        seconds = times * taken(run.go, time.perf_counter, times)
    torch.cuda.synchronize(device)
    return seconds


def _preheat(run: Run, device: torch.device, agree: Agree) -> float:
    """Runs it until clocks are up; about how long one takes, be it the GPU or the processor that takes it."""
    torch.cuda.synchronize(device)
    with torch.cuda.stream(stream_of(device)):
        _begin(run)
        run.go()
        torch.cuda.synchronize(device)
        times = batch_of(agree(_synchronous(run, 1, device)), PREHEAT, MOST_WAITING)
        return _synchronous(run, times, device)


def _synchronous(run: Run, times: int, device: torch.device) -> float:
    _begin(run)
    began = time.perf_counter()
    for _ in range(times):
        run.go()
    torch.cuda.synchronize(device)
    return (time.perf_counter() - began) / times


def _second(row: Row, run: Run, device: torch.device) -> float:
    """Of two samples the later: a graph's first launch also moves it to the GPU."""
    _seconds(row, run, device)
    return _seconds(row, run, device)


def _seconds(row: Row, run: Run, device: torch.device) -> float:
    """One sample: the seconds of one operation."""
    return _took(row, run, device)[0]


def _took(row: Row, run: Run, device: torch.device) -> tuple[float, float]:
    """Seconds of one operation on the GPU, and of the processor until all was launched."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream_of(device)):
        _begin(run)
        began = time.perf_counter()
        if row.head_start:
            torch.cuda._sleep(round(row.head_start * CLOCK))  # type: ignore[no-untyped-call]
        if row.lead is not None:
            row.lead()
        start.record()
        row.go()
        end.record()
        launching = time.perf_counter() - began
    end.synchronize()
    return float(start.elapsed_time(end)) * MILLISECOND / (row.times * run.times), launching


def _begin(run: Run) -> None:
    if run.before is not None:
        run.before()


def _flush(device: torch.device) -> None:
    """Twice over, so that nothing of the operands is left in it."""
    for _ in range(2):
        _flushing(device).zero_()


@lru_cache
def _flushing(device: torch.device) -> torch.Tensor:
    """Twice the size of the L2."""
    nbytes = 2 * torch.cuda.get_device_properties(device).L2_cache_size
    return torch.empty(nbytes, dtype=torch.int8, device=device)


def _host_seconds(run: Run, device: torch.device) -> float:
    """By the processor's clock, while the GPU is not waited for."""
    times = max(1, MOST_WAITING // run.times)
    return _launching(run, device, times) / (times * run.times)
