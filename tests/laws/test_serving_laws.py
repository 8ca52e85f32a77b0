"""What holds of every server: nothing is lost, queues obey Little and Pollaczek-Khinchine, time has no scale."""

from dataclasses import fields, replace

import numpy as np
import pytest

from sim.serving.record import CAUSES, Record
from sim.serving.service import serve
from sim.serving.settings import Settings
from tests.pass_costs import Linear
from tests.served import SMALL, ahead, alike, poisson, staged

COSTS = Linear(fixed=0.01, per_token=2e-5, per_key=1e-7, host_seconds=0.001)


def roomy(num_stages: int = 1) -> Record:
    """A load that is never short of blocks, so that nothing is computed twice."""
    config = replace(staged(SMALL, num_stages), num_blocks=4001)
    return serve(poisson(150, 8.0, 3), config, replace(COSTS, num_stages=num_stages))


@pytest.mark.parametrize("num_stages", [1, 3])
def test_every_token_is_computed_once_but_the_last(num_stages: int) -> None:
    record = roomy(num_stages)
    requests = record.requests
    assert record.steps.tokens.sum() == (requests.prompt + requests.output - 1).sum()
    assert record.gap_counts.sum() == (requests.output - 1).sum()
    assert (record.gap_seconds * record.gap_counts).sum() == pytest.approx((record.finished - record.first_token).sum())


@pytest.mark.parametrize("config", [SMALL, ahead(SMALL), staged(SMALL, 2)], ids=["alone", "ahead", "staged"])
def test_causes_of_a_request_sum_to_its_latency_even_where_it_is_preempted(config: Settings) -> None:
    num_stages = 1 if config.asynchronous else config.depth
    record = serve(poisson(100, 30.0, 2), replace(config, num_blocks=61), replace(COSTS, num_stages=num_stages))
    assert record.preemptions.sum() > 0
    assert record.causes.min() > -1e-9
    np.testing.assert_allclose(record.causes.sum(axis=1), record.finished - record.sent, atol=1e-9)
    np.testing.assert_allclose(record.first_causes.sum(axis=1), record.first_token - record.sent, atol=1e-9)
    assert record.gap_counts.sum() == (record.requests.output - 1).sum()


def test_queue_is_the_time_until_the_first_pass_is_chosen() -> None:
    """Also where that pass is launched behind another one, which is in its way."""
    record = serve(poisson(150, 8.0, 3), replace(ahead(SMALL), num_blocks=4001), COSTS)
    assert record.preemptions.sum() == 0
    np.testing.assert_allclose(record.causes[:, CAUSES.index("queue")], record.scheduled - record.sent, atol=1e-9)


def test_little_number_in_the_server_is_rate_times_time_in_it() -> None:
    steps, record = roomy().steps, roomy()
    seconds = np.diff(np.append(steps.start, steps.end[-1]))
    inside = ((steps.running + steps.waiting) * seconds).sum()
    assert inside == pytest.approx((record.finished - record.sent).sum(), rel=0.02)


def test_a_server_of_one_at_a_time_is_an_m_d_1_queue() -> None:
    """Waiting rho D / (2 (1 - rho)) on average [Pollaczek-Khinchine]: with rho = 1/2 half a service."""
    config, seconds, rate = replace(SMALL, max_num_seqs=1), 0.01, 50.0
    means = []
    for seed in range(6):
        load = replace(poisson(1000, rate, seed), prompt=np.full(1000, 10), output=np.ones(1000, dtype=np.int64))
        record = serve(load, config, Linear(fixed=seconds))
        means.append((record.scheduled - record.sent).mean())
        assert record.finished - record.scheduled == pytest.approx(seconds)
    error = np.std(means, ddof=1) / len(means) ** 0.5
    assert np.mean(means) == pytest.approx(seconds / 2, abs=4 * error)
    assert error < 0.1 * seconds


@pytest.mark.parametrize("num_stages", [1, 2, 4, 8])
def test_one_cohort_leaves_a_bubble_of_all_stages_but_one(num_stages: int) -> None:
    record = serve(alike(1, 50, 100), staged(SMALL, num_stages), Linear(fixed=0.01, num_stages=num_stages))
    busy = record.stage_busy.sum() / (num_stages * record.duration)
    assert 1 - busy == pytest.approx(1 - 1 / num_stages)
    assert record.causes[0, CAUSES.index("compute")] == pytest.approx(record.duration)


def test_the_bubble_falls_as_cohorts_fill_the_pipeline() -> None:
    """Prompts as long as the budget go one into each pass, and stay apart: k of them use k of 4 stages at a time."""
    bubbles = []
    for count in (1, 2, 3, 4):
        record = serve(
            alike(count, 200, 200), replace(staged(SMALL, 4), max_num_batched_tokens=200), Linear(num_stages=4)
        )
        bubbles.append(1 - record.stage_busy.sum() / (4 * record.duration))
    assert bubbles == pytest.approx([0.75, 0.5, 0.25, 0.0], abs=0.02)


def test_all_rates_doubled_all_times_are_halved() -> None:
    load = poisson(80, 20.0, 7)
    slow = serve(load, ahead(SMALL), COSTS, router_delay=0.2, replicas=2, router="least-loaded")
    fast = serve(
        replace(load, arrival=load.arrival / 2), ahead(SMALL), replace(COSTS, speed=0.5),
        router_delay=0.1, replicas=2, router="least-loaded",
    )  # fmt: skip
    for name in ("sent", "scheduled", "first_token", "finished", "causes", "stage_busy"):
        np.testing.assert_allclose(getattr(fast, name), getattr(slow, name) / 2, atol=1e-9)


def test_the_same_load_leaves_the_same_bytes() -> None:
    one, other = (serve(poisson(80, 20.0, 7), staged(SMALL, 2), replace(COSTS, num_stages=2)) for _ in range(2))
    for name in ("sent", "finished", "causes", "gap_seconds", "gap_counts", "stage_busy"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    assert all(
        getattr(one.steps, each.name).tobytes() == getattr(other.steps, each.name).tobytes()
        for each in fields(one.steps)
    )


def test_passes_that_wait_for_the_last_stage_fill_no_bubble() -> None:
    """Asynchronous scheduling over four stages: all four prompts decode together, and one stage works at a time."""
    record = serve(alike(4, 200, 200), replace(ahead(SMALL), depth=4), Linear(num_stages=4))
    assert 1 - record.stage_busy.sum() / (4 * record.duration) == pytest.approx(0.75)
    assert record.steps.decodes.max() == 4


def test_static_batches_pay_for_rows_of_nobody() -> None:
    """Prompts of 10 and 30 tokens cost 60, and once the shorter answer is done its row still costs a token."""
    load = replace(alike(2, 10, 5), prompt=np.array([10, 30]), output=np.array([2, 6]))
    record = serve(load, replace(SMALL, policy="static", chunked_prefill=False), Linear(fixed=0.0, per_token=0.001))
    assert record.steps.busy == pytest.approx([0.060] + [0.002] * 5)
    assert record.steps.tokens.tolist() == [40, 2, 1, 1, 1, 1]
