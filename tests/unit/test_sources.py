"""Every figure of a prediction is told with its value, where it was read, and what that rests on."""

from dataclasses import dataclass, replace

import topologies
from sim import frameworks, models
from sim.models import Transformer
from sim.plan import Plan
from sim.reports.sources import SHEET, achieved, parameters
from topologies.hardware import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeReport:
    scenario: dict[str, object]
    model: Transformer
    cluster: Cluster
    plan: Plan


def report_of(num_gpus=16, cluster="dgx-h100", model="llama3-70b"):
    return FakeReport(
        scenario={"precision": "bf16", "framework": "megatron-core"},
        model=models.load(model),
        cluster=topologies.load(cluster, num_gpus),
        plan=Plan(
            tp=1, sp=False, pp=1, vpp=1, dp=num_gpus, zero=1, recompute="none", schedule="1f1b", micro_batch=1,
            global_batch=num_gpus,
        ),
    )  # fmt: skip


def told(report):
    return {(row.part, row.figure): row for row in parameters(report)}


def test_values_are_those_of_the_sheets():
    rows = told(report_of())
    assert rows["h100-80gb-sxm", "dense bf16 peak"].value == "989.4 TFLOP/s"
    assert rows["h100-80gb-sxm", "memory"].value == "79.1 GiB"
    assert rows["h100-80gb-sxm", "gemm efficiency"].value == "80.3 %"
    assert rows["h100-80gb-sxm", "kernel latency"].value == "3.1 us"
    assert rows["nvlink4", "bandwidth, one way"].value == "450 GB/s"
    assert rows["ib-ndr400", "launch latency"].value == "8.4 us"
    assert rows["llama3-70b", "shapes"].value == "70.6 B parameters"


def test_every_figure_has_a_source_and_what_it_rests_on():
    rows = parameters(report_of())
    assert all(row.source and row.origin for row in rows)
    assert told(report_of())["h100-80gb-sxm", "dense bf16 peak"].origin == SHEET
    assert "whitepaper" in told(report_of())["h100-80gb-sxm", "dense bf16 peak"].source
    assert "mamf-finder" in told(report_of())["h100-80gb-sxm", "gemm efficiency"].source


def test_an_estimate_is_called_one_and_a_latency_of_nccl_no_data_sheet():
    rows = told(report_of(144, "gb200-nvl72", "llama3-405b"))
    assert rows["gb200", "flash backward efficiency"].origin == "estimate"
    assert rows["gb200", "flash forward efficiency"].origin == "published figure"
    assert "NCCL" in rows["nvlink5", "latency of a step"].source
    assert rows["nvlink5", "latency of a step"].origin == "published figure"
    assert told(report_of(8, "gaudi3-node"))["gaudi3", "memory"].origin == "estimate"


def test_every_fact_of_the_framework_is_told():
    facts = {row.figure.replace(" ", "_") for row in parameters(report_of()) if row.part == "megatron-core"}
    assert facts == set(frameworks.load("megatron-core").sources)


def test_only_links_in_use_are_told():
    assert {row.part for row in parameters(report_of(8))} == {"llama3-70b", "h100-80gb-sxm", "nvlink4", "megatron-core"}


def test_only_pools_in_use_are_told():
    slow = topologies.load("dgx-a100").pools[0]
    report = report_of(16)
    both = replace(report.cluster, pools=(*report.cluster.pools, slow))
    assert "a100-80gb-sxm" not in {row.part for row in parameters(replace(report, cluster=both))}


def test_shapes_of_the_user_are_not_those_of_the_catalogue():
    report = report_of()
    rows = told(replace(report, model=replace(report.model, num_layers=16)))
    assert (rows["llama3-70b", "shapes"].source, rows["llama3-70b", "shapes"].origin) == ("the scenario", "the user")


def test_a_calibrated_part_says_that_it_was_measured():
    report = report_of(8)
    node = report.cluster.node
    measured = replace(node.gpu, fit=replace(node.gpu.fit, origin="measured"))
    pools = (replace(report.cluster.pools[0], node=replace(node, gpu=measured)),)
    rows = told(replace(report, cluster=replace(report.cluster, pools=pools)))
    assert rows["h100-80gb-sxm", "gemm efficiency"].origin == "measured"


def test_what_is_reached_is_told_apart():
    assert {row.figure for row in achieved(parameters(report_of()))} == {
        "gemm efficiency",
        "memory efficiency",
        "bandwidth efficiency",
    }
