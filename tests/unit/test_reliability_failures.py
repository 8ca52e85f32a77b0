"""Rates of failure as published: what they add up to, and what they scale with."""

from pathlib import Path

import pytest

from sim.reliability import NONE, Fleet, failures, load, names, of_hardware
from sim.reliability.failures import Unit, rates_on
from topologies.catalogue import quick
from topologies.document import InputError, read
from topologies.quantity import DAY, HOUR

LLAMA = Fleet(num_gpus=16_384)


def test_llama_3_is_interrupted_as_often_as_published() -> None:
    published = load("llama3-405b")
    unexpected = [cause for cause in published.causes if not cause.is_planned]
    counts = dict(zip(published.causes, (54 * DAY * rate for rate in rates_on(published, LLAMA)), strict=True))
    assert sum(counts.values()) == pytest.approx(466)
    assert sum(counts[cause] for cause in unexpected) == pytest.approx(419)
    assert {cause.name: counts[cause] for cause in unexpected}["GPU HBM3 memory"] == pytest.approx(72)


@pytest.mark.parametrize(("gpus", "hours", "error"), [(16_384, 1.8, 0.01), (131_072, 0.23, 0.03)])
def test_jobs_on_rsc_1_fail_as_often_as_its_authors_project(gpus: int, hours: float, error: float) -> None:
    """Kokolis et al. 2024: a mean time to failure of 1.8 h on 16,384 GPUs and of 0.23 h on 131,072."""
    assert load("rsc-1").mean_time_between(Fleet(num_gpus=gpus)) / HOUR == pytest.approx(hours, rel=error)


def test_opt_is_restarted_105_times_in_two_months_on_992_gpus() -> None:
    assert load("opt-175b").rate(Fleet(num_gpus=992)) * 60 * DAY == pytest.approx(105)


@pytest.mark.parametrize(("unit", "count"), [("gpu", 1001), ("link", 1001), ("node", 126), ("switch", 63), ("job", 1)])
def test_a_fleet_has_so_many_of_each_part(unit: Unit, count: int) -> None:
    assert Fleet(num_gpus=1001).count(unit) == count


def test_twice_the_gpus_fail_twice_as_often_and_their_job_has_as_many_bugs() -> None:
    published, double = load("llama3-405b"), Fleet(num_gpus=2 * LLAMA.num_gpus)
    for cause, once, twice in zip(
        published.causes, rates_on(published, LLAMA), rates_on(published, double), strict=True
    ):
        assert twice == pytest.approx(once if cause.per == "job" else 2 * once)


def test_hardware_alone_leaves_out_bugs_and_what_is_planned() -> None:
    left = {cause.name for cause in of_hardware(load("llama3-405b")).causes}
    assert "faulty GPU" in left
    assert not left & {"software bug", "planned", "dependency"}


def test_every_published_set_has_a_source_and_fails() -> None:
    assert names() == ["alibaba-hpn", "llama3-405b", "opt-175b", "rsc-1", "rsc-2"]
    for name in names():
        assert len(load(name).source) > 40
        assert load(name).rate(LLAMA) > 0


def test_the_file_of_rates_reads_the_same_with_either_reader() -> None:
    path = Path(failures.__file__).parent / "rates.yaml"
    assert quick(path).data == read(path).data


def test_an_unknown_set_of_rates_is_named_with_the_closest() -> None:
    with pytest.raises(InputError, match="did you mean rsc-1"):
        load("rsc1")


def test_without_failures_the_time_between_them_is_endless() -> None:
    assert NONE.mean_time_between(LLAMA) == float("inf")
