"""The fits of parts as `calibrate show` tells them: parameters with intervals and meanings, and how they hold."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from calibrate import sanity
from calibrate.samples import Samples
from calibrate.score import Scored, figures, scored_by
from calibrate.subjects import is_known
from sim.costs.laws import parameters_of
from sim.reports.tables import Row, table
from topologies.catalogue import named
from topologies.document import InputError
from topologies.fits import Fits, fits_of, fitted_parts
from topologies.hardware import Fit
from topologies.quantity import percent

PROFILE = "profile.yaml"
"""Of a folder that `calibrate run` wrote."""
COLUMNS = ("parameter", "value", "80 % interval", "meaning")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A part with its fits, and those measurements of it that were given."""

    part: str
    fits: Fits
    scored: tuple[Scored, ...]


def of(
    reference: str, samples: Sequence[Samples], only: str = "", tell: Callable[[str], None] = lambda text: None
) -> list[Shown]:
    """The fits of the part of that name, or of all parts in that file or of `only` one of them, beside those of the
    samples that are of it."""
    found = _found(reference)
    if only and only not in found:
        raise InputError(f"--part {only}: {reference} has fits of {', '.join(found)}; write one of them")
    chosen = {part: fits for part, fits in found.items() if only in ("", part)}
    shown = [
        Shown(part=part, fits=fits, scored=tuple(_scored(part, chosen, samples, tell))) for part, fits in chosen.items()
    ]
    if samples and not any(one.scored for one in shown):
        others = ", ".join(sorted({one.part for one in samples}))
        raise InputError(f"the tables measure {others}, not {', '.join(chosen)}; show that, or say --gpu")
    return shown


def _scored(
    part: str, chosen: Mapping[str, Fits], samples: Sequence[Samples], tell: Callable[[str], None]
) -> Iterator[Scored]:
    for one in samples:
        if one.part == part and is_known(one.operation):
            tell(f"predicting {one.operation}")
            yield scored_by(one, chosen)


def _found(reference: str) -> Mapping[str, Fits]:
    path = Path(reference)
    if path.is_dir() or reference.lower().endswith((".yaml", ".yml")):
        found = sanity.checked(path / PROFILE if (path / PROFILE).exists() else path)
        if not any(found.values()):
            raise InputError(f"{reference}: no fits in it; `calibrate run` and `calibrate fit` write them")
        return found
    part = _part(reference)
    fits = fits_of(part)
    if not fits:
        known = ", ".join(fitted_parts()) or "none yet"
        raise InputError(f"nobody measured {part}: no fits of it; parts with fits: {known}")
    return {part: fits}


def _part(reference: str) -> str:
    """The catalogue's name of a GPU or link; a part of the user's own by its own name."""
    if reference in fitted_parts():
        return reference
    try:
        return named("gpus", reference)
    except InputError:
        return named("links", reference)


def render(shown: Sequence[Shown], width: int | None) -> str:
    """All fits of the parts as text."""
    return "\n".join(_render(one, width) for one in shown)


def _render(shown: Shown, width: int | None) -> str:
    blocks = [_block(shown, operation, fit, width) for operation, fit in sorted(shown.fits.items())]
    return f"{shown.part}\n\n" + "\n".join(blocks)


def _block(shown: Shown, operation: str, fit: Fit, width: int | None) -> str:
    lines = [operation, *(f"  {line}" for line in facts(fit))]
    lines += [f"  {line}" for line in compared(shown, operation)]
    parameters = [Row(cells=cells, record={}) for cells in rows(shown.part, operation, fit)]
    body = table(COLUMNS, parameters, None if width is None else max(width - 2, 1))
    return "\n".join([*lines, *(f"  {line}" for line in body.splitlines())]) + "\n"


def rows(part: str, operation: str, fit: Fit) -> list[tuple[str, str, str, str]]:
    """Each parameter: name, value, half of its interval, meaning."""
    return [
        (name, f"{value:.4g}", _interval(fit.half_widths.get(name, 0.0)), _meaning(part, operation, name))
        for name, value in fit.values.items()
    ]


def _meaning(part: str, operation: str, name: str) -> str:
    parameter = parameters_of(part, operation).get(name)
    return parameter.meaning if parameter else ""


def _interval(half_width: float) -> str:
    return f"± {half_width:.2g}" if half_width else "-"


def facts(fit: Fit) -> list[str]:
    """What a fit rests on and how well it holds, in sentences."""
    source = next(iter(fit.sources.values()), "")
    domain = "; ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in fit.domain.items())
    spread = fit.spread
    return [
        f"{fit.num_points:,} points, {source}" if fit.num_points else f"not measured: {source}",
        *([f"80 % of points left out were {_signed(spread[0])} to {_signed(spread[1])} off"] if spread else []),
        *([f"measured for {domain}"] if domain else []),
    ]


def compared(shown: Shown, operation: str) -> list[str]:
    """How the fit meets the measurements that were given."""
    scored = [one for one in shown.scored if one.samples.operation == operation]
    if not scored:
        return []
    found = figures(scored)
    median, p90, inside = (found[name] for name in ("median_ape", "p90_ape", "coverage_80"))
    assert isinstance(median, float)
    assert isinstance(p90, float)
    covered = f", {percent(inside)} inside the interval" if isinstance(inside, float) else ""
    return [f"{found['rows']} measurements given: median error {percent(median)}, p90 {percent(p90)}{covered}"]


def _signed(log: float) -> str:
    return f"{log:+.1%}".replace("%", " %")


def records(shown: Sequence[Shown]) -> list[dict[str, object]]:
    """A record for each parameter of each operation of each part."""
    return [
        {
            "part": one.part,
            "operation": operation,
            "parameter": name,
            "value": value,
            "half_width": fit.half_widths.get(name, 0.0),
            "meaning": _meaning(one.part, operation, name),
            "origin": fit.origin,
            "points": fit.num_points,
            "source": fit.sources.get(name, ""),
        }
        for one in shown
        for operation, fit in sorted(one.fits.items())
        for name, value in fit.values.items()
    ]
