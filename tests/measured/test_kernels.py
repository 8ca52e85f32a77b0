"""The shipped fits against every table of kernels and collectives, no worse than they were.

`make accuracy` prints the stricter figures, of points that a fit never saw (tests/measured/kernels.py); they differ
little from these, since a law has some twenty parameters and a table thousands of rows.
"""

from collections.abc import Sequence

import pytest

from calibrate import importers
from calibrate.samples import Samples
from tests.measured import kernels
from tests.measured.fit_shipped import LOTS
from tests.measured.kernels import FIGURES, FOLDER, H100, Outcome

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the measured tables are not beside the repository")

MARGIN, SLACK = 1.1, 0.002
"""A figure may be a tenth above the one in reached.csv, and 0.2 points: a law that is refitted moves a little."""

COVERED = (0.7, 0.9)
HELD_OUT = ("gemm bf16", "attention prefill bf16", "attention decode bf16")


@pytest.fixture(scope="module")
def groups() -> list[list[Samples]]:
    return kernels.measured()


@pytest.fixture(scope="module")
def outcomes(groups: list[list[Samples]]) -> list[Outcome]:
    found = [kernels.shipped(group) for group in groups]
    print("\n" + "\n".join(kernels.lines("The shipped fits on all rows (bar)", found)))
    return found


def test_no_figure_is_worse_than_what_was_reached(outcomes: Sequence[Outcome]) -> None:
    """`python -m tests.measured.kernels --reached` writes reached.csv, once fits are better or their tables others."""
    known = kernels.reached()
    assert {(one.operation, one.part) for one in outcomes} == set(known)
    worse = {
        (one.operation, one.part, name): getattr(one, name)
        for one in outcomes
        for name in FIGURES
        if getattr(one, name) > known[one.operation, one.part][name] * MARGIN + SLACK
    }
    assert worse == {}


def test_four_rows_in_five_lie_inside_the_interval(outcomes: Sequence[Outcome]) -> None:
    """Where a fit has many rows: of 200 the share is uncertain by 3 points, of 30 by 7."""
    many = [one for one in outcomes if one.coverage is not None and one.rows >= 200]
    covered = {(one.operation, one.part): one.coverage for one in many if one.coverage is not None}
    outside = {name: share for name, share in covered.items() if not COVERED[0] <= share <= COVERED[1]}
    assert outside == {}


@pytest.mark.slow
def test_what_a_fit_never_saw_is_met_like_what_it_saw(groups: Sequence[Sequence[Samples]]) -> None:
    """Of 800 rows half are fitted and half scored: the median error stays within a third of that on all rows."""
    for group in groups:
        if group[0].part == H100 and group[0].operation in HELD_OUT:
            held_out, all_rows = kernels.by_halves(group, most=800), kernels.shipped(group)
            assert held_out.median < 4 / 3 * all_rows.median, group[0].operation


def test_no_lot_overwrites_what_another_fits() -> None:
    """`make fits` fits lot after lot, and a file of fits holds the last fit of an operation."""
    fitted = [
        (one.operation, one.part, lot.source, lot.gpu)
        for lot in LOTS
        for path in lot.paths
        for one in importers.read(FOLDER / path, lot.gpu, None).samples
        if one.operation.startswith(lot.only or "")
    ]
    lots = {(operation, part): {entry[2:] for entry in fitted if entry[:2] == (operation, part)}
            for operation, part, *_ in fitted}  # fmt: skip
    assert {name: by for name, by in lots.items() if len(by) > 1} == {}
