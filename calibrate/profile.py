"""Profiles: fits written as YAML, one file per part, and read again by `topologies`.

A number has four significant digits and the half-width of its 80 % interval: 0.8431 ± 0.0021.
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from topologies.hardware import Fit


def write_fits(path: Path, part: str, fits: Mapping[str, Fit], *, command: str, day: date | None = None) -> None:
    """Write all fits of one part in one go: a file is never seen half-written."""
    lines = [f"# Written by `{command}`.", f"part: {part}", f"date: {day or date.today()}", "fits:"]
    for operation, fit in sorted(fits.items()):
        lines += [f"  {operation}:", *(f"    {line}" for line in _fit_lines(fit))]
    beside = path.with_suffix(".part")
    beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    beside.replace(path)


def _fit_lines(fit: Fit) -> list[str]:
    source = next(iter(fit.sources.values()), "")
    domain = ", ".join(f"{name}: [{low:.5g}, {high:.5g}]" for name, (low, high) in fit.domain.items())
    spread = [] if fit.spread is None else [f"spread: [{fit.spread[0]:.4f}, {fit.spread[1]:.4f}]"]
    return [
        f"origin: {fit.origin}",
        f"source: {_quoted(source)}",
        f"points: {fit.num_points}",
        *spread,
        f"domain: {{{domain}}}",
        "values:",
        *(f"  {name}: {_number(value, fit.half_widths.get(name, 0.0))}" for name, value in fit.values.items()),
    ]


def _number(value: float, half_width: float) -> str:
    return f"{value:.4g}" + (f" ± {half_width:.2g}" if half_width else "")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
