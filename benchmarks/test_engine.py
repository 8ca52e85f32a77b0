"""How fast the engine plays GPT-1T, beside the same operations written by hand in SimPy, in the same run.

A rate is operations (passes, messages, what ends the step) per second of wall time. The bar is 60 % of by hand. The
steady state skips most operations by arithmetic: its rate says how fast a user has the result.
"""

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from unittest import mock

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import topologies
from benchmarks.by_hand import Pipeline, by_hand, pipeline_of, tuned_by_hand
from benchmarks.conftest import Show
from sim import frameworks, models
from sim.engine import Engine
from sim.plan import Plan
from sim.program import Program
from sim.schedules import SCHEDULES
from sim.timeline import Timeline
from sim.training import simulate_training
from sim.workload import TrainingStep
from topologies.hardware import Cluster

BAR = 0.6
ROUNDS = 5
THOUSAND = 1000


def plan_of(dp: int) -> Plan:
    """GPT-1T as in Narayanan et al. 2021: 8-way tensor, 64-way pipeline parallelism, 512 microbatches."""
    return Plan(
        tp=8,
        sp=False,
        pp=64,
        vpp=1,
        dp=dp,
        zero=0,
        recompute="full",
        schedule="1f1b",
        micro_batch=1,
        global_batch=512 * dp,
    )


def lowered(plan: Plan, cluster: Cluster) -> Program:
    """The program that a step plays at stage detail: the last of those that the engine is given."""
    given: list[Program] = []
    play = Engine.play

    def listening(engine: Engine, program: Program) -> Timeline:
        given.append(program)
        return play(engine, program)

    step = TrainingStep(seq_len=2048, precision="fp16")
    framework = replace(frameworks.load("megatron-lm"), gpu_spread=0.0)
    with mock.patch.object(Engine, "play", listening):
        simulate_training(models.load("gpt-1t"), cluster, plan, step, framework, detail="stage")
    return given[-1]


def best_of(*candidates: Callable[[], object]) -> list[float]:
    """Best wall seconds of each; they take turns, so that a busy moment of the machine meets all of them."""
    best = [math.inf] * len(candidates)
    for _ in range(ROUNDS):
        for index, candidate in enumerate(candidates):
            start = perf_counter()
            candidate()
            best[index] = min(best[index], perf_counter() - start)
    return best


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """Best wall seconds of one step, by hand and by the engine, with and without its steady state."""

    by_hand: float
    tuned: float
    passes_alone: float
    engine: float
    steady: float


@functools.cache
def measured(dp: int) -> tuple[Pipeline, Seconds]:
    """All of them in turns, so that a busy moment of the machine meets all."""
    cluster = topologies.load("dgx-a100", plan_of(dp).num_gpus)
    program = lowered(plan_of(dp), cluster)
    pipeline = pipeline_of(program, cluster)
    plain, steady = Engine(cluster, steady_state=False), Engine(cluster)
    duration = plain.play(program).duration
    assert by_hand(pipeline) == pytest.approx(duration, rel=1e-9)
    assert tuned_by_hand(pipeline) == pytest.approx(duration, rel=1e-9)
    best = best_of(
        lambda: by_hand(pipeline),
        lambda: tuned_by_hand(pipeline),
        lambda: by_hand(pipeline, messages=False),
        lambda: plain.play(program),
        lambda: steady.play(program),
    )
    return pipeline, Seconds(**dict(zip(Seconds.__slots__, best, strict=True)))


@pytest.mark.parametrize("dp", [1, 6])
def test_the_engine_keeps_60_percent_of_the_rate_by_hand(benchmark: BenchmarkFixture, show: Show, dp: int) -> None:
    """The engine as it comes, with its steady state."""
    pipeline, seconds = benchmark.pedantic(measured, args=(dp,), rounds=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info.update(asdict(seconds))
    for line in lines_of(f"GPT-1T TP8 x PP64 x DP{dp}, {512 * dp} GPUs", pipeline, seconds):
        show(line)
    assert seconds.by_hand / seconds.steady >= BAR


@pytest.mark.parametrize("dp", [1, 6])
def test_the_engine_keeps_60_percent_of_the_rate_by_hand_without_its_steady_state(dp: int) -> None:
    _, seconds = measured(dp)
    assert seconds.by_hand / seconds.engine >= BAR


def lines_of(what: str, pipeline: Pipeline, seconds: Seconds) -> Iterator[str]:
    """Seconds, rates, and the engine's rate over each yardstick's."""
    operations, passes = pipeline.num_operations / THOUSAND, pipeline.num_passes / THOUSAND
    yield f"{what}, stage detail: {operations:.0f} thousand operations, {passes:.0f} of them passes; thousand/s"
    yardsticks = {
        "SimPy by hand": (seconds.by_hand, operations),
        "SimPy by hand, tuned": (seconds.tuned, operations),
        "SimPy by hand, passes alone": (seconds.passes_alone, passes),
    }
    for name, (wall, count) in yardsticks.items():
        yield f"  {name:<38} {wall:>6.3f} s {count / wall:>5.0f}"
    for name, wall in {"engine": seconds.steady, "engine, steady state off": seconds.engine}.items():
        ratios = [f"{operations / wall / (count / yardstick):.2f}" for yardstick, count in yardsticks.values()]
        verdict = "" if operations / wall >= BAR * operations / seconds.by_hand else f"  BAR {BAR} MISSED"
        yield f"  {name:<38} {wall:>6.3f} s {operations / wall:>5.0f}  of the rates above: {', '.join(ratios)}{verdict}"


@pytest.mark.parametrize(("name", "num_chunks"), [("1f1b", 1), ("gpipe", 1), ("interleaved", 2)])
def test_building_a_schedule_of_64_ranks_and_512_microbatches(
    benchmark: BenchmarkFixture, show: Show, name: str, num_chunks: int
) -> None:
    schedule = benchmark.pedantic(SCHEDULES[name], args=(64, num_chunks, 512), rounds=5)  # type: ignore[no-untyped-call]
    assert sum(map(len, schedule.rows)) == 2 * 64 * num_chunks * 512
    (seconds,) = best_of(lambda: SCHEDULES[name](64, num_chunks, 512))
    show(f"schedule {name}, 64 ranks x {num_chunks} chunks x 512 microbatches: built in {seconds:.3f} s")
