"""The Pareto front."""

from sim.planning.front import front


def test_what_is_best_in_one_thing_is_on_the_front() -> None:
    assert front([(1.0, 9.0), (2.0, 2.0), (9.0, 1.0)]) == [True, True, True]


def test_what_is_worse_in_everything_is_not() -> None:
    assert front([(1.0, 1.0), (2.0, 2.0), (1.0, 3.0)]) == [True, False, False]


def test_equals_are_on_it_together() -> None:
    assert front([(1.0, 1.0), (1.0, 1.0)]) == [True, True]
