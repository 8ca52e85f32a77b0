"""A training run's progress from checkpoint to checkpoint, and what interruptions cost it."""

from dataclasses import replace

import pytest

from sim import frameworks, models
from sim.reliability import (
    Cause,
    Checkpointing,
    Failures,
    Fleet,
    Recovery,
    Run,
    Stragglers,
    best_interval,
    simulate_run,
    state_nbytes,
)
from sim.reliability.progress import Cycle, Progress
from topologies.quantity import DAY, GB, HOUR, TB

FLEET = Fleet(num_gpus=80)
ONE_SECOND = Checkpointing(nbytes=10 * GB, interval=100.0, storage_bandwidth=10 * GB, node_bandwidth=1 * GB)
RUN = Run(fleet=FLEET, step_time=1.0, tokens_per_step=1, tokens=1000, checkpointing=ONE_SECOND)
AT_ONCE = Recovery(crash_detection=0.0, hang_detection=0.0, startup=0.0, spares=1)


def failing(rate: float, *, takes_node: bool = False, is_planned: bool = False, hangs: bool = False) -> Failures:
    cause = Cause(name="it", rate=rate, takes_node=takes_node, is_planned=is_planned, hangs=hangs)
    return Failures(causes=(cause,), source="made up")


def progress(*, block: float = 1.0, write: float = 0.0, work: float = 1000.0) -> Progress:
    return Progress(Cycle(work=work, interval=100.0, block=block, write=write))


def test_a_synchronous_checkpoint_counts_at_once() -> None:
    job = progress()
    assert job.play(202.5) == 202.5
    assert job.fall_back() == pytest.approx(0.5)
    assert job.blocked == pytest.approx(2.0)


def test_a_checkpoint_that_is_not_through_does_not_count() -> None:
    job = progress()
    job.play(100.5)
    assert job.fall_back() == pytest.approx(100.0)


def test_an_asynchronous_checkpoint_counts_when_it_is_written() -> None:
    """Copied from 100 to 101 s, written until 131 s; the next one copied from 201 to 202 s, written until 232 s."""
    for failed, lost in ((130.0, 129.0), (132.0, 31.0), (231.0, 129.0), (233.0, 31.0)):
        job = progress(write=30.0)
        job.play(failed)
        assert job.fall_back() == pytest.approx(lost)


def test_a_checkpoint_waits_for_the_one_before_to_be_written() -> None:
    """150 s of writing after each of 100 s of work: a cycle takes 151 s; the last waits for its own write too."""
    job = progress(write=150.0, work=300.0)
    assert job.play(1e6) == pytest.approx(101 + 151 + 151 + 150)
    assert job.blocked == pytest.approx(3 * 1 + 2 * 50 + 150)


@pytest.mark.parametrize("write", [0.0, 30.0, 150.0])
@pytest.mark.parametrize("stop", [50.0, 100.5, 777.0, 5555.5, 1e9])
def test_one_long_stretch_is_as_many_short_ones(write: float, stop: float) -> None:
    whole, pieces = progress(write=write, work=7777.0), progress(write=write, work=7777.0)
    used = whole.play(stop)
    short = sum(pieces.play(min(7.3, stop - 7.3 * index)) for index in range(int(min(stop, 20_000) / 7.3) + 1))
    assert short == pytest.approx(used)
    assert pieces.blocked == pytest.approx(whole.blocked)
    assert pieces.fall_back() == pytest.approx(whole.fall_back(), abs=1e-6)


def test_a_slow_gpu_lengthens_work_and_not_checkpoints() -> None:
    job = progress(work=500.0)
    job.slowdown = 1.2
    assert job.play(1e6) == pytest.approx(500 * 1.2 + 5)
    assert job.slow == pytest.approx(100.0)


def test_a_planned_interruption_loses_no_work() -> None:
    run = replace(RUN, failures=failing(1 / 150, is_planned=True), recovery=AT_ONCE)
    report = simulate_run(run, seeds=8)
    assert report.interruptions["it"] > 1
    assert report.parts["lost_work"] == 0


def test_a_hang_takes_longer_to_see_than_a_crash() -> None:
    recovery = replace(AT_ONCE, crash_detection=2.0, hang_detection=60.0)
    crash, hang = (
        simulate_run(replace(RUN, failures=failing(1 / 300, hangs=hangs), recovery=recovery), seeds=4)
        for hangs in (False, True)
    )
    assert hang.parts["detection"] == pytest.approx(30 * crash.parts["detection"])


def test_without_a_spare_the_job_waits_for_the_repair() -> None:
    failures = failing(1 / 300, takes_node=True)
    none, one = (
        simulate_run(replace(RUN, failures=failures, recovery=replace(AT_ONCE, repair=50.0, spares=spares)), seeds=40)
        for spares in (0, 1)
    )
    assert none.parts["waiting"] / none.interruptions["it"] == pytest.approx(50.0, rel=0.2)
    assert one.parts["waiting"] < none.parts["waiting"] / 3


def test_a_failure_while_the_job_starts_makes_it_start_again() -> None:
    """Starts of 200 s among failures 300 s apart: a start is begun e^(2/3) = 1.9 times for each that is finished."""
    run = replace(RUN, failures=failing(1 / 300), recovery=replace(AT_ONCE, startup=199.0))
    report = simulate_run(run, seeds=200)
    per_stop = report.parts["restart"] / report.interruptions["it"]
    assert per_stop == pytest.approx(300 * (1 - 2.718281828 ** (-200 / 300)), rel=0.05)


def test_a_slow_gpu_is_found_and_replaced() -> None:
    slow = Stragglers(rate=1 / (5 * HOUR), slowdown=1.5, found_after=60.0)
    run = replace(RUN, tokens=100_000, stragglers=slow, recovery=replace(AT_ONCE, spares=100))
    report = simulate_run(run, seeds=8)
    replaced = report.interruptions["slow GPU replaced"]
    assert replaced == pytest.approx(10 * 100_000 / (5 * HOUR), rel=0.25)
    assert report.parts["slow"] / replaced == pytest.approx(60 / 3, rel=0.25)
    assert report.effective_training_time > report.goodput


def test_a_slow_gpu_stays_while_there_is_no_spare() -> None:
    slow = Stragglers(rate=1 / 100, slowdown=1.5, found_after=60.0)
    report = simulate_run(replace(RUN, stragglers=slow, recovery=replace(AT_ONCE, spares=0)), seeds=8)
    assert not report.interruptions
    assert 0.9 * 500 < report.parts["slow"] < 500


def test_an_asynchronous_checkpoint_blocks_for_the_copy_alone() -> None:
    beside = replace(ONE_SECOND, asynchronous=True, host_bandwidth=1 * GB)
    assert beside.block_time(FLEET) == pytest.approx(10 / 80)
    assert beside.write_time(FLEET) == ONE_SECOND.block_time(FLEET) == 1.0
    assert replace(ONE_SECOND, storage_bandwidth=1 * TB).block_time(FLEET) == 1.0


def test_a_checkpoint_holds_weights_and_optimizer_state() -> None:
    model = models.load("llama3-405b")
    nbytes = state_nbytes(model, frameworks.load("megatron-core"))
    assert nbytes == models.num_parameters(model) * (2 + 12)


def test_the_same_seeds_give_the_same_report() -> None:
    run = replace(RUN, failures=failing(1 / 500))
    assert simulate_run(run, 5).result() == simulate_run(run, 5).result()


def test_a_result_has_days_and_their_spread() -> None:
    run = replace(RUN, tokens=200_000, failures=failing(1 / 5000), recovery=AT_ONCE)
    result = simulate_run(run, 16).result()
    days = result["days"]
    assert isinstance(days, dict)
    assert days["without_interruptions"] == 200_000 / DAY
    assert days["without_interruptions"] < days["p10"] < days["p50"] < days["p90"]
    assert result["seeds"] == 16


def test_a_run_that_would_never_get_on_says_so() -> None:
    with pytest.raises(ValueError, match="shorten the interval"):
        simulate_run(replace(RUN, failures=failing(1 / 5)))


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"step_time": 0.0}, "step_time=0.0 must be greater than 0"),
        ({"checkpointing": replace(ONE_SECOND, interval=0.0)}, "interval=0.0"),
        ({"stragglers": Stragglers(rate=1.0, slowdown=0.9)}, "slowdown=0.9 must be at least 1"),
        ({"recovery": Recovery(spares=-1)}, "spares=-1"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, object], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        replace(RUN, **wrong)  # type: ignore[arg-type]


def test_without_failures_one_checkpoint_is_best() -> None:
    found = best_interval(RUN, seeds=1)
    assert (found.interval, found.young, found.daly) == (1000.0, 1000.0, 1000.0)
