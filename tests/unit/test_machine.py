"""The cluster of a machine that was measured: parts of the catalogue, sheets of its own, a processor."""

from dataclasses import replace

import numpy as np
import pytest

from calibrate import subjects
from calibrate.machines.machine import LOOPBACK, Machine, cluster_of
from calibrate.samples import Samples
from tests.processor import CPU, HARDWARE, PART, SHEET
from topologies.document import InputError, Value
from topologies.hardware import Fit

H100 = Machine(
    backend="nccl", part="h100-80gb-sxm", link="nvlink4", fabric="ib-ndr400x8", device="NVIDIA H100 80GB HBM3",
    num_gpus=16, num_nodes=2, software={"nccl": "2.27.5+cuda12.9"},
)  # fmt: skip
FIT = Fit(values={"level": 0.7}, sources={"level": "here"}, origin="interpolated", num_points=9, part=PART)


def test_a_machine_of_the_catalogue_is_built_from_it() -> None:
    cluster = cluster_of(H100, {})
    assert (cluster.num_nodes, cluster.node.num_gpus, cluster.node.num_nics) == (2, 8, 8)
    assert (cluster.gpu.name, cluster.node.scale_up.name) == ("h100-80gb-sxm", "nvlink4")
    assert (cluster.library, cluster.nccl_version) == ("nccl", "2.27.5")


def test_gpus_are_joined_by_the_link_that_was_found() -> None:
    """H100s of which NVML sees no NVLink talk by PCIe."""
    node = cluster_of(replace(H100, link="pcie5", num_nodes=1, num_gpus=2, fabric=""), {}).node
    assert (node.layout, node.scale_up.name, node.nic) == ("pcie", "pcie5", None)


def test_processes_on_a_processor_are_a_cluster_of_their_own_sheets_by_gloo() -> None:
    cluster = cluster_of(CPU, {PART: {"attention forward": FIT}})
    assert (cluster.library, cluster.num_gpus, cluster.gpu.name) == ("gloo", 2, PART)
    assert (cluster.gpu.memory_bandwidth, cluster.node.scale_up.latency) == (10e9, 1e-4)
    assert cluster.gpu.fits == {"attention forward": FIT}, "it borrows from no GPU"


def test_gloo_over_several_machines_is_refused() -> None:
    with pytest.raises(InputError, match="2 nodes by gloo: its costs are of processes of one machine"):
        cluster_of(replace(CPU, num_nodes=2), {})


def test_a_sheet_that_is_none_is_refused_by_its_field() -> None:
    sheets: dict[str, Value] = {**HARDWARE, "gpu": {**SHEET, "memory": "much"}}
    with pytest.raises(InputError, match=r"hardware\.gpu: memory: "):
        cluster_of(replace(CPU, hardware=sheets), {})


def test_a_gpu_of_ones_own_keeps_the_fabric_and_borrows_from_its_relatives() -> None:
    sheet: dict[str, Value] = {
        **SHEET,
        "name": "h900",
        "peak_flops": {"bf16": "1000 TFLOP/s", "fp8": "2000 TFLOP/s"},
        "num_sms": 132,
    }
    cluster = cluster_of(replace(H100, part="h900", hardware={"gpu": sheet}), {})
    assert (cluster.gpu.name, cluster.node.num_nics, cluster.node.scale_up.name) == ("h900", 8, "nvlink4")
    assert cluster.gpu.fits["gemm bf16"].part == "h100-80gb-sxm"


def test_samples_of_a_processor_are_evaluated_on_the_sheets_that_they_bring() -> None:
    columns = {"operation": [0.0, 5.0], "num_gpus": [4.0, 2.0], "nbytes": [1024.0, 4096.0]}
    samples = Samples(
        operation="gloo",
        part=LOOPBACK,
        gpu=PART,
        points={name: np.array(column) for name, column in columns.items()},
        seconds=np.array([1e-3, 1e-3]),
        rows=np.arange(2),
        hardware=HARDWARE,
    )
    cluster = subjects.cluster_of(samples, {})
    assert (cluster.library, cluster.num_gpus, cluster.node.scale_up.bandwidth) == ("gloo", 4, 2e9)
    assert subjects.link_of(cluster, LOOPBACK) is cluster.node.scale_up
    assert subjects.gpu_of(replace(samples, operation="gemm bf16", part=PART), {}).peak_flops["fp32"] == 80e9
