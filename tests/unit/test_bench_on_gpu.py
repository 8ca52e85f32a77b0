"""How a GPU is sampled, by a GPU that is played: a processor launches, the GPU runs what was launched in order.

Each launch takes the processor its time, and the GPU begins it once it was launched and all before it has ended.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch

from calibrate.bench import on_gpu
from calibrate.bench.on_gpu import HEAD_START, fell_behind, rested_seconds, sampled_alone, sampled_together
from calibrate.bench.point import Regime, Run
from topologies.quantity import MICROSECOND, MILLISECOND

DEVICE = torch.device("cuda", 0)
REPLAY = 15 * MICROSECOND
"""Of the processor, to launch a graph."""
CALL = MICROSECOND
"""Of the processor, for anything else."""


class Played:
    """The clocks of a processor and of its GPU, and what was done, in order."""

    def __init__(self) -> None:
        self.now, self.free = 0.0, 0.0
        self.capturing: list[float] | None = None
        self.done: list[str] = []

    def launch(self, name: str, launching: float, running: float) -> None:
        """A kernel; while a graph is captured it is only noted there."""
        if self.capturing is not None:
            self.capturing.append(running)
            return
        self.done.append(name)
        self.now += launching
        self.free = max(self.free, self.now) + running

    def wait(self) -> None:
        self.now = max(self.now, self.free)

    def kernel(self, launching: float, running: float, name: str = "kernel") -> Callable[[], object]:
        return lambda: self.launch(name, launching, running)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    gpu = Played()

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            self.at = 0.0

        def record(self) -> None:
            gpu.launch("event", CALL, 0.0)
            self.at = gpu.free

        def synchronize(self) -> None:
            gpu.wait()

        def elapsed_time(self, end: "Event") -> float:
            return (end.at - self.at) / MILLISECOND

    class Graph:
        def __init__(self) -> None:
            self.nodes: list[float] = []

        def replay(self) -> None:
            gpu.launch(f"graph of {len(self.nodes)}", REPLAY, sum(self.nodes))

    @contextmanager
    def graph(held: Graph, stream: object, capture_error_mode: str) -> Iterator[None]:
        gpu.capturing = []
        try:
            yield
            held.nodes = gpu.capturing
        finally:
            gpu.capturing = None

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: gpu.wait())
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: gpu.launch("spin", CALL, cycles / on_gpu.CLOCK))
    monkeypatch.setattr(on_gpu, "stream_of", lambda device: "its stream")
    monkeypatch.setattr(on_gpu, "_flush", lambda device: gpu.launch("flush", CALL, 30 * MICROSECOND))
    monkeypatch.setattr(time, "perf_counter", lambda: gpu.now)
    monkeypatch.setattr(time, "sleep", lambda seconds: setattr(gpu, "now", gpu.now + seconds))
    return gpu


def uncaptured(gpu: Played, go: Callable[[], object]) -> Callable[[], object]:
    def refused() -> object:
        if gpu.capturing is not None:
            raise RuntimeError("not permitted when a stream is capturing")
        return go()

    return refused


@pytest.mark.parametrize("regime", ["warm", "cold", "sustained"])
@pytest.mark.parametrize("running", [2, 15, 150, 5000])
@pytest.mark.parametrize("launching", [5, 150])
def test_what_a_kernel_takes_is_told_without_its_launch(
    launching: int, running: int, regime: Regime, played: Played
) -> None:
    """To a hundredth, or an event's microsecond where a single repetition is timed."""
    run = Run(played.kernel(launching * MICROSECOND, running * MICROSECOND), str, regime=regime)
    sample, eager = sampled_alone(run, DEVICE)
    assert sample() == pytest.approx(running * MICROSECOND, rel=0.01, abs=1.5 * CALL if regime == "cold" else None)
    assert not eager


def test_a_sample_is_long_enough_though_launching_takes_far_longer_than_running(played: Played) -> None:
    """15 us each: 67 in a graph are a millisecond; by the 150 us of a launch it would have been 7."""
    sample, _ = sampled_alone(Run(played.kernel(150 * MICROSECOND, 15 * MICROSECOND), str), DEVICE)
    played.done.clear()
    sample()
    assert played.done == ["spin", "event", "graph of 67", "event"]


def test_short_graphs_are_replayed_until_the_sample_is_long_enough(played: Played) -> None:
    """200 of 2 us last 0.4 ms."""
    sample, _ = sampled_alone(Run(played.kernel(5 * MICROSECOND, 2 * MICROSECOND), str), DEVICE)
    played.done.clear()
    sample()
    assert played.done == ["spin", "event", *["graph of 200"] * 3, "event"]


def test_what_no_graph_holds_is_launched_behind_a_head_start(played: Played) -> None:
    go = uncaptured(played, played.kernel(150 * MICROSECOND, 15 * MICROSECOND))
    sample, eager = sampled_alone(Run(go, str), DEVICE)
    assert sample() == pytest.approx(15 * MICROSECOND, rel=0.02)
    assert not eager


def test_what_waits_for_the_gpu_is_told_to_be_eager(played: Played) -> None:
    kernel = played.kernel(150 * MICROSECOND, 15 * MICROSECOND)

    def go() -> None:
        kernel()
        played.wait()

    assert sampled_alone(Run(uncaptured(played, go), str), DEVICE).eager
    assert sampled_together(Run(uncaptured(played, go), str), DEVICE, float).eager


def test_a_gpu_with_more_to_do_than_it_was_given_in_time_was_not_waited_for() -> None:
    assert not fell_behind(1.0, 0.0, 2.0)
    assert not fell_behind(1.0, 2.0, 0.1)
    assert fell_behind(1.0, 0.2, 0.8)


def test_members_of_a_group_meet_in_a_repetition_that_is_not_timed(played: Played) -> None:
    run = Run(played.kernel(20 * MICROSECOND, 60 * MICROSECOND), str)
    sample, _ = sampled_together(run, DEVICE, float)
    played.done.clear()
    assert sample() == pytest.approx(60 * MICROSECOND)
    assert played.done == ["spin", "graph of 1", "event", "graph of 17", "event"]


def test_where_one_member_cannot_capture_none_replays(played: Played) -> None:
    run = Run(played.kernel(20 * MICROSECOND, 50 * MICROSECOND), str)
    sample, _ = sampled_together(run, DEVICE, lambda value: max(value, 1.0) if value in (0.0, 1.0) else value)
    played.done.clear()
    sample()
    assert not [name for name in played.done if name.startswith("graph")]


def test_what_must_be_under_way_is_begun_before_each_sample_and_not_timed(played: Played) -> None:
    """And the GPU then does not spin: what is under way would end meanwhile."""
    before = played.kernel(CALL, 200 * MICROSECOND, "before")
    go = uncaptured(played, played.kernel(10 * MICROSECOND, 5 * MILLISECOND))
    sample, eager = sampled_together(Run(go, str, before=before), DEVICE, float)
    played.done.clear()
    assert sample() == pytest.approx(5 * MILLISECOND)
    assert played.done == ["before", "event", "kernel", "event"]
    assert not eager


def test_a_rested_kernel_is_told_without_its_launch(played: Played) -> None:
    run = Run(played.kernel(40 * MICROSECOND, 100 * MICROSECOND), str)
    assert rested_seconds(run, DEVICE) == pytest.approx(100 * MICROSECOND, abs=1.5 * CALL)
    assert played.now > 5 * on_gpu.REST


def test_one_of_several_operations_of_a_run_is_told(played: Played) -> None:
    sample, _ = sampled_alone(Run(played.kernel(10 * MICROSECOND, 80 * MICROSECOND), str, times=4), DEVICE)
    assert sample() == pytest.approx(20 * MICROSECOND, rel=0.01)


def test_the_processors_time_is_that_of_a_launch(played: Played) -> None:
    run = Run(played.kernel(6 * MICROSECOND, MICROSECOND), str, regime="host")
    assert sampled_alone(run, DEVICE).sample() == pytest.approx(6 * MICROSECOND)


def test_a_head_start_is_at_least_that_of_a_graph() -> None:
    assert HEAD_START > REPLAY
