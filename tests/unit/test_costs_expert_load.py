"""Rows of experts, rank by rank."""

import pytest

from sim.costs.expert_load import power_law_rows, rank_rows
from sim.workload import ExpertLoad

BALANCED = ExpertLoad()
SKEWED = ExpertLoad(kind="power_law", exponent=1.01)


def test_balanced_ranks_are_all_alike() -> None:
    """8 tokens to 2 of 4 experts: 4 rows each, two experts a rank."""
    assert rank_rows(BALANCED, 8, 2, 4, 2) == ((4, 4),)


def test_a_power_law_of_exponent_0_is_balanced() -> None:
    flat = ExpertLoad(kind="power_law", exponent=0.0)
    assert rank_rows(flat, 1000, 2, 16, 4) == rank_rows(BALANCED, 1000, 2, 16, 4)


@pytest.mark.parametrize("ep", [1, 2, 8, 64])
def test_ranks_of_a_power_law_have_all_rows_among_them_the_fullest_first(ep: int) -> None:
    ranks = rank_rows(SKEWED, 4096, 8, 64, ep)
    totals = [sum(rows) for rows in ranks]
    assert len(ranks) == ep
    assert sum(totals) == 4096 * 8
    assert totals == sorted(totals, reverse=True)
    assert ranks[0] == power_law_rows(4096, 8, 64, ep, 1.01)


def test_a_histogram_is_dealt_to_the_ranks_in_order() -> None:
    """Shares 1:1:2:4 of 16 rows are 2, 2, 4, 8; the second rank has 12 of them and is told first."""
    load = ExpertLoad(kind="histogram", histograms=((1.0, 1.0, 2.0, 4.0),))
    assert rank_rows(load, 16, 1, 4, 2) == ((4, 8), (2, 2))


def test_no_token_goes_to_one_expert_twice() -> None:
    """Nearly all 8 tokens x 2 want the first expert, which can have 8; the other 8 rows go to the three with room."""
    load = ExpertLoad(kind="histogram", histograms=((97.0, 1.0, 1.0, 1.0),))
    ((first, *others),) = rank_rows(load, 8, 2, 4, 1)
    assert first == 8
    assert sorted(others) == [2, 3, 3]


def test_an_even_histogram_is_balanced() -> None:
    load = ExpertLoad(kind="histogram", histograms=((5.0,) * 8,))
    assert rank_rows(load, 1024, 2, 8, 4) == ((256, 256),) * 4


def test_a_layer_has_the_histogram_of_its_number() -> None:
    load = ExpertLoad(kind="histogram", histograms=((1.0, 1.0), (1.0, 3.0)))
    assert rank_rows(load, 8, 1, 2, 1, histogram=1) == ((2, 6),)
