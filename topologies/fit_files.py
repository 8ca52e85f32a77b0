"""Files of fits: what `calibrate fit` writes of one part, and what `calibrate run` writes of a machine.

The first holds `part` and `fits`, the second `machine`, `parts` with the fits of each, and `hardware`: the sheets of
what no catalogue has. What laws allow a value to be is checked where the laws are (sim/costs/laws.py).
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from topologies.document import Document, InputError, Location, Value, closest, error_at, read, shorten
from topologies.hardware import Fit, Origin

Fits = Mapping[str, Fit]

MOST_SPREAD = 2.0
"""A spread of ln(measured / predicted) beyond this, 7 times as long, is of no use, and no `calibrate` writes it."""

_ORIGINS: Mapping[str, Origin] = {name: name for name in ("measured", "interpolated", "extrapolated", "datasheet")}
_FIELDS = ("origin", "source", "points", "spread", "error", "domain", "values")
_COMMA = re.compile(r", *(?![^\[]*\])")
_SHEETS = ("gpu", "link")


def profile(path: Path) -> Mapping[str, Fits]:
    """The fits in a file that `calibrate` wrote, or in a folder of them, by part.

    Raises InputError where there is none, or a file is something else, or says what cannot be.
    """
    found: dict[str, Fits] = {}
    for document in _documents(path):
        for part, fits in read_fits(document).items():
            found[part] = {**found.get(part, {}), **fits}
    return found


def hardware_of(path: Path) -> Mapping[str, Value]:
    """The sheets in a profile, as a cluster file writes them: `gpu` and `link`, of what no catalogue has."""
    found: dict[str, Value] = {}
    for document in _documents(path):
        data = document.data
        found |= _sheets(document, data["hardware"]) if isinstance(data, dict) and data.get("hardware") else {}
    return found


def _documents(path: Path) -> list[Document]:
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: no *.yaml in this folder; `calibrate fit --out {path}` writes them")
    return [read(file) for file in files]


def _sheets(document: Document, value: Value) -> dict[str, Value]:
    sheets = _mapping(document, ("hardware",), value)
    for name, sheet in sheets.items():
        if name not in _SHEETS:
            raise error_at(document, ("hardware", name), f"no such sheet; write {' or '.join(_SHEETS)}")
        _mapping(document, ("hardware", name), sheet)
    return sheets


def read_fits(document: Document) -> Mapping[str, Fits]:
    """The fits that a file holds, by part and operation; InputError, with its place, for what cannot be.

    A fit that names no source has that of the fit before.
    """
    data = document.data
    if isinstance(data, dict) and isinstance(data.get("part"), str) and isinstance(data.get("fits"), dict):
        return {str(data["part"]): _operations(document, ("fits",), str(data["part"]), data["fits"])}
    if isinstance(data, dict) and isinstance(data.get("parts"), dict):
        parts = _mapping(document, ("parts",), data["parts"])
        return {part: _operations(document, ("parts", part), part, fits) for part, fits in parts.items()}
    raise InputError(f"{document.name}: not a file of fits: it has no part and fits; `calibrate fit` writes one")


def _operations(document: Document, at: Location, part: str, fits: Value) -> Fits:
    found: dict[str, Fit] = {}
    source = ""
    for operation, fields in _mapping(document, at, fits).items():
        source = str(fields.get("source", source)) if isinstance(fields, dict) else source
        found[operation] = _fit(document, (*at, operation), part, fields, source)
    return found


def _fit(document: Document, at: Location, part: str, fields: Value, source: str) -> Fit:
    if not isinstance(fields, dict) or not isinstance(fields.get("values"), dict):
        raise error_at(document, at, "no values; `calibrate fit` writes such files")
    _check_names(document, at, fields)
    values, half_widths = {}, {}
    for name, text in _mapping(document, (*at, "values"), fields["values"]).items():
        values[name], half_widths[name] = _value(document, (*at, "values", name), text)
    return Fit(
        values=values,
        sources=dict.fromkeys(values, source),
        origin=_origin(document, (*at, "origin"), fields.get("origin", "interpolated")),
        spread=_spread(document, (*at, "spread"), fields.get("spread")),
        half_widths=half_widths,
        domain={
            name: _range(document, (*at, "domain", name), pair)
            for name, pair in _mapping(document, (*at, "domain"), fields.get("domain") or {}).items()
        },
        num_points=_count(document, (*at, "points"), fields.get("points", 0)),
        part=part,
    )


def _check_names(document: Document, at: Location, fields: Mapping[str, Value]) -> None:
    for name in fields:
        if name not in _FIELDS:
            guess = closest(name, _FIELDS) or f"; known are {', '.join(_FIELDS)}"
            raise error_at(document, (*at, name), f"a fit has no such field{guess}")


def _origin(document: Document, at: Location, value: Value) -> Origin:
    if str(value) not in _ORIGINS:
        raise error_at(document, at, f"{shorten(value)} is none; write one of {', '.join(_ORIGINS)}")
    return _ORIGINS[str(value)]


def _value(document: Document, at: Location, text: Value) -> tuple[float, float]:
    """A number, or a number and the half-width of its 80 % interval: 0.84 ± 0.01."""
    value, _, half_width = str(text).partition("±")
    number, half = _number(document, at, value), _number(document, at, half_width or 0.0)
    if half < 0:
        raise error_at(document, at, f"half of an interval is not negative; write such as {number:g} ± {-half:g}")
    return number, half


def _spread(document: Document, at: Location, value: Value) -> tuple[float, float] | None:
    if value is None:
        return None
    low, high = _range(document, at, value)
    if max(abs(low), abs(high)) > MOST_SPREAD:
        raise error_at(document, at, f"[{low:g}, {high:g}] is ln(measured / predicted); write such as [-0.05, 0.04]")
    return low, high


def _range(document: Document, at: Location, value: Value) -> tuple[float, float]:
    """Two numbers, the smaller one first."""
    if not isinstance(value, list) or len(value) != 2:
        raise error_at(document, at, "write two numbers, such as [-0.05, 0.04]")
    low, high = _number(document, at, value[0]), _number(document, at, value[1])
    if low > high:
        raise error_at(document, at, f"{low:g} is above {high:g}; write the smaller number first")
    return low, high


def _count(document: Document, at: Location, value: Value) -> int:
    number = _number(document, at, value)
    if number < 0 or number != int(number):
        raise error_at(document, at, f"{number:g} counts nothing; write a whole number such as 120")
    return int(number)


def _number(document: Document, at: Location, value: Value) -> float:
    try:
        number = float(str(value))
    except ValueError:
        raise error_at(document, at, f"{shorten(value)} is not a number; write one such as 0.84 ± 0.01") from None
    if not math.isfinite(number):
        raise error_at(document, at, f"{value} is not a finite number; write one such as 0.84 ± 0.01")
    return number


def _mapping(document: Document, at: Location, value: Value) -> dict[str, Value]:
    if not isinstance(value, dict):
        raise error_at(document, at, "write a mapping from names")
    return value


def written(text: str) -> Value:
    """What calibrate/profile.py wrote, as plain data, ten times as fast as a reader of all YAML: mappings by
    indentation, and on one line a text, a list of numbers or a mapping of such."""
    root: dict[str, Value] = {}
    inner = [root]
    for line in _whole_lines(text):
        name, _, rest = line.strip().partition(": ")
        depth = (len(line) - len(line.lstrip())) // 2
        del inner[depth + 1 :]
        if rest:
            inner[depth][name] = _on_one_line(rest)
        else:
            inner.append({})
            inner[depth][name.rstrip(":")] = inner[-1]
    return root


def _whole_lines(text: str) -> Iterator[str]:
    """The lines, without comments; a mapping that goes on over several is one."""
    whole = ""
    for line in text.splitlines():
        if whole or not line.startswith("#"):
            whole = f"{whole} {line.strip()}" if whole else line
            if whole.count("{") == whole.count("}"):
                yield whole
                whole = ""


def _on_one_line(text: str) -> Value:
    if text[0] == '"':
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if text[0] == "[":
        return list(text[1:-1].split(", "))
    if text[0] == "{":
        pairs = (part.split(": ") for part in _COMMA.split(text[1:-1]) if part)
        return {name.strip(): _on_one_line(value) for name, value in pairs}
    return text
