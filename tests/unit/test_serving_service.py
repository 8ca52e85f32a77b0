"""How requests come to the replicas, and what becomes of those that cannot be served."""

from dataclasses import replace

import numpy as np
import pytest

from sim.requests import Requests
from sim.serving.service import serve
from tests.pass_costs import Linear
from tests.served import SMALL, alike, poisson

SECOND = Linear(fixed=1.0)


def test_users_of_a_closed_loop_send_when_they_are_answered() -> None:
    """Five requests of one pass, two users: two, two and one at a time."""
    record = serve(replace(alike(5, 10, 1), concurrency=2), SMALL, SECOND)
    assert record.sent == pytest.approx([0, 0, 1, 1, 2])
    assert record.finished == pytest.approx([1, 1, 2, 2, 3])


def test_a_turn_is_sent_so_long_after_the_answer_before_it() -> None:
    load = Requests(
        arrival=np.array([0.0, 5.0, 7.0]), prompt=np.full(3, 10), output=np.full(3, 2), after=np.array([-1, 0, 1])
    )
    record = serve(load, SMALL, SECOND)
    assert record.sent == pytest.approx([0, 2 + 5, 9 + 7])


def test_who_waits_for_an_answer_goes_on_when_it_has_come() -> None:
    """A second in the server, half a second between it and the user; whoever waits for nobody is not held up."""
    load = alike(3, 10, 1)
    assert serve(replace(load, concurrency=1), SMALL, SECOND, way_seconds=0.5).sent == pytest.approx([0, 1.5, 3])
    turns = replace(load, arrival=np.array([0.0, 5.0, 7.0]), after=np.array([-1, 0, 1]))
    assert serve(turns, SMALL, SECOND, way_seconds=0.5).sent == pytest.approx([0, 1.5 + 5, 8 + 7])
    assert serve(load, SMALL, SECOND, way_seconds=0.5).sent == pytest.approx([0, 0, 0])


def test_what_can_never_be_served_is_refused_and_nobody_waits_for_it() -> None:
    load = Requests(
        arrival=np.zeros(4), prompt=np.array([10, 2000, 900, 10]), output=np.array([1, 1, 50, 1]), concurrency=1
    )
    record = serve(load, replace(SMALL, num_blocks=51), SECOND)
    assert record.refused.keys() == {1, 2}
    assert "max_model_len=1,024" in record.refused[1]
    assert "the 800 that the cache has room for" in record.refused[2]
    assert np.isnan(record.finished).tolist() == [False, True, True, False]


def test_a_prompt_that_may_not_be_split_is_refused_beyond_the_budget() -> None:
    record = serve(alike(1, 300, 1), replace(SMALL, chunked_prefill=False), SECOND)
    assert "max_num_batched_tokens=256" in record.refused[0]


@pytest.mark.parametrize("router", ["round-robin", "least-loaded", "prefix-aware"])
def test_replicas_share_the_load_and_the_rows_name_them(router: str) -> None:
    record = serve(poisson(60, 50.0, 1), SMALL, Linear(), replicas=3, router=router)
    dealt = np.bincount(record.replica, minlength=3)
    assert dealt.min() > 10
    assert record.stage_busy.shape == (3, 1)
    assert set(record.steps.replica) == {0, 1, 2}


def test_no_requests_leave_an_empty_record() -> None:
    record = serve(alike(0, 1, 1), SMALL, SECOND)
    assert len(record.steps) == len(record.gap_seconds) == 0
    assert record.duration == 0.0
