"""What a GPU does while a point runs: its clock, power and temperature, and what holds it back, as NVML tells.

That a sustained product meets the power limit is as it should be: the clock falls, and the law "power" is fitted to it.
Heat, a brake from the power supply and a fault are not: such points are kept apart. Nothing is ever set here.
"""

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from statistics import fmean
from types import ModuleType
from typing import Final, NamedTuple

import torch

from topologies.quantity import KILO, MEGA, MILLISECOND

PERIOD: Final = 10 * MILLISECOND
"""Between two samples. Power is itself a mean over the last second, on most GPUs [NVML, nvmlDeviceGetPowerUsage]."""

HELD_BACK: Final = {
    0x08: "hardware slowdown",
    0x20: "slowed by software for heat",
    0x40: "slowed by hardware for heat",
    0x80: "power brake",
}
"""Bits of NVML's clocks event reasons [nvml.h, nvmlClocksEventReasons]. Bit 2, the power limit, is not among them."""
BETWEEN: Final = ", "
"""Between words of several reasons; no reason has it in its own."""


class Reading(NamedTuple):
    """Hz, W and degrees Celsius, NaN where nobody tells; what held the GPU back, nothing where nothing did."""

    clock: float = math.nan
    power: float = math.nan
    temperature: float = math.nan
    throttled: str = ""


class Meter(NamedTuple):
    """A GPU as NVML knows it."""

    nvml: ModuleType
    handle: object

    def read(self) -> Reading:
        """One sample; what this GPU or driver does not tell is NaN."""
        nvml, handle = self.nvml, self.handle
        return Reading(
            clock=MEGA * self._asked("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_SM),
            power=self._asked("nvmlDeviceGetPowerUsage", handle) / KILO,
            temperature=self._asked("nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU),
            throttled=reasons(self._bits()),
        )

    def _bits(self) -> float:
        """Reasons, by their older name where the module or the driver is of before 2023 and lacks the new one."""
        told = self._asked("nvmlDeviceGetCurrentClocksEventReasons", self.handle)
        return self._asked("nvmlDeviceGetCurrentClocksThrottleReasons", self.handle) if math.isnan(told) else told

    def _asked(self, question: str, *arguments: object) -> float:
        try:
            return float(getattr(self.nvml, question)(*arguments))
        except (AttributeError, self.nvml.NVMLError):
            return math.nan


def reasons(bits: float) -> str:
    """What holds a GPU back, in words; NaN: nobody knows."""
    known = 0 if math.isnan(bits) else int(bits)
    return BETWEEN.join(words for bit, words in HELD_BACK.items() if known & bit)


@lru_cache
def meter_of(device: torch.device) -> Meter | None:
    """The meter of a CUDA device; None for a processor, and where there is no NVML.

    By its UUID: CUDA_VISIBLE_DEVICES may number devices otherwise than NVML does.
    """
    if device.type != "cuda":
        return None
    try:
        nvml = import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        return Meter(nvml, nvml.nvmlDeviceGetHandleByUUID(uuid))
    except nvml.NVMLError:
        return None


@contextmanager
def sampled(meter: Meter | None) -> Iterator[list[Reading]]:
    """Within it, a thread adds samples to the list; one at least, where there is a meter."""
    samples: list[Reading] = []
    if meter is None:
        yield samples
        return
    is_over = threading.Event()
    thread = threading.Thread(target=_sample, args=(meter, samples, is_over), daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        is_over.set()
        thread.join()


def _sample(meter: Meter, samples: list[Reading], is_over: threading.Event) -> None:
    while not is_over.wait(PERIOD):
        samples.append(meter.read())
    if not samples:
        samples.append(meter.read())


def mean(samples: Sequence[Reading]) -> Reading:
    """The means, and all that held the GPU back at any time."""
    if not samples:
        return Reading()
    held = dict.fromkeys(words for one in samples for words in one.throttled.split(BETWEEN) if words)
    return Reading(
        clock=fmean(one.clock for one in samples),
        power=fmean(one.power for one in samples),
        temperature=fmean(one.temperature for one in samples),
        throttled=BETWEEN.join(held),
    )
