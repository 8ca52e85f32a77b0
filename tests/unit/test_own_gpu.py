"""A GPU that no catalogue has: its sheet is made from what its driver tells and a first look, and says so."""

from dataclasses import replace
from pathlib import Path

import pytest

import topologies
from calibrate.machines.machine import Machine, cluster_of, gpu_of
from calibrate.machines.own_gpu import ASSUMED, Seen, gpu_sheet, link_name, link_sheet, part_name
from calibrate.running import cluster_file
from tests.unit.test_devices import GOOD
from topologies import sheets
from topologies.document import Document, Value
from topologies.quantity import GIGA, MIB, TERA

X1 = replace(GOOD, name="NVIDIA X1 96GB", part="", nvlinks_up=0, num_nvlinks=0, memory_bandwidth=4000 * GIGA)
SEEN = Seen(
    rates={"bf16": 960 * TERA, "fp16": 940 * TERA, "fp8": 1800 * TERA, "fp32": 60 * TERA},
    forward=600 * TERA, backward=480 * TERA, copied=3400 * GIGA, shortest=2e-6, num_sms=144, l2_nbytes=60 * MIB,
)  # fmt: skip


def test_a_part_is_called_as_its_driver_calls_it() -> None:
    assert part_name("NVIDIA X1 96GB (rev. 2)") == "nvidia-x1-96gb-rev-2"
    assert part_name("???") == "unknown-gpu"


def test_the_peak_is_assumed_and_shares_of_it_are_what_was_seen() -> None:
    """960 / 0.8 is 1200 TFLOP/s, of which forward reaches half and backward 40 %; 3400 of 4000 GB/s are 85 %."""
    gpu = _gpu(gpu_sheet(X1, SEEN))
    assert gpu.peak_flops == pytest.approx(
        {"bf16": 1200 * TERA, "fp16": 1175 * TERA, "fp8": 2250 * TERA, "fp32": 75 * TERA}
    )
    assert gpu.fit["gemm_efficiency"] * gpu.peak_flops["bf16"] == pytest.approx(960 * TERA)
    assert (gpu.fit["flash_forward_efficiency"], gpu.fit["flash_backward_efficiency"]) == (0.5, 0.4)
    assert (gpu.memory_bandwidth, gpu.fit["memory_efficiency"]) == (pytest.approx(4000 * GIGA), 0.85)
    assert (gpu.num_sms, gpu.l2_nbytes, gpu.power_limit) == (144, 60 * MIB, 700)
    assert gpu.fit["kernel_latency"] == pytest.approx(2e-6)
    assert gpu.fits["gemm bf16"].part == "h100-80gb-sxm", "of 8.3 TFLOP/s an SM: H100 has 7.5, B200 15.2"


def test_sources_say_what_nobody_told() -> None:
    told = gpu_sheet(X1, SEEN)
    untold = gpu_sheet(replace(X1, memory_bandwidth=0.0, default_power_limit=float("nan")), SEEN)
    assert _assumed(told) == {"peak_flops"}
    assert _assumed(untold) == {"peak_flops", "memory_bandwidth", "power_limit"}
    assert untold["memory_bandwidth"] == "4 TB/s", "3400 / 0.85"


@pytest.mark.parametrize("told", [3000 * GIGA, 40_000 * GIGA])
def test_a_bandwidth_that_a_copy_belies_is_not_believed(told: float) -> None:
    assert "memory_bandwidth" in _assumed(gpu_sheet(replace(X1, memory_bandwidth=told), SEEN))


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"nvlinks_up": 18, "nvlink_generation": 4}, "nvlink4"),
        ({"nvlinks_up": 12, "nvlink_generation": 3}, "nvlink3"),
        ({"nvlinks_up": 18, "nvlink_generation": 5}, "nvlink5"),
        ({"nvlinks_up": 8, "nvlink_generation": 4}, "nvlink4-8-lanes"),
        ({"nvlinks_up": 36, "nvlink_generation": 6}, "nvlink5-36-lanes"),
        ({"largest_pcie_generation": 4}, "pcie4"),
        ({"largest_pcie_generation": 7}, "pcie6"),
        ({"largest_pcie_generation": 0}, "pcie4"),
    ],
)
def test_its_link_follows_from_lanes_and_generation(changed: dict[str, int], name: str) -> None:
    assert link_name(replace(X1, **changed)) == name  # type: ignore[arg-type]


def test_a_link_of_its_own_has_its_lanes_bandwidth_and_lends_the_rest() -> None:
    """8 lanes of 25 GB/s each way."""
    sheet = link_sheet(replace(X1, nvlinks_up=8, nvlink_generation=4))
    link = sheets.link(Document(name="link", data=sheet, lines={}))
    assert (link.name, link.bandwidth) == ("nvlink4-8-lanes", pytest.approx(200 * GIGA))
    assert link.fits.keys() >= {"nccl node"}, "of the nearest NVLink"
    assert link_sheet(replace(X1, nvlinks_up=18, nvlink_generation=4)) == link_sheet(X1) == {}


@pytest.mark.parametrize(
    ("lanes", "fabric", "nodes"), [(18, "ib-ndr400x8", 2), (8, "", 1), (0, "roce-320x4", 4)]
)  # fmt: skip
def test_the_cluster_file_describes_the_very_machine_that_was_measured(
    tmp_path: Path, lanes: int, fabric: str, nodes: int
) -> None:
    device = replace(X1, nvlinks_up=lanes, nvlink_generation=4)
    hardware = {"gpu": gpu_sheet(device, SEEN), **({"link": link_sheet(device)} if link_sheet(device) else {})}
    machine = Machine(
        backend="nccl", part="nvidia-x1-96gb", link=link_name(device), device=device.name, num_gpus=8 * nodes,
        num_nodes=nodes, fabric=fabric, hardware=hardware,
    )  # fmt: skip
    path = tmp_path / "cluster.yaml"
    path.write_text(cluster_file.text(machine))
    loaded, measured = topologies.load(str(path)), cluster_of(machine, {})
    assert loaded.node.gpu == measured.node.gpu == gpu_of(machine.part, hardware)
    assert (loaded.node.scale_up, loaded.node.layout) == (measured.node.scale_up, measured.node.layout)
    assert loaded.node.num_nics == measured.node.num_nics
    assert (loaded.node.nic and loaded.node.nic.bandwidth) == (measured.node.nic and measured.node.nic.bandwidth)
    assert (loaded.num_nodes, loaded.num_gpus) == (nodes, 8 * nodes)


def _gpu(sheet: dict[str, Value]) -> topologies.hardware.Gpu:
    return sheets.gpu(Document(name="gpu", data=sheet, lines={}))


def _assumed(sheet: dict[str, Value]) -> set[str]:
    sources = sheet["sources"]
    assert isinstance(sources, dict)
    return {figure for figure, source in sources.items() if str(source).startswith(ASSUMED)}
