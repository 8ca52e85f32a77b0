"""What NVML tells while a point runs, by a module that stands in for pynvml."""

import math
import sys
import time
from types import ModuleType

import pytest
import torch

from calibrate.bench import monitor
from calibrate.bench.monitor import Meter, Reading, mean, reasons, sampled


class NVMLError(Exception):
    """As pynvml has one."""


def fake(bits: int = 0, *, has_temperature: bool = True) -> ModuleType:
    """NVML of one GPU at 1.5 GHz and 650 W."""
    made = ModuleType("pynvml")

    def temperature(handle: object, sensor: int) -> int:
        if not has_temperature:
            raise NVMLError
        return 61

    made.__dict__.update(
        NVMLError=NVMLError,
        NVML_CLOCK_SM=1,
        NVML_TEMPERATURE_GPU=0,
        nvmlDeviceGetClockInfo=lambda handle, which: 1500,
        nvmlDeviceGetPowerUsage=lambda handle: 650_000,
        nvmlDeviceGetTemperature=temperature,
        nvmlDeviceGetCurrentClocksEventReasons=lambda handle: bits,
    )
    return made


def test_what_nvml_says_in_its_units_is_read_in_si_units() -> None:
    """1500 MHz are 1.5 GHz, 650,000 mW are 650 W."""
    assert Meter(fake(), None).read() == Reading(1.5e9, 650.0, 61.0, "")


def test_what_a_gpu_does_not_tell_is_nan() -> None:
    assert math.isnan(Meter(fake(has_temperature=False), None).read().temperature)


def test_the_power_limit_is_no_throttling() -> None:
    """Bit 2 is the software's power cap, bit 0 idleness, bit 1 clocks that an application set."""
    assert reasons(0x01 | 0x02 | 0x04) == ""


def test_heat_and_brakes_are_throttling() -> None:
    assert reasons(0x04 | 0x20 | 0x80) == "slowed by software for heat, power brake"
    assert Meter(fake(0x08), None).read().throttled == "hardware slowdown"


def test_reasons_of_several_samples_are_told_once_each() -> None:
    told = [Reading(1e9, 1.0, 1.0, reasons(bits)) for bits in (0x20, 0x20 | 0x80)]
    assert mean(told).throttled == "slowed by software for heat, power brake"


def test_an_older_nvml_tells_reasons_by_their_older_name() -> None:
    old = fake()
    del old.nvmlDeviceGetCurrentClocksEventReasons
    assert Meter(old, None).read().throttled == ""
    old.__dict__["nvmlDeviceGetCurrentClocksThrottleReasons"] = lambda handle: 0x80
    assert Meter(old, None).read().throttled == "power brake"


def test_nobody_knows_is_no_throttling() -> None:
    assert reasons(math.nan) == ""


def test_samples_are_taken_while_a_point_runs_and_one_at_least() -> None:
    with sampled(Meter(fake(), None)) as short:
        pass
    assert len(short) == 1
    with sampled(Meter(fake(), None)) as long:
        time.sleep(0.2)
    assert len(long) >= 2


def test_means_of_samples_and_all_that_held_back_once() -> None:
    one, other = Reading(1e9, 100.0, 40.0, "power brake"), Reading(2e9, 300.0, 50.0, "power brake, hardware slowdown")
    assert mean([one, other, one, other]) == Reading(1.5e9, 200.0, 45.0, "power brake, hardware slowdown")


def test_a_processor_has_no_meter_and_no_readings() -> None:
    assert monitor.meter_of(torch.device("cpu")) is None
    with sampled(None) as samples:
        pass
    assert math.isnan(mean(samples).clock)
    assert mean(samples).throttled == ""


def test_without_nvml_nothing_is_read_and_nothing_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monitor.meter_of.cache_clear()
    assert monitor.meter_of(torch.device("cuda", 0)) is None
    monitor.meter_of.cache_clear()
