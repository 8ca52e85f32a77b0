"""Fits as the pages show them: what was measured on a part and what the law says over it; and the files that readers
upload of either."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

import topologies
from calibrate import curves, families, importers, limits, sanity, score, shown
from calibrate.importers import Reading
from sim.costs.gemm.formats import FORMATS
from sim.costs.laws import parameters_of
from topologies.catalogue import names
from topologies.document import InputError, shorten
from topologies.fits import Fits, fits_of
from topologies.hardware import Fit, Gpu
from topologies.quantity import MIB

SUFFIXES: Final = ("csv", "txt", "log", "out", "json", "jsonl", "yaml", "yml")
"""Of files that may be uploaded."""
MOST_NBYTES: Final = 5 * MIB
_PACKED: Final = b"\x1f\x8b"
_NAME: Final = "upload"
_CONTROLS: Final = {
    "(say|add for example) --fabric [-a-zA-Z0-9]+": "write it into the field Fabric, such as ib-ndr400x8",
    "say --gpu NAME": "choose the GPU above",
}
"""What a page has in place of flags."""
_FITS: Final = (".yaml", ".yml")
Column = NDArray[np.generic]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A GPU or a link of the catalogue: how many operations were measured on it, and in how many points."""

    name: str
    kind: str
    measured: int
    points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of a part: `facts` in sentences, `parameters` with value, interval, meaning; and the law's lines.

    `lines` are columns: label, size, seconds with their 80 % interval, and rate with its own.
    """

    name: str
    of: str
    is_measured: bool
    facts: tuple[str, ...]
    parameters: tuple[tuple[str, float, float, str], ...]
    words: str
    unit: str
    lines: Mapping[str, Column]


def parts() -> tuple[Part, ...]:
    """Every GPU and link of the catalogue, those that were measured first."""
    kinds = {**dict.fromkeys(names("gpus"), "GPU"), **dict.fromkeys(names("links"), "link")}
    found = [_part(name, kind, fits_of(name)) for name, kind in kinds.items()]
    return tuple(sorted(found, key=lambda one: (one.measured == 0, one.kind, one.name)))


def _part(name: str, kind: str, fits: Fits) -> Part:
    points = sum(fit.num_points for fit in fits.values())
    return Part(name=name, kind=kind, measured=len(fits), points=points)


def operations(part: str, content: bytes = b"") -> tuple[tuple[str, str], ...]:
    """The operations of a part, its own first, and whose fit each has; of an uploaded file of fits where there is one.

    Raises InputError for a part that nobody knows.
    """
    fits = _fits(part, content)
    order = sorted(fits, key=lambda name: (fits[name].part not in ("", part), name))
    return tuple((name, fits[name].part or part) for name in order)


def operation(part: str, name: str, content: bytes = b"") -> Operation:
    """One operation of a part, of its own fits or of those of an uploaded file."""
    fits = _fits(part, content)
    if name not in fits:
        raise InputError(f"{part} has no fit of {shorten(name)}; choose one of the list")
    fit, drawn = fits[name], families.family(name)
    profile_of = {part: fits} if content else {}
    return Operation(
        name=name,
        of=fit.part or part,
        is_measured=fit.part in ("", part) and fit.num_points > 0,
        facts=tuple(shown.facts(fit)),
        parameters=tuple(_parameters(part, name, fit)),
        words=drawn.words if drawn else "",
        unit=drawn.unit if drawn else "",
        lines=_columns(curves.lines(part, name, fit, profile_of, {}), fit),
    )


def _parameters(part: str, name: str, fit: Fit) -> Iterator[tuple[str, float, float, str]]:
    known = parameters_of(part, name)
    for parameter, value in fit.values.items():
        meaning = known[parameter].meaning if parameter in known else ""
        yield parameter, value, fit.half_widths.get(parameter, 0.0), meaning


def _fits(part: str, content: bytes) -> Fits:
    """The fits by operation; without those of formats in which the GPU cannot multiply."""
    if content:
        found = profiles(content)
        if part not in found:
            raise InputError(f"the file has no fits of {shorten(part)}; it has those of {', '.join(found)}")
        return found[part]
    if part in names("gpus"):
        gpu = topologies.gpu(part)
        return {name: fit for name, fit in gpu.fits.items() if _multiplies(gpu, name)}
    if part in names("links"):
        return topologies.link(part).fits
    raise InputError(f"unknown part {shorten(part)}; choose one of the list")


def _multiplies(gpu: Gpu, operation: str) -> bool:
    form = FORMATS.get(operation.split()[-1]) if "gemm" in operation else None
    return form is None or any(peak in gpu.peak_flops for peak in form.peaks)


def profiles(content: bytes) -> Mapping[str, Fits]:
    """The fits by part in an uploaded profile.yaml or file of fits. Raises InputError for what is none."""
    with file_of(content, f"{_NAME}.yaml") as path:
        return sanity.checked(path)


def _columns(lines: Sequence[curves.Line], fit: Fit) -> dict[str, Column]:
    """All lines under one another; rates are empty where the operation has none."""
    low, high = np.exp(fit.spread or (0.0, 0.0))
    seconds = joined([line.seconds for line in lines])
    rates = joined([line.rates for line in lines])
    labels = [label for line in lines for label in [line.label] * len(line.sizes)]
    return {
        "label": np.array(labels, dtype=object),
        "size": joined([line.sizes for line in lines]),
        "seconds": seconds,
        "low_s": seconds * low,
        "high_s": seconds * high,
        "rate": rates,
        "low": rates / high,
        "high": rates / low,
    }


def joined(columns: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Columns one after another; none are an empty one."""
    return np.concatenate(columns) if columns else np.zeros(0)


def readings(content: bytes, name: str, gpu: str, fabric: str) -> Reading:
    """The measurements in an uploaded file, in any layout that `calibrate import` reads; `gpu` and `fabric` (empty: not
    said) stand for what its rows leave open.

    Raises InputError for what nobody can read, is too large, or cannot be.
    """
    with file_of(content, name) as path:
        if path.suffix in _FITS:
            raise InputError("this is YAML, not measurements; show a profile under 'What was fitted', or compare it")
        reading = importers.read(path, gpu or None, fabric or None)
        limits.check([reading], [path.name], share=score.MOST_IMPOSSIBLE)
        return reading


@contextmanager
def file_of(content: bytes, name: str) -> Iterator[Path]:
    """The upload as a file of a name of our own; messages name that file, and no folder."""
    suffix = Path(name).suffix.lower()
    if suffix.removeprefix(".") not in SUFFIXES:
        raise InputError(f"{shorten(name)}: upload one of {', '.join(SUFFIXES)}, unpacked")
    if content.startswith(_PACKED):
        raise InputError("the file is packed; unpack it first")
    if len(content) > MOST_NBYTES:
        raise InputError(f"the file has {len(content) / MIB:.1f} MiB, more than {MOST_NBYTES / MIB:.0f}; upload a part")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{_NAME}{suffix}"
        path.write_bytes(content)
        try:
            yield path
        except InputError as error:
            said = str(error).replace(f"{folder}/", "").replace(folder, "FOLDER")
            for flag, control in _CONTROLS.items():
                said = re.sub(flag, control, said)
            raise InputError(said) from None
