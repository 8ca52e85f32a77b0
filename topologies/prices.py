"""What a GPU costs to rent: dollars per GPU-hour as published, each with its date and source.

Prices differ threefold between providers and move by the month. One published price list stands for each GPU here; who
pays another price says so, and the product of GPU-hours and price is theirs.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from topologies.catalogue import quick
from topologies.document import Value

_PRICES = Path(__file__).parent / "prices.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Dollars per hour of one GPU: on demand, and reserved for months; None where that is not published."""

    gpu: str
    on_demand: float | None
    reserved: float | None
    date: str
    source: str


def price(gpu: str) -> Price | None:
    """The price of a GPU by the catalogue's own name; None where none is published."""
    return prices().get(gpu)


@lru_cache
def prices() -> dict[str, Price]:
    """All prices by the GPU's name."""
    data = quick(_PRICES).data
    assert isinstance(data, dict)
    return {gpu: _price(gpu, fields) for gpu, fields in data.items()}


def _price(gpu: str, fields: Value) -> Price:
    assert isinstance(fields, dict)
    return Price(
        gpu=gpu,
        on_demand=_dollars(fields.get("on_demand")),
        reserved=_dollars(fields.get("reserved")),
        date=str(fields["date"]),
        source=str(fields["source"]),
    )


def _dollars(value: Value) -> float | None:
    assert value is None or isinstance(value, (int, float))
    return None if value is None else float(value)
