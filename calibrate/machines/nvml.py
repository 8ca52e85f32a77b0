"""What NVIDIA's management library (NVML) says of the GPUs of this machine. It reads, and never sets anything.

Not every GPU tells everything: what one does not tell is NaN, zero or nothing here.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import TypeVar

from calibrate.machines.devices import Device, Inventory, part_named
from topologies.quantity import BITS_PER_BYTE, KILO, MEGA

Told = TypeVar("Told", int, float)

_READ = 0
"""NVML_P2P_CAPS_INDEX_READ; the module's own name for it is a tuple by mistake (nvidia-ml-py 12 and 13)."""
_PERCENT = 100
_GENERATIONS = {1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 7: 5, 8: 6}
"""Of NVLink by NVML's numbers of its versions, 1.0, 2.0, 2.2, 3.0, 3.1, 4.0, 5.0, 6.0 [nvml.h, NVML_NVLINK_VERSION]."""


def inventory() -> Inventory:
    """The GPUs as NVML sees them; `missing` says why there are none."""
    try:
        import pynvml  # type: ignore[import-untyped]
    except ImportError:
        return Inventory(missing="nvidia-ml-py is not installed; pip install 'shardsim[calibrate]'")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Inventory(missing=f"NVML: {str(error).lower()}")
    try:
        return _read(pynvml)
    except pynvml.NVMLError as error:
        return Inventory(missing=f"NVML: {str(error).lower()}")
    finally:
        pynvml.nvmlShutdown()


def _read(nvml: ModuleType) -> Inventory:
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    version = _asked(nvml, 0, nvml.nvmlSystemGetCudaDriverVersion_v2)
    return Inventory(
        devices=tuple(_device(nvml, index, handle) for index, handle in enumerate(handles)),
        driver=_text(nvml.nvmlSystemGetDriverVersion()),
        cuda=f"{version // 1000}.{version % 1000 // 10}" if version else "",  # 12040 is CUDA 12.4
        strangers=tuple(_strangers(nvml, handles)),
        missing="" if handles else "NVML counts none",
    )


def _device(nvml: ModuleType, index: int, handle: object) -> Device:
    name = _text(nvml.nvmlDeviceGetName(handle))
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    up, links = _nvlinks(nvml, handle)
    return Device(
        index=index,
        name=name,
        part=part_named(name),
        memory_nbytes=float(memory.total),
        memory_used=float(memory.used),
        utilization=_asked(nvml, math.nan, lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / _PERCENT),
        num_processes=_asked(nvml, 0, lambda: len(nvml.nvmlDeviceGetComputeRunningProcesses(handle))),
        clock=MEGA * _asked(nvml, math.nan, nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
        largest_clock=MEGA * _asked(nvml, math.nan, nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_SM),
        power_limit=_asked(nvml, math.nan, nvml.nvmlDeviceGetPowerManagementLimit, handle) / KILO,
        default_power_limit=_asked(nvml, math.nan, nvml.nvmlDeviceGetPowerManagementDefaultLimit, handle) / KILO,
        temperature=_asked(nvml, math.nan, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
        has_ecc=bool(_asked(nvml, 0, lambda: nvml.nvmlDeviceGetEccMode(handle)[0])),
        has_mig=bool(_asked(nvml, 0, lambda: nvml.nvmlDeviceGetMigMode(handle)[0])),
        pcie_generation=_asked(nvml, 0, nvml.nvmlDeviceGetCurrPcieLinkGeneration, handle),
        largest_pcie_generation=_asked(nvml, 0, nvml.nvmlDeviceGetMaxPcieLinkGeneration, handle),
        pcie_width=_asked(nvml, 0, nvml.nvmlDeviceGetCurrPcieLinkWidth, handle),
        largest_pcie_width=_asked(nvml, 0, nvml.nvmlDeviceGetMaxPcieLinkWidth, handle),
        nvlinks_up=up,
        num_nvlinks=links,
        nvlink_generation=_GENERATIONS.get(_asked(nvml, 0, nvml.nvmlDeviceGetNvLinkVersion, handle, 0), 0),
        memory_bandwidth=_memory_bandwidth(nvml, handle),
    )


def _memory_bandwidth(nvml: ModuleType, handle: object) -> float:
    """Bytes per second: two bits on each wire of the bus in a cycle of the clock that NVML tells; 0 where it does not.

    H100: 2619 MHz and 5120 wires are 3352 GB/s; RTX 4090: 10501 MHz and 384 are 1008 GB/s, as their data sheets say.
    """
    clock = MEGA * _asked(nvml, 0, nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_MEM)
    return 2 * clock * _asked(nvml, 0, nvml.nvmlDeviceGetMemoryBusWidth, handle) / BITS_PER_BYTE


def _nvlinks(nvml: ModuleType, handle: object) -> tuple[int, int]:
    """How many NVLinks are up, and how many there are."""
    states = [
        _asked(nvml, -1, nvml.nvmlDeviceGetNvLinkState, handle, link) for link in range(nvml.NVML_NVLINK_MAX_LINKS)
    ]
    return states.count(1), len(states) - states.count(-1)


def _strangers(nvml: ModuleType, handles: Sequence[object]) -> Iterator[tuple[int, int]]:
    """The pairs of GPUs of which one cannot read the memory of the other."""
    for first, one in enumerate(handles):
        for second, other in enumerate(handles[first + 1 :], first + 1):
            status = _asked(nvml, 0, nvml.nvmlDeviceGetP2PStatus, one, other, _READ)
            if status != nvml.NVML_P2P_STATUS_OK:
                yield first, second


def _asked(nvml: ModuleType, otherwise: Told, ask: Callable[..., Told], *arguments: object) -> Told:
    """What NVML answers; `otherwise` where this GPU or driver does not support the question."""
    try:
        return ask(*arguments)
    except nvml.NVMLError:
        return otherwise


def _text(name: str | bytes) -> str:
    """Older versions give bytes."""
    return name.decode() if isinstance(name, bytes) else name
