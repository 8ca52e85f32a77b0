"""How fast served loads are played, beside bare SimPy: one timeout for each pass, and nothing else.

A quiet pass costs less than that, since stretches are stepped over; a pass that somebody joins or leaves costs more.
"""

import os
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from simpy import Environment, Event

from benchmarks.conftest import Show
from sim.requests import Requests
from sim.serving.record import Record
from sim.serving.results import summarize
from sim.serving.service import serve
from tests.pass_costs import Linear
from tests.served import SMALL, ahead
from topologies.quantity import GIGA, KIB

TRACE = Path(__file__).parents[2] / "shared" / "traces" / "azure2023_conv_lengths_n5000_rate1.csv"
SERVER = replace(ahead(SMALL), max_num_seqs=256, max_num_batched_tokens=2048, max_model_len=8192, num_blocks=30_000)
COSTS = Linear(fixed=0.008, per_token=4e-5, per_key=2e-9, host_seconds=0.001)


def load(count: int, rate: float) -> Requests:
    random = np.random.default_rng(0)
    return Requests(
        arrival=np.add.accumulate(random.exponential(1 / rate, count)),
        prompt=random.integers(100, 1000, count),
        output=random.integers(50, 350, count),
    )


def traced() -> Requests:
    arrival, prompt, output = np.loadtxt(TRACE, delimiter=",", skiprows=1).T
    return Requests(arrival=arrival, prompt=prompt.astype(np.int64), output=output.astype(np.int64))


def bare(seconds: list[float]) -> float:
    """Wall seconds of as many timeouts of one SimPy process."""
    env = Environment()

    def passes() -> Iterator[Event]:
        for each in seconds:
            yield env.timeout(each)

    env.process(passes())
    start = perf_counter()
    env.run()
    return perf_counter() - start


def most_memory() -> float:
    """Bytes that this process has ever held, with the largest of its helpers on each core."""
    own, helper = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return float(own + helper * len(os.sched_getaffinity(0))) * KIB


def assert_within(show: Show, what: str, seconds: float, bar: float, record: Record) -> None:
    beside = bare((record.steps.end - record.steps.start).tolist())
    verdict = "" if seconds < bar else "  MISSED"
    show(
        f"{what:<52} {seconds:>7.2f} s, bar {bar:>5.0f} s; {len(record.steps):>9,} passes, "
        f"{seconds / beside:.1f} x a bare timeout for each{verdict}"
    )
    assert seconds < bar


def test_a_hundred_thousand_requests_on_one_replica_in_30_s(benchmark: BenchmarkFixture, show: Show) -> None:
    requests = load(100_000, 10.0)
    record = benchmark.pedantic(serve, args=(requests, SERVER, COSTS), rounds=1)
    assert_within(show, "100,000 requests, one replica", benchmark.stats.stats.min, 30.0, record)


@pytest.mark.timeout(1800)
def test_a_million_requests_over_128_replicas_in_10_minutes_and_8_gb(benchmark: BenchmarkFixture, show: Show) -> None:
    """A replica of 8 GPUs answers ten a second: 1,024 GPUs, a quarter of an hour."""
    requests = load(1_000_000, 1280.0)
    record = benchmark.pedantic(
        serve, args=(requests, SERVER, COSTS), kwargs={"replicas": 128, "router": "round-robin"}, rounds=1
    )
    summarize(record, num_gpus=1024)
    memory = most_memory()
    assert_within(
        show, f"1,000,000 requests, 128 replicas, {memory / GIGA:.1f} GB", benchmark.stats.stats.min, 600.0, record
    )
    assert memory < 8 * GIGA


@pytest.mark.skipif(not TRACE.exists(), reason="the traces are not beside the repository")
def test_a_trace_of_5000_conversations_on_two_stages_in_2_s(benchmark: BenchmarkFixture, show: Show) -> None:
    """As long passes as Llama-2-70B's on four A100, so that as many requests run at once."""
    server = replace(SERVER, asynchronous=False)
    costs = Linear(fixed=0.015, per_token=5e-5, per_key=4e-9, host_seconds=0.001, num_stages=2, send=1e-4)
    record = benchmark.pedantic(serve, args=(traced(), server, costs), rounds=3)
    assert_within(show, "5,000 conversations, two stages", benchmark.stats.stats.min, 2.0, record)
