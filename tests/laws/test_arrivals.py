"""Arrivals are the processes that they are called: their rates, their variation, their independence. Bounds are five
standard errors of the statistic at a fixed seed's sample, so that a wrong process fails and a right one never."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.requests import Bursts, Distribution, Diurnal, Load, Prefix, Sessions, made
from sim.requests.arrivals import rate_at

N = 20_000


@given(rate=st.floats(0.01, 1e4), burstiness=st.sampled_from([0.2, 1.0, 4.0, math.inf]), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_so_many_requests_at_a_rate_take_their_number_over_the_rate(rate: float, burstiness: float, seed: int) -> None:
    requests = made(Load(rate=rate, burstiness=burstiness, num_requests=50), seed=seed)
    assert requests.arrival[-1] == pytest.approx(50 / rate)
    assert (np.diff(requests.arrival) >= 0).all()


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gamma_intervals_vary_by_one_over_the_root_of_the_burstiness(burstiness: float) -> None:
    intervals = np.diff(made(Load(rate=3.0, burstiness=burstiness, num_requests=N), seed=1).arrival)
    assert intervals.std() / intervals.mean() == pytest.approx(1 / math.sqrt(burstiness), rel=0.08)


def test_infinite_burstiness_is_a_fixed_interval() -> None:
    assert made(Load(rate=4.0, burstiness=math.inf, num_requests=3), seed=0).arrival.tolist() == [0.25, 0.5, 0.75]


def test_an_interval_of_a_poisson_process_says_nothing_of_the_next() -> None:
    intervals = np.diff(made(Load(rate=1.0, num_requests=N), seed=2).arrival)
    assert abs(np.corrcoef(intervals[:-1], intervals[1:])[0, 1]) < 5 / math.sqrt(N)


@pytest.mark.parametrize(
    "load",
    [
        Load(rate=20.0, duration=1000.0),
        Load(rate=20.0, duration=1000.0, bursts=Bursts(on=10.0, off=40.0)),
        Load(rate=20.0, duration=1000.0, diurnal=Diurnal(peak=1.8, period=100.0)),
        Load(rate=20.0, duration=1000.0, diurnal=Diurnal(peak=1.8, period=100.0), num_requests=30_000),
    ],
    ids=["poisson", "bursts", "diurnal", "diurnal of at most so many"],
)
def test_as_many_come_in_a_duration_as_the_rate_says_and_the_counts_of_seeds_vary_as_poisson_ones(load: Load) -> None:
    """The number of events of a Poisson process, of whatever rate over time, has its mean as variance: 20,000 here."""
    counts = np.array([len(made(load, seed=seed)) for seed in range(60)])
    assert counts.mean() == pytest.approx(N, abs=5 * math.sqrt(N / 60))
    assert 0.3 < counts.var() / N < 2.2
    assert made(load, seed=0).arrival[-1] < 1000.0


def test_thinning_follows_the_curve() -> None:
    """Of one period in twenty slices, each holds what the rate's integral says, here within five deviations."""
    diurnal = Diurnal(peak=1.9, period=1000.0)
    times = made(Load(rate=40.0, duration=1000.0, diurnal=diurnal), seed=3).arrival
    counts, _ = np.histogram(times, bins=20, range=(0.0, 1000.0))
    expected = 50.0 * rate_at(np.linspace(25.0, 975.0, 20), 40.0, diurnal)
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected) + 0.02 * expected).all()
    assert expected.sum() == pytest.approx(40_000)


def test_thinning_makes_so_many_as_are_asked_for() -> None:
    requests = made(Load(rate=5.0, num_requests=1_000, diurnal=Diurnal(peak=2.0, period=60.0)), seed=0)
    assert len(requests) == 1_000
    assert requests.arrival[-1] == pytest.approx(200.0, rel=0.2)


def test_nobody_comes_between_bursts() -> None:
    load = Load(rate=2.0, num_requests=2_000, bursts=Bursts(on=5.0, off=20.0))
    times = made(load, seed=4).arrival
    assert (times % 25.0 < 5.0).all()
    assert len(times) / times[-1] == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize(
    ("kind", "mean", "deviation"), [("normal", 500.0, 50.0), ("lognormal", 500.0, 400.0), ("uniform", 500.0, 0.0)]
)
def test_lengths_have_the_mean_and_deviation_asked_for(kind: str, mean: float, deviation: float) -> None:
    """Uniform over [m(1-r), m(1+r)], r = 0.4: the deviation is rm/sqrt(3)."""
    asked = Distribution(mean=mean, kind=kind, deviation=deviation, range_ratio=0.4)  # type: ignore[arg-type]
    found = made(Load(num_requests=N, prompt=asked), seed=5).prompt
    assert found.mean() == pytest.approx(mean, rel=0.03)
    assert found.std() == pytest.approx(deviation or 0.4 * mean / math.sqrt(3), rel=0.08)


def test_a_range_ratio_draws_from_the_floor_to_the_ceiling_as_vllm_does() -> None:
    """floor(10 x 0.75) = 7 to ceil(10 x 1.25) = 13, both included [vllm/benchmarks/datasets.py, 0.19]."""
    asked = Distribution(mean=10.0, kind="uniform", range_ratio=0.25)
    assert set(made(Load(num_requests=2_000, output=asked), seed=0).output.tolist()) == set(range(7, 14))


SESSIONS = Sessions(turns=Distribution(mean=3.0, kind="uniform", range_ratio=0.5), think_time=5.0)
CHANGES: dict[str, Callable[[], Load]] = {
    "prompts": lambda: Load(rate=2.0, prompt=Distribution(mean=99.0, kind="normal", deviation=9.0)),
    "outputs": lambda: Load(rate=2.0, output=Distribution(mean=99.0, kind="lognormal", deviation=9.0)),
    "groups": lambda: Load(rate=2.0, prefix=Prefix(tokens=64, groups=9)),
    "concurrency": lambda: Load(rate=2.0, concurrency=3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_lengths_leave_the_arrivals_as_they_were(change: str) -> None:
    plain, changed = made(Load(rate=2.0), seed=6), made(CHANGES[change](), seed=6)
    assert plain.arrival.tobytes() == changed.arrival.tobytes()


def test_prompts_answers_and_intervals_know_nothing_of_each_other() -> None:
    asked = Distribution(mean=500.0, kind="normal", deviation=100.0)
    requests = made(Load(rate=1.0, num_requests=N, prompt=asked, output=asked), seed=9)
    columns = np.stack([requests.prompt[1:], requests.output[1:], np.diff(requests.arrival)])
    assert (np.abs(np.corrcoef(columns) - np.eye(3)) < 5 / math.sqrt(N)).all()


def test_the_same_seed_makes_the_same_bytes_and_another_one_others() -> None:
    load = Load(rate=2.0, prompt=Distribution(mean=90.0, kind="normal", deviation=9.0), sessions=SESSIONS)
    one, two, other = made(load, seed=7), made(load, seed=7), made(load, seed=8)
    for column in ("arrival", "prompt", "output", "after"):
        assert getattr(one, column).tobytes() == getattr(two, column).tobytes()
    assert one.contents == two.contents
    assert abs(np.corrcoef(one.prompt[:900], other.prompt[:900])[0, 1]) < 0.2
    assert (one.arrival[:10] != other.arrival[:10]).any()
