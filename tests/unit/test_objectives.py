"""Objectives and limits: what a user may write, what it means, and what is said of anything else."""

from itertools import permutations

import pytest

from sim.objectives import Objective, limits_of, objective
from topologies.document import InputError


@pytest.mark.parametrize("text", ["p99 ttft < 2 s", "ttft p99 2s", "TTFT P99 <= 2000 ms", "p99 ttft: 2 s"])
def test_words_of_an_objective_come_in_any_order(text: str) -> None:
    assert objective(text) == Objective(metric="ttft", percentile=99.0, seconds=2.0)


def test_an_objective_is_printed_as_it_is_read() -> None:
    for text in ("p99 ttft < 2 s", "p95 tpot < 50 ms", "mean e2el < 1.5 s", "p99.9 itl < 30 ms"):
        assert str(objective(text)) == text
    assert objective("median itl < 1 s").percentile == 50.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ttft < 2 s", "one percentile"),
        ("p99 latency < 2 s", "one of ttft, tpot, itl, e2el"),
        ("p99 ttft < 2", "no unit; write for example 'p99 ttft < 2 s'"),
        ("p99 ttft < -2 s", "must be positive"),
        ("p10 ttft < 2 s", "p10 is not between p50 and p99.9"),
        ("p99 ttft", "one time"),
        ("", "one of ttft"),
    ],
)
def test_what_is_no_objective_is_answered_with_one(text: str, said: str) -> None:
    with pytest.raises(InputError, match="write for example") as error:
        objective(text)
    assert said in str(error.value)


def test_objectives_limit_each_request_but_means_and_gaps_do_not() -> None:
    texts = ("p99 ttft < 2 s", "mean e2el < 9 s", "p99 itl < 1 s", "p95 tpot < 50 ms")
    assert limits_of(map(objective, texts)) == {"ttft": 2.0, "tpot": 0.05}


@pytest.mark.parametrize("texts", list(permutations(["p50 ttft < 1 s", "p99 ttft < 2 s", "p99 ttft < 3 s"])))
def test_of_several_percentiles_the_highest_limits_a_request(texts: tuple[str, ...]) -> None:
    """Half of the requests may take longer than the median's time; of one percentile's times the shortest counts."""
    assert limits_of(map(objective, texts)) == {"ttft": 2.0}
