"""How long one repetition takes: medians of samples, each long enough for the timer, until the median is steady.

A short kernel of a GPU takes less time than its launch, so repetitions are captured in a CUDA graph and replayed back
to back between two events. The laws were fitted to tables timed just so, with all that fits in the L2 found there
("warm"); what always comes from memory in real life is timed once the L2 has been written over ("cold"). A processor
has no such tables: its kernels are timed as they are met, with caches that hold what was used in between.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import median, quantiles
from typing import Final, NamedTuple

import torch
from torch import distributed as dist

from calibrate.bench.point import Ranks, Run
from topologies.quantity import MIB, MICROSECOND, MILLISECOND

STEADY: Final = 0.01
"""Relative standard error of the median at which it is known well enough."""
FEWEST, MOST = 5, 500
LEAST_ON_GPU, LONGEST_ON_GPU = 10 * MILLISECOND, 100 * MILLISECOND
LEAST_ON_PROCESSOR, LONGEST_ON_PROCESSOR = 30 * MILLISECOND, 200 * MILLISECOND
"""Seconds of sampling before which a median is not trusted, however alike the samples, and after which it is left."""
PREHEAT: Final = 20 * MILLISECOND
"""A GPU that waits clocks down within milliseconds of nothing to do, and up again as fast."""
SAMPLE_ON_GPU: Final = MILLISECOND
SAMPLE_ON_PROCESSOR: Final = 200 * MICROSECOND
"""A sample is no shorter: events resolve half a microsecond, a processor's timer a tenth."""
SAMPLE_SUSTAINED: Final = 50 * MILLISECOND
"""Between two samples the GPU waits for some 20 us: it must not cool down."""
MOST_COPIES: Final = 200
"""Repetitions in one graph; nodes take memory, and time to be captured."""
MOST_WAITING: Final = 500
"""Launches that wait to be run; once a thousand do, the next launch waits for the GPU."""
SETTLED: Final = 1 / 3
"""Part of a sustained run after which clocks are taken as settled."""
SUSTAINED: Final = 6.0
"""Seconds of a sustained run."""
REST: Final = 50 * MILLISECOND
"""So long nothing runs before a kernel is timed that is to be at the clock of one alone."""
PASSING: Final = int(16 * MIB)
"""Bytes that pass a processor's caches between two repetitions: about what a process has of the largest of them."""
WORKED: Final = 384
"""Rows and columns of a product that a processor makes between two collectives, in a millisecond or two."""
ROUND: Final = 6
"""Samples of a collective between two agreements on whether to go on."""
ERROR_OF_MEDIAN: Final = 1.2533 / 1.349
"""Standard error of the median of normal samples, times the root of their number, over the distance of their quartiles:
the root of pi / 2 standard deviations, over 1.349."""

Sample = Callable[[], float]
"""Takes one sample: the seconds of one repetition, the mean over a batch of them."""


class Timed(NamedTuple):
    """Median, 10th and 90th percentile of so many samples, in seconds."""

    seconds: float
    low: float
    high: float
    repeats: int


def time_alone(run: Run, ranks: Ranks) -> Timed:
    """What one operation takes on this rank's device, with nobody waited for; may raise torch.OutOfMemoryError."""
    on_gpu = ranks.device.type == "cuda"
    sample = _sample_on_gpu(run, ranks.device) if on_gpu else _met_on_processor(run)
    if run.regime == "sustained":
        return settled(sample, SUSTAINED)
    return repeated(sample, LEAST_ON_GPU, LONGEST_ON_GPU) if on_gpu else repeated_on_processor(sample)


def time_together(run: Run, ranks: Ranks) -> Timed:
    """What one collective takes its members: the mean over them of each one's median, as nccl-tests averages.

    On GPUs repetitions follow back to back. On processors all members compute before each, as in training, and it lasts
    from when the last has come until the last is done. All members call it.
    """
    on_gpu = ranks.device.type == "cuda"
    sample = _sample_on_gpus(run, ranks) if on_gpu else _sample_on_processors(run, ranks)
    samples, longest = [sample()], LONGEST_ON_GPU if on_gpu else LONGEST_ON_PROCESSOR
    began = time.perf_counter()
    while True:
        samples += [sample() for _ in range(ROUND)]
        is_over = is_steady(samples) or time.perf_counter() - began > longest
        if agreed(float(not is_over), ranks, dist.ReduceOp.MAX) == 0.0 or len(samples) > MOST:
            break
    found = timed(samples[1:])
    seconds, low, high = (_mean(value, ranks) for value in found[:3])
    return Timed(seconds, low, high, found.repeats)


def rested_seconds(run: Run, device: torch.device) -> float:
    """One repetition at the clock that a kernel has alone: a few milliseconds of work, each after a rest."""
    go = _in_a_row(run, 1)
    samples = []
    for _ in range(FEWEST):
        time.sleep(REST)
        _device_seconds(go, device)
        samples.append(_device_seconds(go, device))
    return median(samples)


def repeated_on_processor(sample: Sample) -> Timed:
    """As long as a noisy machine asks for."""
    return repeated(sample, LEAST_ON_PROCESSOR, LONGEST_ON_PROCESSOR)


def repeated(sample: Sample, least: float, longest: float, *, now: Callable[[], float] = time.perf_counter) -> Timed:
    """Samples until the median is steady, but for as many seconds at least and at most, and no more than enough."""
    began, samples = now(), [sample() for _ in range(FEWEST)]
    while len(samples) < MOST:
        elapsed = now() - began
        if elapsed > longest or (elapsed > least and is_steady(samples)):
            break
        samples.append(sample())
    return timed(samples)


def settled(sample: Sample, longest: float, *, now: Callable[[], float] = time.perf_counter) -> Timed:
    """Samples for so many seconds, of which the first third does not count: the clock still falls."""
    began = now()
    samples: list[tuple[float, float]] = []
    while not samples or now() - began < longest:
        taken = sample()
        samples.append((now() - began, taken))
    return timed([taken for at, taken in samples if at >= SETTLED * longest] or [samples[-1][1]])


def is_steady(samples: Sequence[float]) -> bool:
    """Whether the median is known to a hundredth, its error taken from the quartiles, which outliers do not move."""
    if len(samples) < FEWEST:
        return False
    first, middle, third = quantiles(samples, n=4, method="inclusive")
    error = ERROR_OF_MEDIAN * (third - first) / math.sqrt(len(samples))
    return error <= STEADY * middle


def timed(samples: Sequence[float]) -> Timed:
    """The median of samples, with the 10th and 90th percentile."""
    if len(samples) == 1:
        return Timed(samples[0], samples[0], samples[0], 1)
    deciles = quantiles(samples, n=10, method="inclusive")
    return Timed(median(samples), deciles[0], deciles[-1], len(samples))


def agreed(value: float, ranks: Ranks, how: dist.ReduceOp.RedOpType) -> float:
    """That value over all members, which so decide alike; each one's own where there is no group."""
    if ranks.group is None:
        return value
    shared = torch.tensor([value], dtype=torch.float64, device=ranks.device)
    dist.all_reduce(shared, how, group=ranks.group)
    return float(shared)


def _mean(value: float, ranks: Ranks) -> float:
    size = 1 if ranks.group is None else dist.get_world_size(ranks.group)
    return agreed(value, ranks, dist.ReduceOp.SUM) / size


def sample_on_processor(run: Run) -> Sample:
    """Batches back to back: what fits in a cache is found there, as on a GPU.

    By the clock of this thread, which computes alone: it stands while other programs have the core.
    """
    run.go()
    batch = _batch(_taken(run.go, time.thread_time), SAMPLE_ON_PROCESSOR, MOST_COPIES)
    return lambda: _taken(run.go, time.thread_time, batch) / run.times


def _met_on_processor(run: Run) -> Sample:
    """As in training, where all other tensors of a step have passed the caches since it ran last."""
    if run.regime == "host":
        return sample_on_processor(run)
    run.go()

    def sample() -> float:
        _passing().zero_()
        return _taken(run.go, time.thread_time) / run.times

    return sample


@lru_cache
def _passing() -> torch.Tensor:
    return torch.empty(PASSING, dtype=torch.int8)


def _sample_on_processors(run: Run, ranks: Ranks) -> Sample:
    """The threads of the library sleep while a process computes, and its caches hold something else: both are as they
    are between a block's kernels. All members are on one machine, and so by one clock."""
    side = torch.randn(WORKED, WORKED)
    run.go()

    def sample() -> float:
        if ranks.group is not None:
            dist.barrier(ranks.group)
        torch.mm(side, side)
        began = time.perf_counter()
        run.go()
        ended = time.perf_counter()
        last = [agreed(moment, ranks, dist.ReduceOp.MAX) for moment in (began, ended)]
        return (last[1] - last[0]) / run.times

    return sample


def _taken(go: Callable[[], object], now: Callable[[], float], times: int = 1) -> float:
    """Seconds by a clock of the processor, of one of so many."""
    began = now()
    for _ in range(times):
        go()
    return (now() - began) / times


def _batch(once: float, least: float, most: int) -> int:
    """How many repetitions make one sample."""
    return max(1, min(most, math.ceil(least / max(once, MICROSECOND))))


def _sample_on_gpu(run: Run, device: torch.device) -> Sample:
    once = _preheat(run, device)
    if run.regime == "host":
        return lambda: _host_seconds(run, device)
    if run.regime == "cold":
        return lambda: _cold_seconds(run, device)
    batch = _batch(once, SAMPLE_SUSTAINED if run.regime == "sustained" else SAMPLE_ON_GPU, MOST_COPIES)
    go = captured(run, device, batch) or _in_a_row(run, batch)
    return lambda: _device_seconds(go, device) / (batch * run.times)


def _sample_on_gpus(run: Run, ranks: Ranks) -> Sample:
    """All members capture as many repetitions, and either all of them replay or none does."""

    def agree(value: float) -> float:
        return agreed(value, ranks, dist.ReduceOp.MAX)

    batch = _batch(agree(_preheat(run, ranks.device, agree)), SAMPLE_ON_GPU, MOST_COPIES)
    graph = captured(run, ranks.device, batch)
    has_all = agreed(float(graph is not None), ranks, dist.ReduceOp.MIN) == 1.0
    go = graph if graph is not None and has_all else _in_a_row(run, batch)
    return lambda: _device_seconds(go, ranks.device) / (batch * run.times)


@lru_cache
def stream_of(device: torch.device) -> torch.cuda.Stream:
    """The stream on which all is prepared, captured and timed: what a graph captures must not touch another, and
    autograd runs the backward of an operation on the stream that its forward was on."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


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


def _in_a_row(run: Run, times: int) -> Callable[[], None]:
    def go() -> None:
        for _ in range(times):
            run.go()

    return go


def _preheat(run: Run, device: torch.device, agree: Callable[[float], float] = float) -> float:
    """Runs it until clocks are up; about how long one takes. Members of a group must `agree` on how often that is."""
    torch.cuda.synchronize(device)
    with torch.cuda.stream(stream_of(device)):
        run.go()
        torch.cuda.synchronize(device)
        times = _batch(agree(_synchronous(run.go, 1, device)), PREHEAT, MOST_WAITING)
        return _synchronous(run.go, times, device)


def _synchronous(go: Callable[[], object], times: int, device: torch.device) -> float:
    began = time.perf_counter()
    for _ in range(times):
        go()
    torch.cuda.synchronize(device)
    return (time.perf_counter() - began) / times


def _device_seconds(go: Callable[[], object], device: torch.device) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream_of(device)):
        start.record()
        go()
        end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) * MILLISECOND


def _cold_seconds(run: Run, device: torch.device) -> float:
    """While the L2 is written over, the launch has time to arrive: it is not timed."""
    with torch.cuda.stream(stream_of(device)):
        for _ in range(2):
            _flushing(device).zero_()
    return _device_seconds(run.go, device) / run.times


@lru_cache
def _flushing(device: torch.device) -> torch.Tensor:
    """Twice the size of the L2."""
    nbytes = 2 * torch.cuda.get_device_properties(device).L2_cache_size
    return torch.empty(nbytes, dtype=torch.int8, device=device)


def _host_seconds(run: Run, device: torch.device) -> float:
    """By the processor's clock, while the GPU is not waited for."""
    with torch.cuda.stream(stream_of(device)):
        taken = _taken(run.go, time.perf_counter, max(1, MOST_WAITING // run.times)) / run.times
    torch.cuda.synchronize(device)
    return taken
