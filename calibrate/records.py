"""Machines and measurements as data, as journals and profiles hold them, and back again with every field checked."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import get_args

from calibrate.machines.machine import Backend, Machine
from calibrate.measurement import Measurement
from topologies.document import InputError, Value, shorten

_POSITIVE = ("seconds", "low", "high")
_TEXTS = ("operation", "part", "gpu", "fabric", "throttled", "wrong")
_WHOLE = ("repeats", "slowest_rank")
_OF_DEVICE = ("slowest", "clock", "power", "temperature")


def record(measurement: Measurement) -> dict[str, object]:
    """A measurement as data; what nobody can tell (NaN) and what is empty is left out."""
    told = asdict(measurement)
    return {name: value for name, value in told.items() if value != "" and not _is_nan(value)}


def machine_record(machine: Machine) -> dict[str, object]:
    """A machine as data, as journals and profiles hold it."""
    return {one.name: _plain(getattr(machine, one.name)) for one in fields(machine)}


def machine_in(at: str, value: Value) -> Machine:
    """The machine that such data describes; InputError, beginning with `at`, where it is none."""
    data = mapping(f"{at}: machine", value)
    known = {one.name for one in fields(Machine)}
    for name in data.keys() - known:
        raise InputError(f"{at}: machine.{shorten(name)} is not known; a newer version wrote it")
    if data.get("backend") not in get_args(Backend):
        raise InputError(f"{at}: machine.backend must be nccl or gloo, got {shorten(data.get('backend'))}")
    hosts = data.get("hosts", [])
    return Machine(
        backend="gloo" if data["backend"] == "gloo" else "nccl",
        part=_text(at, data, "part"),
        link=_text(at, data, "link"),
        fabric=str(data.get("fabric", "")),
        device=_text(at, data, "device"),
        num_gpus=_count(at, data, "num_gpus"),
        num_nodes=_count(at, data, "num_nodes"),
        hosts=tuple(map(str, hosts)) if isinstance(hosts, list) else (),
        software={
            name: str(version) for name, version in mapping(f"{at}: machine.software", data.get("software", {})).items()
        },
        clocks={
            name: _number(at, name, clock)
            for name, clock in mapping(f"{at}: machine.clocks", data.get("clocks", {})).items()
        },
        hardware=mapping(f"{at}: machine.hardware", data.get("hardware", {})),
    )


def measurement_in(at: str, data: Mapping[str, Value]) -> Measurement:
    """The measurement that such data describes; InputError, beginning with `at`, where it is none. Of what went wrong
    there need be no time."""
    told = mapping(f"{at}: inputs", data.get("inputs"))
    inputs = {name: _number(at, f"inputs.{name}", value) for name, value in told.items()}
    if not inputs:
        raise InputError(f"{at}: inputs are empty; an operation has a size")
    times = {name: math.nan if _is_missing(data, name) else _positive(at, name, data.get(name)) for name in _POSITIVE}
    texts = {name: str(data.get(name, "")) for name in _TEXTS}
    whole = {name: int(_number(at, name, data.get(name, 0))) for name in _WHOLE}
    rest = {name: _number(at, name, data[name]) for name in _told_of_device(data)}
    texts |= {name: _text(at, data, name) for name in ("operation", "part")}
    return Measurement(**texts, **whole, **times, **rest, inputs=inputs)  # type: ignore[arg-type]


def _is_missing(data: Mapping[str, Value], name: str) -> bool:
    return bool(data.get("wrong")) and data.get(name) is None


def _told_of_device(data: Mapping[str, Value]) -> Iterator[str]:
    return (name for name in _OF_DEVICE if data.get(name) is not None)


def _positive(at: str, name: str, value: Value) -> float:
    number = _number(at, name, value)
    if number <= 0:
        raise InputError(f"{at}: {name} must be more than 0 seconds, got {shorten(value)}")
    return number


def _number(at: str, name: str, value: Value) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{at}: {name} must be a number, got {shorten(value)}")
    return float(value)


def _count(at: str, data: Mapping[str, Value], name: str) -> int:
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{at}: machine.{name} must be 1 or more, got {shorten(value)}")
    return value


def _text(at: str, data: Mapping[str, Value], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise InputError(f"{at}: {name} must be a name, got {shorten(value)}")
    return value


def mapping(at: str, value: Value) -> dict[str, Value]:
    """The value where it is a mapping; else InputError, beginning with `at`."""
    if not isinstance(value, dict):
        raise InputError(f"{at}: must be a mapping from names, got {shorten(value)}")
    return value


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
