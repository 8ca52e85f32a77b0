"""What a file of fits may say is what the laws allow."""

import pytest

from sim.costs.law import starting_fit
from sim.costs.laws import COLLECTIVE_LAWS, KERNEL_LAWS, check_fits
from topologies.document import InputError
from topologies.fits import fits_of, fitted_parts
from topologies.hardware import Fit


def fit_with(**values: float) -> Fit:
    return Fit(values=values, sources={})


def test_every_shipped_fit_is_what_its_law_allows() -> None:
    check_fits("shipped", {part: fits_of(part) for part in fitted_parts()})


def test_where_every_law_starts_is_within_its_limits() -> None:
    for law in KERNEL_LAWS.values():
        check_fits("start", {"x": {law.operation: starting_fit(law)}})
    for collective in COLLECTIVE_LAWS.values():
        check_fits("start", {"x": {collective.operation: starting_fit(collective)}})


@pytest.mark.parametrize(
    ("operation", "fit", "said"),
    [
        ("atention forward", fit_with(level=1.0), "no cost is known for it; did you mean attention forward?"),
        ("zzz", fit_with(level=1.0), "no cost is known for it; leave it out"),
        ("attention forward", fit_with(level=2.0), "values.level: 2 is beyond 0.3 to 1.5"),
        ("attention forward", fit_with(level=1.0, levle=1.0), "values.levle: no such parameter; did you mean level?"),
        ("attention forward", fit_with(), "values: level is missing"),
    ],
)
def test_what_no_law_allows_is_refused_with_its_place(operation: str, fit: Fit, said: str) -> None:
    with pytest.raises(InputError) as refused:
        check_fits("p.yaml", {"x": {operation: fit}})
    assert str(refused.value).startswith(f"p.yaml: x: {operation}: {said}")
