"""What can be measured here: GPUs and network adapters, how they are joined, and what would spoil a measurement.

A GPU that another program uses, that shares itself (MIG), that is held below its power, that lost lanes or that cannot
reach a neighbour's memory gives times that say nothing of its kind.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from topologies.catalogue import named
from topologies.document import InputError
from topologies.quantity import nbytes, percent

BUSY: Final = 0.05
"""A GPU that is used more than this share of the time, or so much of its memory, is another's."""
SHORT = 0.98
"""A power limit below this part of the usual one is told."""
MOST_PAIRS = 4
ADAPTERS = Path("/sys/class/infiniband")
ACTIVE = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU as its driver describes it; `part` is its name in the catalogue, empty where it has none. SI units; NaN or
    zero where nobody can tell."""

    index: int
    name: str
    part: str = ""
    memory_nbytes: float
    memory_used: float = 0.0
    utilization: float = math.nan
    num_processes: int = 0
    clock: float = math.nan
    largest_clock: float = math.nan
    power_limit: float = math.nan
    default_power_limit: float = math.nan
    temperature: float = math.nan
    has_ecc: bool = False
    has_mig: bool = False
    pcie_generation: int = 0
    largest_pcie_generation: int = 0
    pcie_width: int = 0
    largest_pcie_width: int = 0
    nvlinks_up: int = 0
    num_nvlinks: int = 0
    nvlink_generation: int = 0
    memory_bandwidth: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A port of a network adapter: `rate` and `state` as the kernel writes them ("400 Gb/sec (4X NDR)", "active")."""

    name: str
    rate: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The GPUs and network adapters of this machine; `strangers` are pairs of GPUs without peer access. `missing` says
    why there is no GPU."""

    devices: tuple[Device, ...] = ()
    adapters: tuple[Adapter, ...] = ()
    driver: str = ""
    cuda: str = ""
    strangers: tuple[tuple[int, int], ...] = ()
    missing: str = ""


def inventory() -> Inventory:
    """What stands here: by NVML, or as far as torch knows where NVML is missing."""
    from calibrate.machines import nvml

    found = nvml.inventory()
    if not found.devices:
        found = replace(found, devices=_by_torch())
    return replace(found, adapters=tuple(_adapters(ADAPTERS)))


def _by_torch() -> tuple[Device, ...]:
    try:
        import torch
    except ImportError:
        return ()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    known = [(index, torch.cuda.get_device_properties(index)) for index in range(count)]
    return tuple(
        Device(index=index, name=one.name, part=part_named(one.name), memory_nbytes=float(one.total_memory))
        for index, one in known
    )


def part_named(device: str) -> str:
    """The catalogue's name of the GPU that a driver calls so; empty where it has none."""
    try:
        return named("gpus", device)
    except InputError:
        return ""


def _adapters(folder: Path) -> Iterator[Adapter]:
    """The RDMA ports that the kernel lists: <name>/ports/<port>/rate and state [kernel.org, sysfs-class-infiniband]."""
    for port in sorted(folder.glob("*/ports/*")):
        name, number = port.parent.parent.name, port.name
        state = _line(port / "state").rpartition(":")[2].strip().lower()
        yield Adapter(name=name if number == "1" else f"{name}:{number}", rate=_line(port / "rate"), state=state)


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def no_gpu(found: Inventory) -> str:
    """What is said where there is no GPU, and what can be done then."""
    return (
        f"no NVIDIA GPU is visible: {found.missing}; `calibrate run --backend gloo` measures this machine's "
        "processors, for trying things out"
    )


def problems(found: Inventory) -> list[str]:
    """What would spoil a measurement, a sentence each."""
    told = [sentence for device in found.devices for sentence in _of_device(device)]
    return [*told, *_of_all(found), *_of_pairs(found), *_of_adapters(found), *_of_environment()]


def _of_device(one: Device) -> Iterator[str]:
    gpu = f"GPU {one.index}"
    if not one.part:
        yield f"{gpu}: {one.name} is in no catalogue; `calibrate run` makes a sheet of it first, or takes --gpu NAME"
    if one.has_mig:
        yield f"{gpu} is in MIG mode: a slice of it would be measured, which no sheet describes; switch MIG off"
    if one.utilization > BUSY or one.memory_used > BUSY * one.memory_nbytes:
        yield f"{gpu} is busy: {_use(one)}; its times would be too long"
    if one.power_limit < SHORT * one.default_power_limit:
        yield f"{gpu} is held to {one.power_limit:.0f} W of {one.default_power_limit:.0f} W: it will run slower"
    if one.pcie_width < one.largest_pcie_width:
        yield f"{gpu} has {one.pcie_width} of {one.largest_pcie_width} PCIe lanes: is it seated well?"
    if one.nvlinks_up < one.num_nvlinks:
        yield f"{gpu} has {one.nvlinks_up} of {one.num_nvlinks} NVLinks up"


def _use(one: Device) -> str:
    """How much of a GPU others use."""
    used = "" if math.isnan(one.utilization) else f"{percent(one.utilization, 0)} of the time, "
    who = f" by {one.num_processes} {'process' if one.num_processes == 1 else 'processes'}" if one.num_processes else ""
    return f"{used}{nbytes(one.memory_used)} of its memory taken{who}"


def _of_all(found: Inventory) -> Iterator[str]:
    """What differs between GPUs that should be equal."""
    names = sorted({one.name for one in found.devices})
    if len(names) > 1:
        yield f"the GPUs differ ({', '.join(names)}); measure one kind at a time, by CUDA_VISIBLE_DEVICES"
    without = [str(one.index) for one in found.devices if not one.has_ecc]
    if 0 < len(without) < len(found.devices):
        yield f"GPUs {', '.join(without)} have ECC off, the others on: their memories differ in speed"


def _of_pairs(found: Inventory) -> Iterator[str]:
    if not found.strangers:
        return
    shown = ", ".join(f"{one}-{other}" for one, other in found.strangers[:MOST_PAIRS])
    more = ", ..." if len(found.strangers) > MOST_PAIRS else ""
    yield f"no peer access between GPUs {shown}{more}: what they send goes through the host's memory"


def _of_adapters(found: Inventory) -> Iterator[str]:
    for one in found.adapters:
        if one.state != ACTIVE:
            yield f"adapter {one.name} is {one.state or 'in no known state'}: its rail carries nothing"


def _of_environment() -> Iterator[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        yield f"CUDA_VISIBLE_DEVICES={visible}: only these would be measured"
