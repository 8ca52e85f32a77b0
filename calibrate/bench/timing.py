"""How long one repetition takes: medians of samples, each long enough for the timer, until the median is steady.

A GPU is timed by on_gpu.py. The laws were fitted to tables timed just so, with all that fits in the L2 found there
("warm"); what always comes from memory in real life is timed once the L2 has been written over ("cold"). A processor
has no such tables: its kernels are timed as they are met, with caches that hold what was used in between.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from statistics import median, quantiles
from typing import Final, NamedTuple

import torch
from torch import distributed as dist

from calibrate.bench.batches import Sample, batch_of, taken
from calibrate.bench.on_gpu import sampled_alone, sampled_together
from calibrate.bench.point import Ranks, Run
from topologies.quantity import MIB, MICROSECOND, MILLISECOND

STEADY: Final = 0.01
"""Relative standard error of the median at which it is known well enough."""
FEWEST, MOST = 5, 500
LEAST_ON_GPU, LONGEST_ON_GPU = 10 * MILLISECOND, 100 * MILLISECOND
LEAST_ON_PROCESSOR, LONGEST_ON_PROCESSOR = 30 * MILLISECOND, 200 * MILLISECOND
"""Seconds of sampling before which a median is not trusted, however alike the samples, and after which it is left."""
SAMPLE_ON_PROCESSOR: Final = 200 * MICROSECOND
"""A sample is no shorter: a processor's timer resolves a tenth of a microsecond."""
SETTLED: Final = 1 / 3
"""Part of a sustained run after which clocks are taken as settled."""
SUSTAINED: Final = 6.0
"""Seconds of a sustained run."""
PASSING: Final = int(16 * MIB)
"""Bytes that pass a processor's caches between two repetitions: about what a process has of the largest of them."""
WORKED: Final = 384
"""Rows and columns of a product that a processor makes between two collectives, in a millisecond or two."""
ROUND: Final = 6
"""Samples of a collective between two agreements on whether to go on."""
ERROR_OF_MEDIAN: Final = 1.2533 / 1.349
"""Standard error of the median of normal samples, times the root of their number, over the distance of their quartiles:
the root of pi / 2 standard deviations, over 1.349."""


class Timed(NamedTuple):
    """Median, 10th and 90th percentile of so many samples, in seconds.

    `eager`: they are what the processor takes to launch it, for no graph could hold it and the GPU waited.
    """

    seconds: float
    low: float
    high: float
    repeats: int
    eager: bool = False


def time_alone(run: Run, ranks: Ranks) -> Timed:
    """What one operation takes on this rank's device, with nobody waited for; may raise torch.OutOfMemoryError."""
    if ranks.device.type != "cuda":
        return repeated_on_processor(_met_on_processor(run))
    sample, eager = sampled_alone(run, ranks.device)
    if run.regime == "sustained":
        return settled(sample, SUSTAINED)._replace(eager=eager)
    return repeated(sample, LEAST_ON_GPU, LONGEST_ON_GPU)._replace(eager=eager)


def time_together(run: Run, ranks: Ranks) -> Timed:
    """What one collective takes its members: the mean over them of each one's median, as nccl-tests averages.

    On GPUs repetitions follow back to back. On processors all members compute before each, as in training, and it lasts
    from when the last has come until the last is done. All members call it.
    """
    on_gpu = ranks.device.type == "cuda"
    largest = partial(agreed, ranks=ranks, how=dist.ReduceOp.MAX)
    sample, eager = (
        sampled_together(run, ranks.device, largest) if on_gpu else (_sample_on_processors(run, ranks), False)
    )
    samples, longest = [sample()], LONGEST_ON_GPU if on_gpu else LONGEST_ON_PROCESSOR
    began = time.perf_counter()
    while True:
        samples += [sample() for _ in range(ROUND)]
        is_over = is_steady(samples) or time.perf_counter() - began > longest
        if largest(float(not is_over)) == 0.0 or len(samples) > MOST:
            break
    found = timed(samples[1:])
    seconds, low, high = (_mean(value, ranks) for value in found[:3])
    return Timed(seconds, low, high, found.repeats, eager=bool(largest(float(eager))))


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
    batch = batch_of(taken(run.go, time.thread_time), SAMPLE_ON_PROCESSOR)
    return lambda: taken(run.go, time.thread_time, batch) / run.times


def _met_on_processor(run: Run) -> Sample:
    """As in training, where all other tensors of a step have passed the caches since it ran last."""
    if run.regime == "host":
        return sample_on_processor(run)
    run.go()

    def sample() -> float:
        _passing().zero_()
        return taken(run.go, time.thread_time) / run.times

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
