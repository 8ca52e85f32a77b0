"""What a run costs: GPUs x hours x price, and days = steps x the time of one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import topologies
from sim import price
from sim.workload import TrainingRun
from topologies import prices


def test_a_run_is_steps_and_its_cost_gpu_hours_times_the_price() -> None:
    """36 s a step of 4e6 tokens on 1000 GPUs: 10 GPU-hours, at $2.50 they are $25. 1e12 tokens are 250,000 steps:
    9e6 s = 104 1/6 days, 2.5e6 GPU-hours, $6.25 M."""
    found = price.costs(36.0, 4 * 10**6, 10**12, 1000, 2.5)
    assert found["price_per_gpu_hour_usd"] == 2.5
    assert found["cost_per_step_usd"] == pytest.approx(25.0)
    run = found["run"]
    assert isinstance(run, dict)
    assert (run["tokens"], run["steps"]) == (10**12, 250_000)
    assert run["days"] == pytest.approx(104 + 1 / 6)
    assert run["gpu_hours"] == pytest.approx(2.5e6)
    assert run["cost_usd"] == pytest.approx(6.25e6)


def test_a_step_that_is_begun_is_paid_whole() -> None:
    run = price.costs(1.0, 1000, 1001, 8, 1.0)["run"]
    assert isinstance(run, dict)
    assert run["steps"] == 2


@given(step_time=st.floats(1e-3, 1e3), tokens=st.integers(1, 10**15), gpus=st.integers(1, 10**5))
def test_a_run_costs_its_steps(step_time: float, tokens: int, gpus: int) -> None:
    found = price.costs(step_time, 4096, tokens, gpus, 3.0)
    run, step = found["run"], found["cost_per_step_usd"]
    assert isinstance(run, dict)
    assert isinstance(step, float)
    assert run["cost_usd"] == pytest.approx(run["steps"] * step)


def test_without_a_price_the_time_is_known_and_the_money_is_not() -> None:
    found = price.costs(36.0, 4 * 10**6, 10**12, 1000, None)
    run = found["run"]
    assert isinstance(run, dict)
    assert (found["price_per_gpu_hour_usd"], found["cost_per_step_usd"], run["cost_usd"]) == (None, None, None)
    assert run["gpu_hours"] == pytest.approx(2.5e6)


def test_a_list_price_is_told_with_its_date_and_source() -> None:
    cluster, listed = topologies.load("dgx-h100"), prices.price("h100-80gb-sxm")
    assert listed is not None
    for said, dollars, kind in (
        (None, listed.on_demand, "on demand"),
        ("on-demand", listed.on_demand, "on demand"),
        ("reserved", listed.reserved, "reserved"),
    ):
        found, note = price.hourly(TrainingRun(price=said), cluster, 64)  # type: ignore[arg-type]
        assert found == dollars
        assert note == f"Price of h100-80gb-sxm {kind}: ${dollars:.2f} per GPU-hour ({listed.source}, {listed.date})."


def test_a_price_as_given_wins_and_says_so() -> None:
    found, note = price.hourly(TrainingRun(price=0.0), topologies.load("dgx-h100"), 64)
    assert (found, note) == (0.0, "Price as given: $0.00 per GPU-hour.")


def test_where_no_price_is_known_the_note_says_what_to_write() -> None:
    unknown = next(name for name in topologies.names("gpus") if prices.price(name) is None)
    cluster = topologies.build(gpu=unknown, nodes=1)
    found, note = price.hourly(TrainingRun(), cluster, 8)
    assert (found, note) == (None, f"No price of {unknown} on demand is known; --price 2.50 gives one.")


def test_where_only_the_other_price_is_listed_the_note_says_it() -> None:
    listed = prices.price("b300-sxm")
    assert listed is not None
    assert listed.reserved is None
    found, note = price.hourly(TrainingRun(price="reserved"), topologies.load("dgx-b300"), 8)
    only = f"only one on demand: ${listed.on_demand:.2f} per GPU-hour (--price on-demand)"
    assert (found, note) == (None, f"No price of b300-sxm reserved is known, {only}; --price 2.50 gives one.")


def test_mixed_gpus_cost_their_mean() -> None:
    """8 A100 and the first 24 of many H100: (8 a + 24 h) / 32."""
    a100, h100 = topologies.load("dgx-a100", 8), topologies.load("dgx-h100", 64)
    mixed = replace(a100, pools=(*a100.pools, *h100.pools))
    a, h = prices.price("a100-80gb-sxm"), prices.price("h100-80gb-sxm")
    assert a
    assert a.on_demand
    assert h
    assert h.on_demand
    found, note = price.hourly(TrainingRun(), mixed, 32)
    assert found == pytest.approx((8 * a.on_demand + 24 * h.on_demand) / 32)
    assert all(gpu in note for gpu in ("a100-80gb-sxm", "h100-80gb-sxm"))


def test_the_length_of_a_run_is_an_assumption_unless_it_is_given() -> None:
    cluster = topologies.load("dgx-h100", 8)
    assumed, given_ = (
        price.bill(1.0, 4096, TrainingRun(tokens=tokens), cluster, 8).notes[1] for tokens in (None, 15 * 10**12)
    )
    assert assumed.startswith("A run is taken as 1T tokens, an assumption (--tokens gives another)")
    assert given_.startswith("A run is 15T tokens; only its steps count")
