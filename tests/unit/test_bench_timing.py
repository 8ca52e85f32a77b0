"""How long a repetition takes: when sampling ends, and what is made of the samples."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, count, cycle, repeat

import pytest
import torch

from calibrate.bench import on_gpu, timing
from calibrate.bench.point import Ranks, Run
from calibrate.bench.timing import LONGEST_ON_PROCESSOR, MOST, is_steady, repeated, settled, time_alone, timed
from topologies.quantity import MILLISECOND

HERE = Ranks(rank=0, num_ranks=1, ranks_per_node=1, device=torch.device("cpu"))


def ticking(step: float) -> Callable[[], float]:
    """A clock that is a step later whenever it is looked at."""
    ticks = count()
    return lambda: next(ticks) * step


def test_sampling_ends_once_the_median_is_steady_and_not_before_the_least_time() -> None:
    """Equal samples are steady at once; with 1 ms a look and 10 ms at least it takes 5 and some 10 more."""
    found = repeated(lambda: 2.0, 10 * MILLISECOND, 1.0, now=ticking(MILLISECOND))
    assert found.seconds == found.low == found.high == 2.0
    assert found.repeats == 15


def test_sampling_ends_at_the_longest_time_however_noisy() -> None:
    noisy = cycle([1.0, 3.0])
    found = repeated(lambda: next(noisy), 0.0, 0.1, now=ticking(10 * MILLISECOND))
    assert found.repeats == 15


def test_sampling_ends_after_enough_samples_where_time_stands_still() -> None:
    noisy = cycle([1.0, 3.0])
    assert repeated(lambda: next(noisy), 0.0, 1.0, now=lambda: 0.0).repeats == MOST


def test_an_outlier_moves_neither_the_median_nor_its_steadiness() -> None:
    samples = [1.0] * 30 + [50.0]
    assert is_steady(samples)
    assert timed(samples).seconds == 1.0


def test_few_samples_are_never_steady() -> None:
    assert not is_steady([1.0] * 4)


def test_deciles_of_a_known_row() -> None:
    """Of 0, 1, ..., 10 the median is 5, the 10th percentile 1 and the 90th 9."""
    assert timed([float(number) for number in range(11)]) == (5.0, 1.0, 9.0, 11, False)


def test_a_sustained_run_counts_only_once_clocks_have_settled() -> None:
    """A sample a second over nine seconds: those of the first three are fast and do not count."""
    samples = chain(repeat(1.0, 2), repeat(1.5))
    assert settled(lambda: next(samples), 9.0, now=ticking(0.5)).low == 1.5


def test_one_of_several_operations_of_a_run_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of four operations of a second each, by a clock that only they move."""
    clock = [0.0]
    monkeypatch.setattr(time, "thread_time", lambda: clock[0])

    def go() -> None:
        clock[0] += 4.0

    assert time_alone(Run(go, str), HERE).seconds == 4.0
    assert time_alone(Run(go, str, times=4), HERE).seconds == 1.0


def test_alone_a_collective_is_its_own_group() -> None:
    found = timing.time_together(Run(lambda: None, str), HERE)
    assert 0 <= found.low <= found.seconds <= found.high
    assert found.repeats >= 5


def test_on_processors_a_collective_lasts_from_the_last_to_come_until_the_last_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """This process comes at 10 and 20 s and so on and is done 1 s later; another comes 2 s and is done 3 s later than
    it, whose times are the largest: 1 + 3 - 2 = 2 s, of two operations."""
    moments = chain.from_iterable((ten, ten + 1.0) for ten in count(10.0, 10.0))
    later = cycle([2.0, 3.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(moments))
    monkeypatch.setattr(timing, "agreed", lambda value, ranks, how: value + next(later))
    sample = timing._sample_on_processors(Run(lambda: None, str, times=2), HERE)
    assert [sample(), sample()] == [1.0, 1.0]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A CUDA that notes what is captured and replayed."""
    done: list[str] = []

    class Graph:
        def replay(self) -> None:
            done.append("replay")

    @contextmanager
    def graph(_: Graph, stream: object, capture_error_mode: str) -> Iterator[None]:
        done.append(f"capture {capture_error_mode} on {stream}")
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: done.append("wait"))
    monkeypatch.setattr(on_gpu, "stream_of", lambda device: "its stream")
    return done


def test_a_graph_holds_all_repetitions_and_is_replayed(cuda: list[str]) -> None:
    run = Run(lambda: cuda.append("go"), str)
    replay = on_gpu.captured(run, torch.device("cuda", 0), 3)
    assert replay is not None
    replay()
    assert cuda == ["wait", "capture thread_local on its stream", "go", "go", "go", "replay"]


def test_what_cannot_be_captured_is_launched_instead(cuda: list[str]) -> None:
    def go() -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    assert on_gpu.captured(Run(go, str), torch.device("cuda", 0), 3) is None
    assert cuda[-1] == "wait"


def test_memory_that_runs_out_in_a_capture_is_told(cuda: list[str]) -> None:
    def go() -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        on_gpu.captured(Run(go, str), torch.device("cuda", 0), 3)


def test_a_point_is_no_longer_sampled_than_is_said() -> None:
    """Sanity of the figures that a plan rests on."""
    assert 0 < timing.LEAST_ON_PROCESSOR < LONGEST_ON_PROCESSOR
    assert 0 < timing.LEAST_ON_GPU < timing.LONGEST_ON_GPU
