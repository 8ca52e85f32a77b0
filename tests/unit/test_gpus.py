"""The GPUs of the catalogue against facts that their sheets do not state: clocks, widths, buses and relatives."""

import pytest

import topologies
from topologies.quantity import GB, GIB, GIGA


def products_per_clock(name: str, precision: str, sms: int, per_sm: int, clock_in_ghz: float) -> float:
    assert topologies.gpu(name).num_sms == sms
    return sms * per_sm * clock_in_ghz * GIGA


@pytest.mark.parametrize(
    ("name", "precision", "sms", "per_sm", "clock_in_ghz"),
    [
        # FLOPs per SM and clock of the tensor or matrix cores, and the boost clock.
        ("v100-32gb-sxm", "fp16", 80, 1024, 1.53),
        ("t4", "fp16", 40, 1024, 1.59),
        ("a100-80gb-pcie", "bf16", 108, 2048, 1.41),
        ("a800", "bf16", 108, 2048, 1.41),
        ("a30", "bf16", 56, 2048, 1.44),
        ("a10", "bf16", 72, 1024, 1.695),
        ("a10g", "bf16", 80, 512, 1.71),
        ("a40", "bf16", 84, 1024, 1.74),
        ("rtx-a6000", "bf16", 84, 1024, 1.8),
        ("rtx-3090", "bf16", 82, 512, 1.695),
        ("l4", "bf16", 58, 1024, 2.04),
        ("l40", "bf16", 142, 512, 2.49),
        ("l40s", "bf16", 142, 1024, 2.49),
        ("rtx-6000-ada", "bf16", 142, 1024, 2.505),
        ("rtx-4090", "bf16", 128, 512, 2.52),
        ("rtx-5090", "bf16", 170, 512, 2.407),
        ("rtx-pro-6000", "bf16", 188, 1024, 2.617),
        ("h100-96gb-sxm", "bf16", 132, 4096, 1.83),
        ("h200-sxm", "bf16", 132, 4096, 1.83),
        ("h100-pcie", "bf16", 114, 4096, 1.62),
        ("mi250x", "bf16", 110, 1024, 1.7),
        ("mi300x", "bf16", 304, 2048, 2.1),
        ("mi325x", "bf16", 304, 2048, 2.1),
        ("mi355x", "bf16", 256, 4096, 2.4),
    ],
)
def test_the_peak_is_sms_times_width_times_clock(
    name: str, precision: str, sms: int, per_sm: int, clock_in_ghz: float
) -> None:
    """Dense: a figure with sparsity would be twice this, and fp16 sums on a GeForce too."""
    peak = products_per_clock(name, precision, sms, per_sm, clock_in_ghz)
    assert topologies.gpu(name).peak_flops[precision] == pytest.approx(peak, rel=0.005)


@pytest.mark.parametrize(
    ("name", "bus_in_bits", "gbps_per_pin"),
    [
        ("v100-16gb-sxm", 4096, 1.755),
        ("t4", 256, 10),
        ("a100-40gb-pcie", 5120, 2.43),
        ("a100-80gb-pcie", 5120, 3.024),
        ("a800", 5120, 3.186),
        ("a30", 3072, 2.43),
        ("a10", 384, 12.5),
        ("a10g", 384, 12.5),
        ("a40", 384, 14.5),
        ("rtx-a6000", 384, 16),
        ("rtx-3090", 384, 19.5),
        ("l4", 192, 12.5),
        ("l40", 384, 18),
        ("l40s", 384, 18),
        ("rtx-6000-ada", 384, 20),
        ("rtx-4090", 384, 21),
        ("rtx-5090", 512, 28),
        ("rtx-pro-6000", 512, 28),
        ("h100-pcie", 5120, 3.186),
        ("h100-nvl", 6144, 5.128),
        ("h200-sxm", 6144, 6.25),
        ("h20", 6144, 5.2),
        ("mi250x", 4096, 3.2),
        ("mi300x", 8192, 5.2),
        ("mi355x", 8192, 7.8),
    ],
)
def test_the_memory_rate_is_bus_width_times_data_rate(name: str, bus_in_bits: int, gbps_per_pin: float) -> None:
    rate = bus_in_bits / 8 * gbps_per_pin * GB
    assert topologies.gpu(name).memory_bandwidth == pytest.approx(rate, rel=0.007)


@pytest.mark.parametrize("name", topologies.names("gpus"))
def test_half_the_bits_run_at_twice_the_rate(name: str) -> None:
    """tf32, 16 bits, 8 bits; the exceptions are those of the makers (see the sheets)."""
    peak = topologies.gpu(name).peak_flops
    if {"fp16", "bf16"} <= peak.keys():
        assert peak["fp16"] == peak["bf16"]
    if "tf32" in peak:
        assert peak["bf16"] / peak["tf32"] == pytest.approx(2, rel=0.03)
    if "fp8" in peak and name != "gaudi3":
        assert peak["fp8"] / peak["bf16"] == pytest.approx(2, rel=0.02)
    if "fp6" in peak and name != "mi355x":
        assert peak["fp6"] == peak["fp8"]


def test_blackwell_makes_fp4_twice_as_fast_as_fp8_and_ultra_three_times() -> None:
    peaks = {
        name: topologies.gpu(name).peak_flops
        for name in ("b200-sxm", "gb200", "rtx-pro-6000", "mi355x", "b300-sxm", "gb300")
    }
    ratio = {name: peak["fp4"] / peak["fp8"] for name, peak in peaks.items()}
    assert ratio == pytest.approx(dict.fromkeys(ratio, 2) | {"b300-sxm": 3, "gb300": 3}, rel=1e-4)


@pytest.mark.parametrize(
    ("chinese", "original", "links"), [("a800", "a100-80gb-sxm", 8 / 12), ("h800", "h100-80gb-sxm", 8 / 18)]
)
def test_a_part_for_export_is_its_original_with_fewer_links(chinese: str, original: str, links: float) -> None:
    part, whole = topologies.gpu(chinese), topologies.gpu(original)
    assert (part.num_sms, part.memory_bandwidth, part.peak_flops["bf16"]) == (
        whole.num_sms,
        whole.memory_bandwidth,
        whole.peak_flops["bf16"],
    )
    assert part.nvlink is not None
    assert whole.nvlink is not None
    assert topologies.link(part.nvlink).bandwidth == pytest.approx(topologies.link(whole.nvlink).bandwidth * links)


PACKAGES = {
    "v100-16gb-sxm": 16,
    "v100-32gb-sxm": 32,
    "t4": 16,
    "a100-40gb-pcie": 40,
    "a100-80gb-pcie": 80,
    "a800": 80,
    "h100-pcie": 80,
    "h100-96gb-sxm": 96,
    "h100-nvl": 94,
    "h800": 80,
    "h20": 96,
    "h200-sxm": 141,
    "h200-nvl": 141,
    "gh200": 96,
    "b200-sxm": 180,
    "b300-sxm": 288,
    "gb200": 186,
    "gb300": 288,
    "l4": 24,
    "l40": 48,
    "l40s": 48,
    "a10": 24,
    "a10g": 24,
    "a30": 24,
    "a40": 48,
    "rtx-3090": 24,
    "rtx-4090": 24,
    "rtx-5090": 32,
    "rtx-a6000": 48,
    "rtx-6000-ada": 48,
    "rtx-pro-6000": 96,
    "mi250x": 64,
    "mi300x": 192,
    "mi325x": 256,
    "mi355x": 288,
    "gaudi2": 96,
    "gaudi3": 128,
}


@pytest.mark.parametrize(("name", "package"), PACKAGES.items())
def test_a_program_can_use_a_little_less_than_the_package_holds(name: str, package: int) -> None:
    """A tenth less at most: ECC of GDDR6 takes a sixteenth, the driver a little."""
    assert 0.91 < topologies.gpu(name).memory_nbytes / GIB / package < 1


@pytest.mark.parametrize("name", topologies.names("gpus"))
def test_what_a_gpu_achieves_is_below_what_its_sheet_says(name: str) -> None:
    fit = topologies.gpu(name).fit
    assert 0.4 < fit["gemm_efficiency"] <= 1
    assert 0.65 < fit["memory_efficiency"] < 0.95
    assert 0.3 <= fit["flash_backward_efficiency"] < fit["flash_forward_efficiency"] <= fit["gemm_efficiency"]
    assert fit.origin == "datasheet"


@pytest.mark.parametrize("name", topologies.names("gpus"))
def test_a_gpu_comes_with_links_of_the_catalogue(name: str) -> None:
    gpu = topologies.gpu(name)
    assert gpu.pcie is not None
    assert gpu.pcie in topologies.names("links")
    assert gpu.nvlink is None or gpu.nvlink in topologies.names("links")


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("v100", "v100-32gb-sxm"),
        ("Tesla V100-SXM2-16GB", "v100-16gb-sxm"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb-sxm"),
        ("NVIDIA A100 PCIe", "a100-80gb-pcie"),
        ("a100_sxm", "a100-80gb-sxm"),
        ("H100 (not stated in page; FA3 requires Hopper)", "h100-80gb-sxm"),
        ("NVIDIA GH200 SXM", "gh200"),
        ("NVIDIA H200", "h200-sxm"),
        ("h200", "h200-sxm"),
        ("h200_sxm", "h200-sxm"),
        ("H200-SXM-141GB", "h200-sxm"),
        ("H200-141GB", "h200-sxm"),
        ("b200", "b200-sxm"),
        ("b200_sxm", "b200-sxm"),
        ("B300-SXM", "b300-sxm"),
        ("gb200_sxm", "gb200"),
        ("GB300", "gb300"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("RTX4090", "rtx-4090"),
        ("RTXPRO6000", "rtx-pro-6000"),
        ("RTX-PRO-6000-Server", "rtx-pro-6000"),
        ("a40", "a40"),
        ("AMD MI300X", "mi300x"),
        ("Intel Gaudi 2", "gaudi2"),
    ],
)
def test_every_common_spelling_finds_its_gpu(spelling: str, name: str) -> None:
    assert topologies.gpu(spelling).name == name
