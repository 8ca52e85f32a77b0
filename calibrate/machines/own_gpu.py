"""The data sheet of a GPU that no catalogue has: what its driver tells, and what a first look at it showed.

Its peak is not told by any driver: the best of some large products is taken as 80 % of it, which is what the best
reach on GPUs whose peak is known. So a share of that peak is a share of what was seen, and physics stays the same.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import topologies
from calibrate.machines.devices import Device
from topologies import quantity
from topologies.catalogue import names
from topologies.document import Document, Value, validate
from topologies.hardware import Link
from topologies.quantity import GIGA
from topologies.sheets import GpuSheet

BEST_OF_PEAK: Final = 0.8
"""L40S 74 %, B200 78 %, H100 and H200 80 %, A100 87 % [the sheets of the catalogue]: so a peak may be 10 % off."""
BEST_OF_MEMORY: Final = 0.85
"""Of a memory whose bandwidth the driver does not tell, what a large copy reaches; 77 to 94 % in the catalogue."""
TOLD: Final = (0.3, 1.05)
"""What a copy may reach of a bandwidth that the driver tells; else that is of something else."""
NOMINAL_POWER: Final = 300.0
LANE: Final[Mapping[int, float]] = {1: 20 * GIGA, 2: 25 * GIGA, 3: 25 * GIGA, 4: 25 * GIGA, 5: 50 * GIGA}
"""Bytes per second one way of one NVLink by generation [NVIDIA, white papers of P100 to B200]."""
UNTOLD_PCIE: Final = 4
ASSUMED: Final = "assumed:"
"""So begins the source of a figure that nobody told."""
_WORD: Final = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A first look: the best FLOP/s of products by precision, and of attention in 16 bits; bytes per second of a large
    copy, read and written; seconds of the shortest kernel. `num_sms` and `l2_nbytes` are the driver's."""

    rates: Mapping[str, float]
    forward: float
    backward: float
    copied: float
    shortest: float
    num_sms: int
    l2_nbytes: float


def part_name(device: str) -> str:
    """The name of a part, of what a driver calls it: nvidia-x1-80gb."""
    return "-".join(_WORD.findall(device.lower())) or "unknown-gpu"


def link_name(device: Device) -> str:
    """What joins GPUs of its kind: NVLink by lanes and generation, else PCIe; the catalogue's name where it has one."""
    if not device.nvlinks_up:
        return _pcie(device)
    bandwidth, generation = _nvlink_bandwidth(device), _nvlink_generation(device)
    alike = f"nvlink{generation}"
    is_known = alike in names("links") and topologies.link(alike).bandwidth == bandwidth
    return alike if is_known else f"{alike}-{device.nvlinks_up}-lanes"


def link_sheet(device: Device) -> dict[str, Value]:
    """The fields of the sheet of an NVLink that the catalogue lacks: its latency and shares are its nearest relative's;
    nothing where the catalogue has it."""
    name = link_name(device)
    if name in names("links"):
        return {}
    bandwidth, like = _nvlink_bandwidth(device), _relative(device)
    return {
        "name": name,
        "bandwidth": quantity.rate(bandwidth),
        "latency": quantity.seconds(like.latency),
        "achievable": {
            "bandwidth_efficiency": like.fit["bandwidth_efficiency"],
            "launch_latency": quantity.seconds(like.fit["launch_latency"]),
        },
        "sources": {
            "bandwidth": f"{device.nvlinks_up} lanes of generation {device.nvlink_generation or 'unknown'} (NVML), "
            f"{quantity.rate(bandwidth / device.nvlinks_up)} each way",
            **dict.fromkeys(("latency", "bandwidth_efficiency", "launch_latency"), f"{ASSUMED} as {like.name}"),
        },
    }


def gpu_sheet(device: Device, seen: Seen) -> dict[str, Value]:
    """The fields of a GPU's sheet; `sources` says of each figure what it rests on."""
    peaks = {precision: rate / BEST_OF_PEAK for precision, rate in seen.rates.items()}
    usual = peaks.get("bf16") or peaks.get("fp16") or max(peaks.values())
    bandwidth, told = _memory_bandwidth(device, seen)
    power = device.default_power_limit if device.default_power_limit > 0 else NOMINAL_POWER
    achievable: dict[str, Value] = {
        "gemm_efficiency": BEST_OF_PEAK,
        "memory_efficiency": _share(seen.copied, bandwidth),
        "kernel_latency": quantity.seconds(seen.shortest),
        "flash_forward_efficiency": _share(seen.forward, usual),
        "flash_backward_efficiency": _share(seen.backward, usual),
    }
    made: dict[str, Value] = {
        "name": part_name(device.name),
        "peak_flops": {precision: quantity.flops(peak) for precision, peak in peaks.items()},
        "memory": quantity.nbytes(device.memory_nbytes),
        "memory_bandwidth": quantity.rate(bandwidth),
        "num_sms": seen.num_sms,
        "l2_cache": quantity.nbytes(seen.l2_nbytes),
        "power_limit": f"{power:.0f} W",
        **_ways(device),
        "achievable": {**achievable},
        "sources": {
            "peak_flops": f"{ASSUMED} the best large product of a first look, over {BEST_OF_PEAK:g}",
            "memory_bandwidth": told,
            "power_limit": "its driver" if device.default_power_limit > 0 else f"{ASSUMED} {NOMINAL_POWER:.0f} W",
            "num_sms": "its driver",
            **dict.fromkeys(achievable, "a first look by calibrate run"),
        },
    }
    validate(Document(name=device.name, data=made, lines={}), GpuSheet)
    return made


def _ways(device: Device) -> dict[str, Value]:
    """The links of the catalogue that it comes with."""
    name, found = link_name(device), {"pcie": _pcie(device)}
    if name.startswith("nvlink") and name in names("links"):
        found["nvlink"] = name
    return {**found}


def _memory_bandwidth(device: Device, seen: Seen) -> tuple[float, str]:
    """Bytes per second, and who says so."""
    low, high = TOLD
    if device.memory_bandwidth and low <= seen.copied / device.memory_bandwidth <= high:
        return device.memory_bandwidth, "NVML: the largest clock of the memory, twice, over the width of its bus"
    return seen.copied / BEST_OF_MEMORY, f"{ASSUMED} a large copy of a first look, over {BEST_OF_MEMORY:g}"


def _nvlink_generation(device: Device) -> int:
    """That of the newest whose lanes are known, where nobody tells or it is newer."""
    return device.nvlink_generation if device.nvlink_generation in LANE else max(LANE)


def _nvlink_bandwidth(device: Device) -> float:
    return device.nvlinks_up * LANE[_nvlink_generation(device)]


def _relative(device: Device) -> Link:
    """The catalogue's NVLink of its generation; there is none of the first."""
    return topologies.link(f"nvlink{max(_nvlink_generation(device), 2)}")


def _pcie(device: Device) -> str:
    """By generation, of those in the catalogue the nearest."""
    known = {int(name.removeprefix("pcie")): name for name in names("links") if name.startswith("pcie")}
    wanted = device.largest_pcie_generation or UNTOLD_PCIE
    return known[min(known, key=lambda generation: abs(generation - wanted))]


def _share(part: float, whole: float) -> float:
    """A fraction with four digits, in the limits of a sheet."""
    return float(f"{min(1.0, max(0.001, part / whole)):.4g}")
