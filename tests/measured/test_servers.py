"""Measured servers of dense models against our own costs; some drawn at random here, all by `make accuracy`."""

from random import Random

import pytest

from sim.measured_runs import servers
from tests.measured.servers import FOLDER, coverage, medians, played

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the measured tables are not beside the repository")

TTFT_BAR, TPOT_BAR = 0.25, 0.15
DRAWN = 72
"""Rows, whatever stands next to them: tables go through sizes in turn."""


def test_half_of_the_unsaturated_rows_are_within_the_bars() -> None:
    rows = [row for row in servers.rows(FOLDER / "servers_dense.csv") if row["concurrency"]]
    found = [one for one in played(Random(0).sample(rows, DRAWN)) if not one.is_saturated]
    ttft, tpot = medians(found)
    assert ttft < TTFT_BAR
    assert tpot < TPOT_BAR
    assert all(share >= 0.55 for share in coverage(found))
