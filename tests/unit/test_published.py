"""The published runs of nccl-tests that ship with the package, and which of them belong to a prediction."""

import csv
from dataclasses import replace

import numpy as np
import pytest

import topologies
from calibrate.published import NCCL_TESTS, nccl_tests
from calibrate.published.points import beside, points
from sim.communication.by_size import by_size
from sim.communication.placement import members

POINTS = points(nccl_tests())


def test_the_table_is_small_and_every_row_has_one_source():
    rows = list(csv.DictReader(NCCL_TESTS.open()))
    assert len(rows) <= 120
    assert all(row["source"].startswith("github.com/") and ";" not in row["source"] for row in rows)
    assert nccl_tests().skipped == ()


@pytest.mark.parametrize(
    ("name", "num_gpus", "version"),
    [("dgx-h100", 8, "2.27"), ("dgx-h100", 32, "2.26"), ("aws-p4de", 16, "2.27"), ("gb200-nvl72", 72, "2.26")],
)
def test_what_the_lab_draws_is_what_calibrate_score_predicts(name, num_gpus, version):
    cluster = replace(topologies.load(name), nccl_version=version)
    gpus = members(cluster, num_gpus, 1)
    found = beside(POINTS, cluster, gpus, "all_reduce")
    assert found
    drawn = by_size(cluster, gpus, "all_reduce", np.array([one.nbytes for one in found])).seconds
    assert drawn == pytest.approx([one.predicted for one in found], rel=1e-3)
    assert np.median([abs(one.predicted / one.seconds - 1) for one in found]) < 0.05


def test_points_of_other_gpus_links_or_groups_are_not_shown():
    cluster = topologies.load("dgx-h100")
    assert beside(POINTS, cluster, members(cluster, 16, 8), "all_reduce") == ()
    assert beside(POINTS, cluster, members(cluster, 16, 1), "all_gather") == ()
    assert beside(POINTS, topologies.load("dgx-b200"), range(8), "all_reduce") == ()
