"""How far the present fits are from measurements: of kernels and collectives, row by row.

Errors are predicted/measured - 1. A row is inside its 80 % interval where the fit's spread holds it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibrate import limits, subjects
from calibrate.importers.reading import Reading, Skipped
from calibrate.samples import Samples
from sim.costs.law import Array
from topologies.document import InputError
from topologies.fits import Fits
from topologies.hardware import Fit
from topologies.quantity import MICROSECOND

MOST_WORST = 10
MOST_IMPOSSIBLE = 0.5
"""Where more of the rows than these cannot be, the unit or the GPU is wrong, and the others are not to be trusted."""

Record = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Samples of one operation on one part, and what their fit predicts for them."""

    samples: Samples
    predicted: Array
    fit: Fit

    @property
    def log_errors(self) -> Array:
        """ln(predicted / measured)."""
        return np.log(self.predicted / self.samples.seconds)

    @property
    def fit_of(self) -> str:
        """The part whose fit it is; nothing but the data sheet's where nobody measured a relative."""
        return self.fit.part if self.fit.num_points else "data sheet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """All that a file holds: what was scored, and what was not."""

    scored: tuple[Scored, ...]
    skipped: tuple[Skipped, ...]


def score(reading: Reading, profile: Mapping[str, Fits], tell: Callable[[str], None] = lambda text: None) -> Score:
    """Predict every sample with the fits as they are, those of `profile` first.

    Raises InputError where the profile has none of the parts that the samples rest on.
    """
    _check_profile(reading.samples, profile)
    impossible = _impossible(reading)
    scored, skipped = [], [*reading.skipped, *impossible]
    wrong = {one.row for one in impossible}
    for samples in reading.samples:
        tell(f"scoring {samples.operation} on {samples.part}")
        possible = samples.where(~np.isin(samples.rows, list(wrong)))
        try:
            if len(possible):
                scored.append(scored_by(possible, profile))
        except InputError as error:
            skipped += [Skipped(row=int(row), reason=str(error)) for row in possible.rows]
    return Score(scored=tuple(scored), skipped=tuple(sorted(skipped, key=lambda one: one.row)))


def _check_profile(measured: Sequence[Samples], profile: Mapping[str, Fits]) -> None:
    parts = dict.fromkeys(part for samples in measured for part in subjects.parts_of(samples))
    if profile and parts and not any(part in profile for part in parts):
        holds, has = ", ".join(profile), ", ".join(parts)
        raise InputError(f"the profile holds fits of {holds}, none of which is in what was measured ({has})")


def _impossible(reading: Reading) -> list[Skipped]:
    """The rows that are faster than their part can be."""
    return [
        Skipped(row=int(samples.rows[index]), reason=f"{samples.operation}: faster than {samples.part} can be")
        for samples in reading.samples
        for index, _ in limits.broken(samples)
    ]


def scored_by(samples: Samples, profile: Mapping[str, Fits]) -> Scored:
    """One operation on one part; InputError where there is no cost for it."""
    if not subjects.is_known(samples.operation):
        raise InputError(f"no cost is known for {samples.operation}")
    fit = subjects.present_fit(samples, profile)
    return Scored(samples=samples, predicted=subjects.predicted(samples, profile), fit=fit)


def summary(score: Score) -> Record:
    """The score in the keys of docs/design.md, section 6, over all rows and for each operation on each part."""
    return {
        **figures(score.scored),
        "skipped": [{"row": one.row, "reason": one.reason} for one in score.skipped],
        "worst": worst(score.scored),
        "operations": [
            {"operation": operation, "part": part, "fit_of": group[0].fit_of, **figures(group)}
            for (operation, part), group in by_operation(score.scored).items()
        ],
    }


def by_operation(scored: Iterable[Scored]) -> Mapping[tuple[str, str], list[Scored]]:
    """Those of one operation on one part together, however many clusters it was measured in."""
    groups: dict[tuple[str, str], list[Scored]] = {}
    for one in scored:
        groups.setdefault((one.samples.operation, one.samples.part), []).append(one)
    return groups


def figures(scored: Sequence[Scored]) -> Record:
    """Rows, median and 90th percentile of the absolute error, geometric-mean error, bias and coverage; fractions."""
    rows = sum(len(one.samples) for one in scored)
    if not rows:
        nothing = ("median_ape", "p90_ape", "geomean_error", "bias", "coverage_80")
        return {"rows": 0, **dict.fromkeys(nothing)}
    logs = np.concatenate([one.log_errors for one in scored])
    errors = np.expm1(logs)
    return {
        "rows": rows,
        "median_ape": float(np.median(np.abs(errors))),
        "p90_ape": float(np.quantile(np.abs(errors), 0.9)),
        "geomean_error": float(np.expm1(np.mean(np.abs(logs)))),
        "bias": float(np.mean(errors)),
        "coverage_80": coverage(scored),
    }


def coverage(scored: Sequence[Scored]) -> float | None:
    """The share of rows within their fit's 80 % interval; None where no fit has one."""
    inside = [
        (-one.log_errors >= one.fit.spread[0]) & (-one.log_errors <= one.fit.spread[1])
        for one in scored
        if one.fit.spread is not None
    ]
    return float(np.mean(np.concatenate(inside))) if inside else None


def worst(scored: Sequence[Scored]) -> list[Record]:
    """The rows that are furthest off."""
    furthest = [(one, index) for one in scored for index in np.argsort(-np.abs(one.log_errors))[:MOST_WORST]]
    furthest.sort(key=lambda found: -abs(found[0].log_errors[found[1]]))
    return [record for one, index in furthest[:MOST_WORST] for record in _records(one, [index])]


def rows(score: Score) -> list[Record]:
    """Every row that was scored, measured beside predicted."""
    return [record for one in score.scored for record in _records(one, range(len(one.samples)))]


def _records(one: Scored, chosen: Iterable[int]) -> list[Record]:
    errors = np.expm1(one.log_errors)
    return [
        {
            "row": int(one.samples.rows[index]),
            "operation": one.samples.operation,
            "part": one.samples.part,
            "measured_us": float(one.samples.seconds[index] / MICROSECOND),
            "predicted_us": float(one.predicted[index] / MICROSECOND),
            "error": float(errors[index]),
        }
        for index in chosen
    ]
