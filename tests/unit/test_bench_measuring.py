"""What each rank of a run agrees on: which points are left, what is planned, and the loopback's sheet."""

from dataclasses import replace

import pytest
import torch

from calibrate.bench import loopback
from calibrate.bench.measuring import Here, check_alike, left, planned
from calibrate.bench.point import Point, Ranks, Run
from calibrate.measurement import Measurement
from tests.processor import CPU
from topologies import sheets
from topologies.document import Document, InputError


def nothing(ranks: Ranks) -> Run:
    raise AssertionError(f"rank {ranks.rank} prepares a point that is only planned")


POINT = Point(
    operation="gloo", part="gloo-loopback", inputs={"nbytes": 8, "operation": 0}, members=(0, 1), prepare=nothing,
    seconds=0.1,
)  # fmt: skip
MEASURED = Measurement(
    operation="gloo", part="gloo-loopback", inputs={"nbytes": 8.0, "operation": 0.0}, seconds=1.0, low=1.0, high=1.0,
    repeats=1,
)  # fmt: skip


def test_a_point_that_was_measured_is_not_measured_again() -> None:
    """A run may find out more inputs than its point says; another size, operation or fabric is another point."""
    points = [POINT, replace(POINT, inputs={"nbytes": 9, "operation": 0}), replace(POINT, operation="launch")]
    points.append(replace(POINT, fabric="ib-ndr400x8"))
    assert left(points, []) == points
    assert left(points, [MEASURED]) == points[1:]
    assert left(points, [replace(MEASURED, inputs={**MEASURED.inputs, "power": 3.0})]) == points[1:]
    assert left(points, [replace(MEASURED, inputs={"nbytes": 8.0})]) == points


def test_a_point_whose_measurement_is_of_no_use_is_measured_again() -> None:
    for facts in ({"wrong": "off by 3 %"}, {"throttled": "power brake"}):
        spoilt = replace(MEASURED, **facts)  # type: ignore[arg-type]
        assert left([POINT], [spoilt]) == [POINT]
        assert left([POINT], [spoilt, MEASURED]) == []


FIRST = Here("n1", "NVIDIA H200", "570.86")


def test_ranks_of_one_kind_are_one_machine() -> None:
    check_alike([FIRST, FIRST, FIRST._replace(host="n2")])


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (Here("n2", "NVIDIA H100 80GB HBM3", "570.86"), "differ in their device: NVIDIA H200 on n1, NVIDIA H100 80GB"),
        (Here("n2", "NVIDIA H200", "550.54"), "differ in their driver: 570.86 on n1, 550.54 on n2"),
        (Here("n2", "NVIDIA H200 MIG 1g.18gb", "570.86"), "n2: NVIDIA H200 MIG 1g.18gb is a slice"),
    ],
)
def test_ranks_that_differ_or_are_slices_are_refused(second: Here, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_alike([FIRST, FIRST, second])


def test_a_plan_counts_points_and_names_each_group_once() -> None:
    alone = replace(POINT, operation="launch", part=CPU.part, members=())
    found = planned([POINT, alone, replace(POINT, members=(2, 3)), POINT], CPU)
    assert [(one.operation, one.part, one.points, one.groups) for one in found.families] == [
        ("gloo", "gloo-loopback", 3, ((0, 1), (2, 3))),
        ("launch", CPU.part, 1, ()),
    ]
    assert found.points == 4
    assert found.seconds > 4 * 0.1


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_the_loopback_has_a_sheet_that_can_be_read(monkeypatch: pytest.MonkeyPatch, num_ranks: int) -> None:
    """An all-reduce of 8 MiB in 41 ms, of nothing in 1 ms: 4 (n - 1)/n x 8 MiB cross in 40 ms, and 4 (n - 1) messages
    take the millisecond; 30 % are added to the bandwidth."""
    monkeypatch.setattr(loopback, "group_of", lambda members, device: None)
    monkeypatch.setattr(loopback, "_seconds", lambda ranks, count: 1e-3 if count == 1 else 41e-3)
    ranks = Ranks(rank=0, num_ranks=num_ranks, ranks_per_node=num_ranks, device=torch.device("cpu"))
    link = sheets.link(Document(name="loopback", data=loopback.sheet(ranks), lines={}))
    if num_ranks > 1:
        assert link.bandwidth == pytest.approx(1.3 * 4 * (num_ranks - 1) / num_ranks * 8 * 2**20 / 40e-3, rel=1e-3)
        assert link.latency == pytest.approx(1e-3 / (4 * (num_ranks - 1)), rel=1e-3)
        assert link.fit["launch_latency"] == pytest.approx(1e-3)
