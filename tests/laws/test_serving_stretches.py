"""Quiet passes are stepped over: the same record as pass by pass, whatever comes in the middle."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.requests import Requests
from sim.serving.record import Record
from sim.serving.scheduling import POLICIES
from sim.serving.service import serve
from tests.pass_costs import Linear
from tests.served import SMALL, ahead, poisson, staged

COLUMNS = ("sent", "scheduled", "first_token", "finished", "replica", "preemptions", "cached", "first_causes", "causes")
KINDS = {
    "one by one": (SMALL, 1, 1),
    "ahead": (ahead(SMALL), 1, 1),
    "two stages": (staged(SMALL, 2), 2, 1),
    "four stages": (staged(SMALL, 4), 4, 1),
    "three stages, one pass at a time": (replace(ahead(SMALL), depth=3), 3, 1),
    "lock-step": (SMALL, 1, 2),
}


def costs(num_stages: int, host: float) -> Linear:
    return Linear(fixed=0.01, per_token=1e-5, per_key=1e-7, host_seconds=host, send=1e-4, num_stages=num_stages)


def sorted_gaps(record: Record) -> np.ndarray:
    return np.sort(np.repeat(record.gap_seconds, record.gap_counts))


def passes(record: Record) -> np.ndarray:
    """Rows of each replica in turn: two replicas may start at the same time, in either order."""
    steps = record.steps
    rows = np.stack([getattr(steps, name) for name in steps.__dataclass_fields__], axis=1)
    return rows[np.lexsort((steps.start, steps.replica))]


def assert_same(one: Record, other: Record) -> None:
    for name in COLUMNS:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-9, err_msg=name)
    np.testing.assert_allclose(passes(one), passes(other), atol=1e-9)
    np.testing.assert_allclose(one.stage_busy, other.stage_busy, atol=1e-9)
    np.testing.assert_allclose(sorted_gaps(one), sorted_gaps(other), atol=1e-9)
    assert one.refused == other.refused


@settings(max_examples=20)
@given(
    kind=st.sampled_from(list(KINDS)),
    seed=st.integers(0, 999),
    rate=st.sampled_from([1.0, 6.0, 40.0]),
    host=st.sampled_from([0.0, 0.002, 0.03]),
    users=st.sampled_from([(None, 1), (None, 2), (3, 1), (12, 1)]),
)
def test_passes_stepped_over_are_the_same_as_pass_by_pass(
    kind: str, seed: int, rate: float, host: float, users: tuple[int | None, int]
) -> None:
    """Users of two replicas would put them in step, so that rounding decides who is first."""
    concurrency, replicas = users
    config, num_stages, dp = KINDS[kind]
    load = replace(poisson(40, rate, seed), concurrency=concurrency)
    played = [
        serve(load, config, costs(num_stages, host), replicas=replicas, dp=dp, stretches=each) for each in (True, False)
    ]
    assert_same(*played)
    lost = played[0].causes.sum(axis=1) - (played[0].finished - played[0].sent)
    assert np.abs(lost).max() < 1e-9


@pytest.mark.parametrize("policy", POLICIES)
def test_every_scheduler_knows_when_its_passes_are_quiet(policy: str) -> None:
    config = replace(SMALL, policy=policy, chunked_prefill=policy not in ("orca", "static"))
    assert_same(*[serve(poisson(60, 20.0, 5), config, costs(1, 0.001), stretches=each) for each in (True, False)])


def test_sessions_and_known_contents_change_nothing_about_it() -> None:
    alone = poisson(30, 5.0, 1)
    contents = tuple(tuple(range(row % 3 * 100, row % 3 * 100 + 12)) for row in range(30))
    after = np.array([row - 3 if row % 6 >= 3 else -1 for row in range(30)])
    load = Requests(
        arrival=alone.arrival, prompt=alone.prompt + 150, output=alone.output, after=after, contents=contents
    )
    config = replace(SMALL, prefix_caching=True)
    one, other = (serve(load, config, costs(1, 0.001), stretches=each) for each in (True, False))
    assert_same(one, other)
    assert one.cached.sum() > 0
