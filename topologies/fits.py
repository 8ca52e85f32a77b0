"""What `calibrate` measured, laid over data sheets: shipped fits first, then a user's own profile.

A file of fits belongs to one part and holds a Fit for each operation that was measured on it. A GPU without a fit of an
operation takes that of its nearest relative among those that have one, and the fit says whose it is.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from topologies.catalogue import quick
from topologies.document import InputError, Value
from topologies.hardware import Fit, Gpu, Link, Origin

FOLDER = Path(__file__).parent / "fits"
_ORIGINS: Mapping[str, Origin] = {name: name for name in ("measured", "interpolated", "extrapolated", "datasheet")}


def shipped() -> list[str]:
    """The names of the parts that have fits in the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@lru_cache
def fits_of(part: str) -> Mapping[str, Fit]:
    """The shipped fits of a part by operation; empty where nobody measured it."""
    path = FOLDER / f"{part}.yaml"
    return read_fits(quick(path).data) if path.exists() else {}


def with_fits(gpu: Gpu, relatives: Iterable[Gpu]) -> Gpu:
    """The GPU with its own fits, and for other operations those of the nearest of its `relatives`."""
    own = dict(fits_of(gpu.name))
    for relative in sorted(relatives, key=lambda other: distance(gpu, other)):
        for operation, fit in fits_of(relative.name).items():
            own.setdefault(operation, replace(fit, part=relative.name, origin="datasheet"))
    return replace(gpu, fits=own) if own else gpu


def link_with_fits(link: Link) -> Link:
    """The link with its own fits."""
    own = fits_of(link.name)
    return replace(link, fits=own) if own else link


def distance(gpu: Gpu, other: Gpu) -> tuple[float, float]:
    """How unlike two GPUs are: by what an SM multiplies per second, which tells generations apart, then by memory."""
    rates = (_rate_of_sm(gpu), _rate_of_sm(other))
    return round(abs(math.log(rates[0] / rates[1])), 3), abs(math.log(gpu.memory_bandwidth / other.memory_bandwidth))


def _rate_of_sm(gpu: Gpu) -> float:
    rate = gpu.peak_flops.get("bf16") or gpu.peak_flops.get("fp16") or max(gpu.peak_flops.values())
    return rate / gpu.num_sms


def read_fits(data: Value) -> Mapping[str, Fit]:
    """The fits that a file of fits holds, by operation; InputError where it is not one."""
    if not isinstance(data, dict) or not isinstance(data.get("part"), str) or not isinstance(data.get("fits"), dict):
        raise InputError("not a file of fits: it has no part and fits; `calibrate fit` writes one")
    part, fits = str(data["part"]), data["fits"]
    assert isinstance(fits, dict)
    return {operation: _fit(part, operation, fields) for operation, fields in fits.items()}


def _fit(part: str, operation: str, fields: Value) -> Fit:
    if not isinstance(fields, dict) or not isinstance(fields.get("values"), dict):
        raise InputError(f"fits.{operation}: no values; `calibrate fit` writes such files")
    values, half_widths = {}, {}
    for name, text in _mapping(fields["values"]).items():
        values[name], half_widths[name] = _value(f"fits.{operation}.values.{name}", text)
    source = str(fields.get("source", ""))
    return Fit(
        values=values,
        sources=dict.fromkeys(values, source),
        origin=_ORIGINS.get(str(fields.get("origin", "interpolated")), "interpolated"),
        spread=None if fields.get("spread") is None else _pair(f"fits.{operation}.spread", fields["spread"]),
        half_widths=half_widths,
        domain={
            name: _pair(f"fits.{operation}.domain.{name}", pair)
            for name, pair in _mapping(fields.get("domain") or {}).items()
        },
        num_points=int(_number("points", fields.get("points", 0))),
        part=part,
    )


def _value(at: str, text: Value) -> tuple[float, float]:
    """A number, or a number and the half-width of its 80 % interval: 0.84 ± 0.01."""
    value, _, half_width = str(text).partition("±")
    return _number(at, value), _number(at, half_width or 0.0)


def _pair(at: str, value: Value) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise InputError(f"{at}: write two numbers, such as [-0.05, 0.04]")
    return _number(at, value[0]), _number(at, value[1])


def _number(at: str, value: Value) -> float:
    try:
        number = float(str(value))
    except ValueError:
        raise InputError(f"{at}: {value!r} is not a number") from None
    if not math.isfinite(number):
        raise InputError(f"{at}: {value} is not a finite number")
    return number


def _mapping(value: Value) -> dict[str, Value]:
    if not isinstance(value, dict):
        raise InputError("values and domain of a fit are mappings from a name")
    return value
