"""Profiles: fits written as YAML, one file per part or one of a whole machine, and read again by `topologies`.

A number has four significant digits and the half-width of its 80 % interval: 0.8431±0.0021.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from calibrate.fitting import Fitted
from calibrate.journal import keep_entries
from calibrate.machines.machine import Machine
from calibrate.records import machine_record
from topologies.document import InputError
from topologies.fits import profile
from topologies.hardware import Fit

WIDTH = 113
CPU_NOTE = "# Of processes on a processor, not GPUs: for trying things out, and for nothing else."
ROUNDING = 5e-4
"""By how much a number may change, relatively, where it is written with four digits."""


WHOLE = 100_000
"""Whole numbers below this are as short with all their digits."""
SEEN = 0.01
"""Share of a number below which its interval is not written: a law is no finer than that."""


def merge_fits(path: Path, part: str, fits: Mapping[str, Fit], *, command: str, day: date | None = None) -> None:
    """Write the fits into the file of their part; operations that it has and `fits` has not stay as they are.

    Raises InputError where the file is not one of fits, or belongs to another part.
    """
    present: Mapping[str, Mapping[str, Fit]] = profile(path) if path.exists() else {part: {}}
    if part not in present:
        raise InputError(f"{path}: holds the fits of {', '.join(present)}; write those of {part} into another file")
    write_fits(path, part, {**present[part], **fits}, command=command, day=day)


def write_fits(path: Path, part: str, fits: Mapping[str, Fit], *, command: str, day: date | None = None) -> None:
    """Write all fits of one part in one go: a file is never seen half-written."""
    lines = [f"# Written by `{command}`.", f"part: {part}", f'date: "{day or date.today()}"', "fits:"]
    before = ""
    for operation, fit in sorted(fits.items()):
        lines += [f"  {operation}:", *(f"    {line}" for line in _fit_lines(fit, before))]
        before = _source(fit)
    write_whole(path, "\n".join(lines) + "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much a profile rests on: the points that were measured, those of them that were throttled or wrong and so
    not fitted, and for how long all runs measured."""

    points: int
    throttled: int = 0
    wrong: int = 0
    seconds: float


def write_profile(
    path: Path, machine: Machine, done: Sequence[Fitted], counts: Counts, *, command: str, day: date | None = None
) -> None:
    """Write the fits of all parts of a machine as one file, with all that they rest on, in one go.

    Raises InputError where it cannot be written.
    """
    told = machine_record(machine)
    hardware = told.pop("hardware")
    assert isinstance(hardware, dict)
    lines = [f"# Written by `{command}`.", *([CPU_NOTE] if machine.is_cpu else [])]
    lines += [f"profile: {machine.part}", *_as_block("machine", {name: told[name] for name in told if told[name]})]
    lines += [f'date: "{day or date.today()}"', f"command: {_quoted(command)}"]
    lines += [f"measured: {_as_flow(asdict(counts))}", *(_as_block("hardware", hardware) if hardware else [])]
    lines += ["parts:", *(f"  {line}" for line in _part_lines(done))]
    write_whole(path, "\n".join(lines) + "\n")


def _part_lines(done: Sequence[Fitted]) -> Iterator[str]:
    for part in sorted({one.part for one in done}):
        yield f"{part}:"
        for one in sorted((one for one in done if one.part == part), key=lambda one: one.operation):
            yield f"  {one.operation}:"
            error = f"error: [{one.median_error:.4f}, {one.p90_error:.4f}]"
            yield from (f"    {line}" for line in [*_fit_lines(one.fit, ""), error])


def _as_block(name: str, fields: Mapping[str, object]) -> list[str]:
    """A field a line."""
    return [f"{name}:", *(f"  {field}: {_as_flow(value)}" for field, value in fields.items())]


def _as_flow(value: object) -> str:
    """As JSON, which is YAML too."""
    return json.dumps(value, ensure_ascii=False)


def write_whole(path: Path, text: str) -> None:
    """Write a file in one go, beside it first, so that it is never seen half-written, not even after a loss of power;
    folders are made. Raises InputError where it cannot be written.
    """
    beside = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        keep_entries(path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {(error.strerror or str(error)).lower()}") from None


def _source(fit: Fit) -> str:
    return next(iter(fit.sources.values()), "")


def _fit_lines(fit: Fit, before: str) -> list[str]:
    """A fit in as few bytes as stay readable: all that is fitted to one GPU must fit into 8 kB. The source is left out
    where it is that of the fit before."""
    domain = ", ".join(
        f"{name}: [{_outward(low, -1)}, {_outward(high, 1)}]" for name, (low, high) in fit.domain.items()
    )
    pairs = [f"{name}: {_number(value, fit.half_widths.get(name, 0.0))}" for name, value in fit.values.items()]
    return [
        *([] if fit.origin == "interpolated" else [f"origin: {fit.origin}"]),
        *([] if before and _source(fit) == before else [f"source: {_quoted(_source(fit))}"]),
        f"points: {fit.num_points}",
        *([] if fit.spread is None else [f"spread: [{fit.spread[0]:.4f}, {fit.spread[1]:.4f}]"]),
        f"domain: {{{domain}}}",
        *_in_braces("values", pairs),
    ]


def _in_braces(name: str, pairs: Sequence[str]) -> list[str]:
    """A mapping over as few lines as hold it; a line ends after a comma."""
    lines = [f"{name}: {{"]
    for pair in pairs:
        if len(lines[-1]) + len(pair) > WIDTH:
            lines[-1] = lines[-1].rstrip()
            lines.append("  ")
        lines[-1] += f"{pair}, "
    lines[-1] = lines[-1].removesuffix(", ") + "}"
    return lines


def _outward(bound: float, direction: int) -> str:
    """A bound with four digits, rounded away from the points: the outermost point stays inside."""
    rounded = f"{bound:.0f}" if bound == round(bound) and abs(bound) < WHOLE else f"{bound:.4g}"
    if (bound - float(rounded)) * direction <= 0:
        return rounded
    return f"{bound + direction * abs(bound) * ROUNDING:.4g}"


def _number(value: float, half_width: float) -> str:
    return _short(f"{value:.4g}") + (f"±{_short(f'{half_width:.1g}')}" if half_width > SEEN * abs(value) else "")


def _short(number: str) -> str:
    """Without zeros that say nothing: 2e-06 is 2e-6 and 0.03 is .03."""
    digits, _, exponent = number.removeprefix("-").partition("e")
    digits = digits.removeprefix("0") if digits.startswith("0.") else digits
    return number[: number.startswith("-")] + digits + (f"e{int(exponent)}" if exponent else "")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
