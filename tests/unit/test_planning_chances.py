"""Which of several plans is really the fastest, if predictions are as wrong as they are known to be."""

import pytest

from sim.planning.training.chances import Chances, chances
from sim.planning.training.work import Summary
from sim.uncertainty import Share


def summary(*causes: tuple[str, float], compute: float = 1.0) -> Summary:
    shares = tuple(Share(cause, "measured", share, (-0.1, 0.1)) for cause, share in causes)
    return Summary(
        detail="layer", result={}, notes=(), shares=shares, breakdown={"compute": compute, "exposed_tp": 1.0 - compute}
    )


ALIKE = summary(("gemm", 0.8), ("attention", 0.2))
OTHER = summary(("gemm", 0.2), ("attention", 0.8))


def test_of_plans_that_are_wrong_alike_the_faster_is_surely_the_faster() -> None:
    assert chances([1.0, 1.01], [ALIKE, ALIKE]) == Chances((1.0, 0.0), (0.0, pytest.approx(0.01)))


def test_only_what_differs_may_turn_the_order() -> None:
    of_other_kernels = chances([1.0, 1.01], [ALIKE, OTHER])
    assert 0.5 < of_other_kernels.fastest[0] < 0.7
    assert sum(of_other_kernels.fastest) == pytest.approx(1.0)


def test_the_chance_of_the_first_grows_with_its_lead() -> None:
    near, far = (chances([1.0, lead], [ALIKE, OTHER]).fastest[0] for lead in (1.01, 1.05))
    assert near < far


def test_plans_that_spend_their_time_otherwise_are_wrong_otherwise() -> None:
    waiting = summary(("gemm", 0.8), ("attention", 0.2), compute=0.5)
    assert chances([1.0, 1.001], [ALIKE, waiting]).fastest[1] > 0.3


def test_regret_is_what_a_choice_takes_longer_than_the_best_would() -> None:
    found = chances([1.0, 1.01], [ALIKE, OTHER])
    assert 0.0 < found.regret[0] < found.regret[1] < 0.05


def test_equal_plans_share_the_chance() -> None:
    assert chances([1.0, 1.0], [ALIKE, ALIKE]).fastest == (0.5, 0.5)
