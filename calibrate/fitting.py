"""From samples to the fits of parts: one fit for each operation on each part, from all files together."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from calibrate import subjects
from calibrate.fit import fitted
from calibrate.samples import Samples, joined
from sim.costs.law import Array, Values, law_on
from sim.costs.laws import KERNEL_LAWS
from topologies.document import InputError
from topologies.fit_files import MOST_SPREAD
from topologies.hardware import Fit

MOST_ERROR = 0.6
"""A median error beyond this is no law that holds badly, but another unit or another machine."""

KEPT = 1e-3
"""A parameter that moved by less than this part of itself did not move."""

LEAST_POINTS = 8
"""Fewer shapes than these, half of them left out, say nothing about how well a law holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A fit, and ln(measured / predicted) of its points, each by a fit that did not see it.

    `num_kept` of its parameters are as they were: the samples say nothing of them.
    """

    operation: str
    part: str
    fit: Fit
    left_out: Array
    num_kept: int

    @property
    def median_error(self) -> float:
        """Median of |predicted/measured - 1| over points left out."""
        return float(np.median(np.abs(np.expm1(-self.left_out))))

    @property
    def p90_error(self) -> float:
        return float(np.quantile(np.abs(np.expm1(-self.left_out)), 0.9))

    @property
    def coverage(self) -> float:
        """The share of every second point left out that lies within the 80 % interval of the others."""
        low, high = np.quantile(self.left_out[::2], [0.1, 0.9])
        others = self.left_out[1::2]
        return float(np.mean((others >= low) & (others <= high)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """Samples that are not fitted, and why."""

    operation: str
    part: str
    reason: str


def fit_all(
    samples: Iterable[Samples], *, seed: int = 0, tell: Callable[[str], None] = lambda text: None
) -> Iterator[Fitted | Left]:
    """Fit every operation on every part, one after another, so that what is done is not lost."""
    so_far: dict[str, dict[str, Fit]] = {}
    for group in grouped(samples):
        operation, part = group[0].operation, group[0].part
        tell(f"fitting {operation} on {part}, {sum(map(len, group))} points")
        try:
            _check(group)
            made = fit_one(group, so_far, seed=seed)
        except InputError as error:
            yield Left(operation=operation, part=part, reason=str(error))
            continue
        if made.median_error > MOST_ERROR or _is_absurd(made.fit):
            wrong = "the unit of the times, or the GPU or fabric, is another than said"
            yield Left(operation=operation, part=part, reason=f"off by {made.median_error:.0%} in the median: {wrong}")
            continue
        so_far.setdefault(part, {})[operation] = made.fit
        yield made


def _is_absurd(fit: Fit) -> bool:
    """Whether its spread is one that no file of fits may hold."""
    return fit.spread is not None and max(map(abs, fit.spread)) > MOST_SPREAD


def grouped(samples: Iterable[Samples]) -> list[list[Samples]]:
    """Samples of one operation on one part together: first NCCL, on which other all-reduces fall back, and of each what
    is within a node before what is between nodes and rests on it."""

    def key(one: Samples) -> tuple[bool, bool, str, str]:
        return not one.operation.startswith("nccl"), _is_between_nodes(one), one.part, one.operation

    return [list(group) for _, group in groupby(sorted(samples, key=key), key)]


def _is_between_nodes(samples: Samples) -> bool:
    return "num_nodes" in samples.points and bool((samples.points["num_nodes"] > 1).any())


def fit_one(group: Sequence[Samples], profile: Mapping[str, Mapping[str, Fit]], *, seed: int = 0) -> Fitted:
    """The fit of one operation on one part, whose cluster has for the rest the fits of a profile."""
    operation, part = group[0].operation, group[0].part
    if operation in KERNEL_LAWS:
        gpu = subjects.gpu_of(group[0], profile)
        start = _present(gpu.fits, operation)
        law = law_on(gpu, KERNEL_LAWS[operation])
        made, left_out = fitted(gpu, law, joined(group), seed=seed, start=start)
    else:
        cluster, own, points = subjects.in_one(group, profile)
        start = _present(subjects.link_of(cluster, part).fits, operation)
        made, left_out = fitted(cluster, own, points, seed=seed, start=start)
    kept = sum(_is_kept(made, start or {}, name) for name in made.values)
    return Fitted(operation=operation, part=part, fit=made, left_out=left_out, num_kept=kept)


def _is_kept(made: Fit, before: Values, name: str) -> bool:
    """Whether a parameter is where it was, and the samples would have borne another value."""
    value, half_width = made.values[name], made.half_widths.get(name, 0.0)
    is_known = 0 < half_width < abs(value) / 2
    return not is_known and math.isclose(value, before.get(name, math.inf), rel_tol=KEPT)


def _present(fits: Mapping[str, Fit], operation: str) -> Values | None:
    """What new samples start from: the values that predictions rest on so far."""
    return fits[operation].values if operation in fits else None


def _check(group: Sequence[Samples]) -> None:
    """Raises InputError where samples cannot be fitted."""
    operation, count = group[0].operation, sum(map(len, group))
    if not subjects.is_known(operation):
        raise InputError(f"no cost is known for {operation}")
    if count < LEAST_POINTS:
        raise InputError(f"{count} points, too few to fit and to check; measure at least {LEAST_POINTS}")


def by_part(done: Iterable[Fitted]) -> Mapping[str, Mapping[str, Fit]]:
    """The fits by part and operation."""
    parts: dict[str, dict[str, Fit]] = {}
    for one in done:
        parts.setdefault(one.part, {})[one.operation] = one.fit
    return parts
