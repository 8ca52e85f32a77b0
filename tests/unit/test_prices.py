"""Laws of prices.yaml: every price is of a GPU that we know, dated, sourced and of a sane size."""

from datetime import date

import topologies
from topologies.prices import price, prices


def test_every_price_is_of_a_gpu_of_the_catalogue() -> None:
    assert set(prices()) <= set(topologies.names("gpus"))


def test_every_price_has_its_date_and_source() -> None:
    for gpu, found in prices().items():
        assert found.gpu == gpu
        assert date(2025, 1, 1) < date.fromisoformat(found.date)
        assert "(" in found.source or "." in found.source


def test_an_hour_of_a_gpu_costs_between_ten_cents_and_twenty_dollars() -> None:
    for found in prices().values():
        assert found.on_demand is not None
        assert 0.1 <= found.on_demand <= 20


def test_reserving_is_cheaper() -> None:
    pairs = [(found.reserved, found.on_demand) for found in prices().values() if found.reserved is not None]
    assert len(pairs) >= 6
    assert all(reserved < (on_demand or 0) for reserved, on_demand in pairs)


def test_what_nobody_publishes_has_no_price() -> None:
    assert price("h20") is None
    assert price("my-own-gpu") is None


def test_a_price_is_what_its_provider_published() -> None:
    """CoreWeave asks 42 dollars an hour for the four GPUs of a GB200 tray."""
    gb200 = price("gb200")
    assert gb200 is not None
    assert (gb200.on_demand, gb200.reserved, gb200.date) == (42 / 4, None, "2026-09-20")
