"""Machines and measurements as data, as journals and profiles hold them, and back again with every field checked."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import get_args

from calibrate.domains import SIZES, inputs_of
from calibrate.machines.machine import CPU_PREFIX, LOOPBACK, Backend, Machine
from calibrate.measurement import Measurement
from topologies.document import InputError, Value, shorten
from topologies.quantity import DAY, PETA

_POSITIVE = ("seconds", "low", "high")
_TEXTS = ("operation", "part", "gpu", "fabric", "throttled", "wrong")
_WHOLE = ("repeats", "slowest_rank")
LARGEST = PETA
"""No input of a law is larger: bytes, numbers, or GPUs."""
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
    _check_alike(at, data)
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
            name: number(at, name, clock)
            for name, clock in mapping(f"{at}: machine.clocks", data.get("clocks", {})).items()
        },
        hardware=mapping(f"{at}: machine.hardware", data.get("hardware", {})),
    )


def _check_alike(at: str, data: Mapping[str, Value]) -> None:
    """Raises InputError where a processor's names stand for a GPU's or the other way round, or nodes differ."""
    is_cpu = data["backend"] == "gloo"
    for name, of_processor in (
        ("part", str(data.get("part")).startswith(CPU_PREFIX)),
        ("link", data.get("link") == LOOPBACK),
    ):
        if _text(at, data, name) and of_processor is not is_cpu:
            said = f"machine.{name} {shorten(data[name])} is {'no processor' if is_cpu else 'a processor'}'s"
            raise InputError(f"{at}: {said}, but machine.backend is {data['backend']}; one of them was changed")
    num_gpus, num_nodes = _count(at, data, "num_gpus"), _count(at, data, "num_nodes")
    if num_gpus % num_nodes:
        raise InputError(f"{at}: machine.num_nodes {num_nodes} does not divide machine.num_gpus {num_gpus}")


def measurement_in(at: str, data: Mapping[str, Value]) -> Measurement:
    """The measurement that such data describes; InputError, beginning with `at`, where it is none. Of what went wrong
    there need be no time."""
    told = mapping(f"{at}: inputs", data.get("inputs"))
    inputs = {name: number(at, f"inputs.{name}", value) for name, value in told.items()}
    texts = {name: _written(at, name, data.get(name, "")) for name in _TEXTS}
    texts |= {name: _text(at, data, name) for name in ("operation", "part")}
    if not inputs:
        raise InputError(f"{at}: inputs are empty; an operation has a size")
    if not texts["wrong"]:
        _check_inputs(at, texts["part"], texts["operation"], inputs)
    times = {name: math.nan if _is_missing(data, name) else _positive(at, name, data.get(name)) for name in _POSITIVE}
    whole = {name: _whole(at, name, data.get(name, 0)) for name in _WHOLE}
    rest = {name: number(at, name, data[name]) for name in _told_of_device(data)}
    return Measurement(**texts, **whole, **times, **rest, inputs=inputs)  # type: ignore[arg-type]


def _check_inputs(at: str, part: str, operation: str, inputs: Mapping[str, float]) -> None:
    """Raises InputError where the law of the operation could not be asked: an input is missing, or is no size."""
    for name in inputs_of(part, operation):
        if name not in inputs:
            raise InputError(f"{at}: inputs.{name} is missing; remove the line, and --resume measures it again")
        if name in SIZES and inputs[name] <= 0:
            raise InputError(f"{at}: inputs.{name} must be more than 0, got {inputs[name]:g}")
    for name, value in inputs.items():
        if not 0 <= value <= LARGEST:
            raise InputError(f"{at}: inputs.{name} must be from 0 to {LARGEST:g}, got {value:g}")


def _is_missing(data: Mapping[str, Value], name: str) -> bool:
    return bool(data.get("wrong")) and data.get(name) is None


def _told_of_device(data: Mapping[str, Value]) -> Iterator[str]:
    return (name for name in _OF_DEVICE if data.get(name) is not None)


def _positive(at: str, name: str, value: Value) -> float:
    seconds = number(at, name, value)
    if not 0 < seconds <= DAY:
        raise InputError(f"{at}: {name} must be more than 0 seconds and at most a day's, got {shorten(value)}")
    return seconds


def number(at: str, name: str, value: Value) -> float:
    """The value where it is a finite number; else InputError, beginning with `at`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{at}: {name} must be a number, got {shorten(value)}")
    return float(value)


def _whole(at: str, name: str, value: Value) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"{at}: {name} must be a whole number, 0 or more, got {shorten(value)}")
    return value


def _written(at: str, name: str, value: Value) -> str:
    if not isinstance(value, str):
        raise InputError(f"{at}: {name} must be text, got {shorten(value)}")
    return value


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
