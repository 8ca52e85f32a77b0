"""A reader's own measurements as the pages show them: beside the fits, fitted, and beside another machine's."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from calibrate import curves, families, limits, profile, sanity, score, tables
from calibrate.comparison import compare, findings, sides
from calibrate.comparison.sides import Side
from calibrate.comparison.tables import record
from calibrate.fitting import Fitted, Left, by_part, fit_all
from calibrate.importers import Reading, written
from sim.reports.tables import as_json
from topologies.document import InputError, shorten
from topologies.fits import FOLDER, fitted_parts
from topologies.hardware import Fit
from topologies.quantity import percent
from web.answers.fits import Column, file_of, joined, readings

MOST_SHOWN: Final = 2000
"""Points of a chart; of more, so many are drawn."""
MOST_FITTED: Final = 5000
"""Points that are fitted here; a fit to more takes minutes."""
_COMMAND: Final = "calibrate fit --seed 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Points of one operation on one part beside what its fit says; figures with how they come about.

    `points` are columns: label, size, measured and predicted seconds and rates, error; `band` is the 80 % interval of
    errors.
    """

    operation: str
    part: str
    fit_of: str
    figures: tuple[tuple[str, str, str], ...]
    words: str
    unit: str
    points: Mapping[str, Column]
    band: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What a file of measurements holds, against the fits: sentences first, then each operation; `skipped` counts the
    rows that were not used, by reason."""

    points: int
    sentences: tuple[str, ...]
    scored: tuple[Scored, ...]
    skipped: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """What was fitted to a file: a row for each operation, what was not fitted with its reason, and the files."""

    rows: tuple[Mapping[str, object], ...]
    left: tuple[str, ...]
    files: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Two sides: sentences, and a row for each operation, collective and size."""

    sentences: tuple[str, ...]
    differences: tuple[str, ...]
    rows: tuple[Mapping[str, object], ...]


def upload(content: bytes, name: str, gpu: str, fabric: str) -> Upload:
    """Uploaded measurements beside what the fits say of each."""
    reading = readings(content, name, gpu, fabric)
    made = score.score(reading, {})
    if not made.scored:
        raise InputError(f"no row can be predicted: {made.skipped[0].reason if made.skipped else 'the file is empty'}")
    groups = score.by_operation(made.scored)
    return Upload(
        points=sum(len(one.samples) for one in made.scored),
        sentences=_against_fits(made.scored),
        scored=tuple(_scored(group) for group in groups.values()),
        skipped=tuple(Counter(one.reason for one in made.skipped).most_common()),
    )


def _against_fits(scored: Sequence[score.Scored]) -> tuple[str, ...]:
    """Where the measurements are slower or faster than the fits, by operation and size; none where nobody measured."""
    fits: dict[str, dict[str, Fit]] = {}
    for one in scored:
        if one.fit.num_points:
            fits.setdefault(one.samples.part, {})[one.samples.operation] = one.fit
    theirs, ours = (
        Side(name="the fits", fits=fits),
        Side(name="your measurements", samples=tuple(one.samples for one in scored)),
    )
    try:
        return tuple(findings.sentences(theirs, ours, compare.shifts(theirs, ours)))
    except InputError:
        return ()


def _scored(group: Sequence[score.Scored]) -> Scored:
    first, found = group[0], score.figures(group)
    drawn = families.family(first.samples.operation)
    spread = first.fit.spread
    columns = [one for one in (curves.measured(each.samples, each.predicted) for each in group) if one is not None]
    return Scored(
        operation=first.samples.operation,
        part=first.samples.part,
        fit_of=first.fit_of,
        figures=tuple(_figures(found)),
        words=columns[0].words if columns else "",
        unit=drawn.unit if drawn else "",
        points=_points(columns),
        band=None if spread is None else (float(np.expm1(-spread[1])), float(np.expm1(-spread[0]))),
    )


def _figures(found: Mapping[str, object]) -> Iterator[tuple[str, str, str]]:
    rows = found["rows"]
    yield "points", f"{rows}", "Rows of the file that are of this operation."
    for key, name, why in (
        ("median_ape", "median error", "Half of the points are off by less: the median of |predicted / measured - 1|."),
        ("p90_ape", "90th percentile", "Nine of ten points are off by less."),
        ("bias", "bias", "The mean of predicted / measured - 1; below zero, predictions are too fast."),
        ("coverage_80", "within the interval", "The share of points in the fit's 80 % interval; 80 % should be."),
    ):
        value = found[key]
        if isinstance(value, float):
            yield name, percent(value), f"{why} {rows} points."


def _points(columns: Sequence[curves.Measured]) -> dict[str, Column]:
    """All points under one another, thinned evenly where there are too many to be drawn."""
    if not columns:
        return {}
    count = sum(len(one.sizes) for one in columns)
    chosen = np.linspace(0, count - 1, min(count, MOST_SHOWN)).astype(int)
    labels = np.array([label for one in columns for label in one.labels], dtype=object)
    measured, predicted = (joined([getattr(one, name) for one in columns]) for name in ("measured", "predicted"))
    rates = {name: joined([getattr(one, name) for one in columns]) for name in ("measured_rates", "predicted_rates")}
    made: dict[str, Column] = {
        "label": labels[chosen],
        "size": joined([one.sizes for one in columns])[chosen],
        "measured_s": measured[chosen],
        "predicted_s": predicted[chosen],
        "error": (predicted / measured - 1)[chosen],
    }
    return made | {name: column[chosen] for name, column in rates.items() if len(column)}


def imported(content: bytes, name: str, gpu: str, fabric: str) -> bytes:
    """The measurements as samples: what `calibrate import` writes."""
    return written.write(_possible(readings(content, name, gpu, fabric), name).samples).encode()


def _possible(reading: Reading, name: str) -> Reading:
    """What may be fitted: nothing faster than its part can be, and no nonsense."""
    limits.check([reading], [name])
    return sanity.without_nonsense([reading], [name])[0]


def scores(content: bytes, name: str, gpu: str, fabric: str) -> bytes:
    """What `calibrate score --format json` prints."""
    return as_json(score.summary(score.score(readings(content, name, gpu, fabric), {}))).encode()


def fitted(content: bytes, name: str, gpu: str, fabric: str) -> Profiled:
    """Fits to the measurements, as `calibrate fit` makes them, and the files that it writes.

    Raises InputError where there are too many, or none can be fitted.
    """
    reading = _possible(readings(content, name, gpu, fabric), name)
    samples = [replace(one, source=one.source or f"an upload, {name}") for one in reading.samples]
    count = sum(map(len, samples))
    if count > MOST_FITTED:
        raise InputError(f"{count:,} points: here at most {MOST_FITTED:,} are fitted; `calibrate fit` takes any number")
    done = list(fit_all(samples))
    left = tuple(f"{one.operation} on {one.part}: {one.reason}" for one in done if isinstance(one, Left))
    made = [one for one in done if isinstance(one, Fitted)]
    if not made:
        raise InputError("\n".join(f"not fitted: {reason}" for reason in left[:2]))
    return Profiled(rows=tuple(tables.fit_records(made)), left=left, files=tuple(_files(made)))


def _files(made: Sequence[Fitted]) -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        for part, fits in by_part(made).items():
            path = Path(folder) / "part.yaml"
            profile.write_fits(path, part, fits, command=_COMMAND)
            yield f"{part}.yaml", path.read_text(encoding="utf-8")


def compared(one: str, other: str, one_content: bytes, other_content: bytes, gpu: str, fabric: str) -> Compared:
    """Two shipped parts by name, or uploads by file name with their content, as `calibrate compare` sets them side by
    side."""
    here, there = _side(one, one_content, gpu, fabric), _side(other, other_content, gpu, fabric)
    shifts = compare.shifts(here, there)
    return Compared(
        sentences=tuple(findings.sentences(here, there, shifts)),
        differences=tuple(findings.differences(here, there)),
        rows=tuple(record(shift) for shift in shifts),
    )


def fits_file(name: str) -> bytes:
    """The fits of a shipped part, as the file that `calibrate compare` reads."""
    _shipped(name)
    return (FOLDER / f"{name}.yaml").read_bytes()


def _shipped(name: str) -> None:
    if name not in fitted_parts() or not (FOLDER / f"{name}.yaml").exists():
        raise InputError(f"no fits of {shorten(name)} are shipped; choose one of the list")


def _side(name: str, content: bytes, gpu: str, fabric: str) -> Side:
    if not content:
        _shipped(name)
        return replace(sides.shipped([name]), name=name)
    with file_of(content, name) as path:
        return replace(sides.load(path, gpu or None, fabric or None), name=name)
