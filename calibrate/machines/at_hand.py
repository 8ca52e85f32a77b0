"""The machine at hand: what is measured, by its names in the catalogue, and the software that drives it."""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import topologies
from calibrate.machines import own_gpu
from calibrate.machines.devices import Device, Inventory, inventory, no_gpu, part_named, problems
from calibrate.machines.machine import CPU_PREFIX, LOOPBACK, Backend, Machine, cluster_with
from topologies import sheets
from topologies.document import InputError, Missing, Value, read
from topologies.networks import EXAMPLES, network
from topologies.quantity import MEGA

CPU_INFO = Path("/proc/cpuinfo")
SHEETS: Final = (".yaml", ".yml")
_VENDORS: Final = {"AuthenticAMD": "amd", "GenuineIntel": "intel"}
_NAMED: Final = re.compile(r"^(vendor_id|model name)\s*: *(.*)$", re.MULTILINE)
_WORD: Final = re.compile(r"[a-z0-9]+")
_NO_NAME: Final = re.compile(r"\((r|tm)\)|@.*|\bwith .*|\b(cpu|processor|\d+-core)\b")


def machine_of(
    backend: Backend, *, num_gpus: int, num_nodes: int = 1, hosts: Sequence[str] = (), gpu: str = "", fabric: str = ""
) -> Machine:
    """The machine, but for the sheets of what no catalogue has: these are measured first.

    `gpu` is the name in the catalogue that its GPUs are to be taken for, or a file that is their sheet. Raises
    InputError where the catalogue lacks that name, or nobody says what joins several nodes; Missing where there is no
    GPU.
    """
    if backend == "gloo":
        return _processors(num_gpus, num_nodes, hosts)
    found = _inventory()
    first = _visible(found.devices)
    part, hardware = part_of(first, gpu), _hardware_in(gpu)
    return Machine(
        backend="nccl",
        part=part,
        link=_link(first, part, hardware, num_gpus // num_nodes, num_nodes, fabric),
        fabric=fabric,
        device=first.name,
        num_gpus=num_gpus,
        num_nodes=num_nodes,
        hosts=tuple(hosts),
        software={"driver": found.driver, **_versions("nccl")},
        clocks=_clocks(first),
        hardware=hardware,
    )


def lacks_sheet(machine: Machine) -> bool:
    """Whether neither the catalogue nor the machine itself says what its GPU is."""
    return "gpu" not in machine.hardware and not part_named(machine.part)


def part_at_hand(backend: Backend, gpu: str) -> str:
    """The part that would be measured here; Missing where there is no GPU."""
    return processor_part() if backend == "gloo" else part_of(device_at_hand(), gpu)


def device_at_hand() -> Device:
    """The GPU that is measured here, as its driver describes it; Missing where there is none."""
    return _visible(_inventory().devices)


def problems_at_hand(backend: Backend) -> list[str]:
    """What would spoil a measurement here, a sentence each: of the GPUs that CUDA may use."""
    if backend == "gloo":
        return []
    found = inventory()
    return problems(replace(found, devices=tuple(_chosen(found.devices))))


def _inventory() -> Inventory:
    found = inventory()
    if not found.devices:
        raise Missing(no_gpu(found))
    return found


def part_of(device: Device, gpu: str) -> str:
    """The name of a GPU in the catalogue, or in the sheet that it is given; else a name of its own."""
    sheet = _hardware_in(gpu).get("gpu")
    if isinstance(sheet, dict):
        return str(sheet["name"])
    return topologies.gpu(gpu).name if gpu else device.part or own_gpu.part_name(device.name)


def _hardware_in(gpu: str) -> Mapping[str, Value]:
    """The sheet in the file that `gpu` names, where it names one; InputError where that is no sheet of a GPU."""
    if not gpu.lower().endswith(SHEETS):
        return {}
    document = read(Path(gpu))
    sheets.gpu(document)
    return {"gpu": document.data}


def processor_part() -> str:
    """The name under which this machine's processor stands for a GPU: cpu-amd-epyc-7b13."""
    vendor, model = _processor()
    words = _WORD.findall(_NO_NAME.sub(" ", model.lower()))
    first = _VENDORS.get(vendor, "")
    return CPU_PREFIX + "-".join([first] * (first not in ("", *words)) + words or ["unknown"])


def _processors(num_processes: int, num_nodes: int, hosts: Sequence[str]) -> Machine:
    if num_nodes > 1:
        raise InputError(
            f"--backend gloo on {num_nodes} nodes: it measures the processors of one; start it on one node"
        )
    return Machine(
        backend="gloo",
        part=processor_part(),
        link=LOOPBACK,
        device=_processor()[1],
        num_gpus=num_processes,
        hosts=tuple(hosts),
        software=_versions("gloo"),
    )


def _processor() -> tuple[str, str]:
    """Vendor and model as the kernel names them; elsewhere what Python knows."""
    told = dict(_NAMED.findall(CPU_INFO.read_text(encoding="utf-8"))) if CPU_INFO.exists() else {}
    return told.get("vendor_id", ""), told.get("model name", "") or platform.processor() or platform.machine()


def _visible(devices: tuple[Device, ...]) -> Device:
    """The first GPU that CUDA may use; InputError where those differ."""
    visible = _chosen(devices)
    names = sorted({one.name for one in visible})
    if len(names) > 1:
        raise InputError(f"the GPUs differ ({', '.join(names)}); choose those of one kind by CUDA_VISIBLE_DEVICES")
    return visible[0]


def _chosen(devices: tuple[Device, ...]) -> list[Device]:
    asked = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    chosen = {int(index) for index in asked.split(",") if index.strip().isdecimal()}
    return [one for one in devices if one.index in chosen] or list(devices)


def _link(
    device: Device, part: str, hardware: Mapping[str, Value], gpus_per_node: int, num_nodes: int, fabric: str
) -> str:
    """What joins the GPUs of a node: as its sheet says, or its driver where there is none yet."""
    if num_nodes > 1 and not fabric:
        raise InputError(f"{num_nodes} nodes: nothing tells what joins them; say --fabric: {EXAMPLES}")
    network(fabric or "nvlink-only")  # told before anything is measured
    if "gpu" not in hardware and not part_named(part):
        return own_gpu.link_name(device)
    built = cluster_with(gpu=part, hardware=hardware, gpus_per_node=gpus_per_node, fabric=fabric, num_nodes=num_nodes)
    return built.node.scale_up.name


def _clocks(device: Device) -> Mapping[str, float]:
    told = {"sm": device.clock / MEGA, "largest sm": device.largest_clock / MEGA}
    return {name: clock for name, clock in told.items() if clock == clock}


def _versions(backend: Backend) -> dict[str, str]:
    import torch

    python = {"torch": str(torch.__version__), "python": platform.python_version()}
    if backend == "gloo":
        return python
    nccl = torch.cuda.nccl.version()  # type: ignore[no-untyped-call]
    return {"cuda": torch.version.cuda or "", "nccl": ".".join(map(str, nccl)), **python}
