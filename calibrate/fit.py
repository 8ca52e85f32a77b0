"""Fitting: the parameters of a law that bring it nearest to samples.

Robust least squares of ln(predicted / measured), so that a kernel of 3 us counts as much as one of 3 s and an outlier
little. How well the fit holds is judged on points that it never saw: each half of the shapes by a fit to the other.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from calibrate.samples import Samples, halves
from sim.costs.law import Array, Law, Part, Values
from topologies.hardware import Fit

Flags = NDArray[np.bool_]

MOST_POINTS = 4000
"""More points than these are thinned at random while parameters are sought: they cost time and change nothing."""
SCALE = 0.05
"""Residuals beyond 5 % count linearly, not quadratically."""
ENOUGH = 1e-5
"""A step that makes the errors smaller by less than this share is the last."""
NUM_RESAMPLED = 200
HOLD = 0.01
"""A parameter that is e times its start weighs as much as one point that is 1 % off: what the samples say little of
stays where it was, in place of running to a limit."""
MANY = 16
"""Different values of an input, from which on a curve along it is sought."""
SMALL = 1e-4
"""Share of itself by which a parameter is moved to see what it does."""


def fit(part: Part, law: Law[Part], samples: Samples, *, seed: int = 0, start: Values | None = None) -> Fit:
    """The law's parameters, their 80 % intervals by bootstrap, and the spread of what was left out."""
    return fitted(part, law, samples, seed=seed, start=start)[0]


def fitted(
    part: Part, law: Law[Part], samples: Samples, *, seed: int = 0, start: Values | None = None
) -> tuple[Fit, Array]:
    """The fit, and ln(measured / predicted) of every sample by a fit to the half that it is not in."""
    values = best_values(part, law, samples, seed=seed, start=start)
    left_out = cross_validated(part, law, samples, seed=seed, start=values)
    low, high = np.quantile(left_out, [0.1, 0.9])
    domain = {name: (float(samples.points[name].min()), float(samples.points[name].max())) for name in law.inputs}
    made = Fit(
        values=values,
        sources=dict.fromkeys(values, samples.source),
        origin="interpolated",
        spread=(float(low), float(high)),
        half_widths=half_widths(part, law, samples, values, seed=seed),
        domain=domain,
        num_points=len(samples),
        part=samples.part,
    )
    return made, left_out


def best_values(
    part: Part, law: Law[Part], samples: Samples, *, seed: int = 0, start: Values | None = None
) -> dict[str, float]:
    """The parameters with the least robust squared log error; one that no sample speaks of stays where it starts."""
    whole = law
    law = _sought(law, samples, start or {})
    thinned = _thinned(samples, seed)
    names = list(law.parameters)
    begin = np.array([_inside(law, name, (start or {}).get(name)) for name in names])
    bounds = np.array([[law.parameters[n].low for n in names], [law.parameters[n].high for n in names]])
    logarithmic = bounds[0] > 0
    residuals, steps = _residuals(part, law, thinned, logarithmic), _steps(law, begin, logarithmic)
    first = _to_search(begin, logarithmic)
    holding = HOLD / np.where(logarithmic, 1.0, bounds[1] - bounds[0])

    def held(place: Array) -> Array:
        return np.concatenate([residuals(place), holding * (place - first)])

    def slopes(place: Array) -> Array:
        return np.concatenate([_slopes(residuals, place, steps), np.diag(holding)])

    found = least_squares(
        held,
        first,
        jac=slopes,
        bounds=(_to_search(bounds[0], logarithmic), _to_search(bounds[1], logarithmic)),
        loss="soft_l1",
        f_scale=SCALE,
        x_scale="jac",
        ftol=ENOUGH,
        max_nfev=60,
    )
    made = dict(zip(names, map(float, _from_search(found.x, logarithmic)), strict=True))
    kept = _kept(whole, law, start or {})
    return {name: made[name] if name in made else kept[name] for name in whole.parameters}


def _sought(law: Law[Part], samples: Samples, start: Values) -> Law[Part]:
    """The law with those parameters only that the points can tell; the others stay where they start."""
    few = {name for name, column in samples.points.items() if len(np.unique(column)) < MANY}
    told = {name: parameter for name, parameter in law.parameters.items() if not parameter.along & few}
    sought = replace(law, parameters=told)
    kept = _kept(law, sought, start)
    return replace(sought, seconds=lambda part, values, points: law.seconds(part, {**kept, **values}, points))


def _kept(law: Law[Part], sought: Law[Part], start: Values) -> dict[str, float]:
    return {name: _inside(law, name, start.get(name)) for name in law.parameters if name not in sought.parameters}


def cross_validated(
    part: Part, law: Law[Part], samples: Samples, *, seed: int = 0, start: Values | None = None
) -> Array:
    """ln(measured / predicted) of every sample, by a fit to the half that it is not in."""
    one, other = halves(samples, seed, by=law.inputs)
    residuals = []
    for fitted, scored in ((one, other), (other, one)):
        values = best_values(part, law, fitted, seed=seed, start=start)
        residuals.append(-log_errors(part, law, scored, values))
    return np.concatenate(residuals)


def log_errors(part: Part, law: Law[Part], samples: Samples, values: Values) -> Array:
    """ln(predicted / measured) of every sample."""
    return np.log(law.seconds(part, values, samples.points) / samples.seconds)


def half_widths(part: Part, law: Law[Part], samples: Samples, values: Values, *, seed: int = 0) -> dict[str, float]:
    """Half of each parameter's 80 % interval: points resampled, the parameters moved by one Gauss-Newton step."""
    thinned = _thinned(samples, seed)
    names = list(values)
    at = np.array([values[name] for name in names])
    logarithmic = np.array([law.parameters[name].low > 0 for name in names])
    residuals = _residuals(part, law, thinned, logarithmic)
    place = _to_search(at, logarithmic)
    errors = residuals(place)
    slopes = _slopes(residuals, place, _steps(law, at, logarithmic))
    weights = 1 / np.sqrt(1 + (errors / SCALE) ** 2)
    random = np.random.default_rng(seed)
    moved = []
    for _ in range(NUM_RESAMPLED):
        chosen = random.integers(0, len(errors), len(errors))
        weighted = slopes[chosen] * weights[chosen, None]
        step, *_ = np.linalg.lstsq(weighted, -errors[chosen] * weights[chosen], rcond=1e-8)
        moved.append(step)
    low, high = np.quantile(np.array(moved), [0.1, 0.9], axis=0)
    half = (high - low) / 2
    scaled = np.where(logarithmic, half * np.abs(at), half)
    return dict(zip(names, map(float, scaled), strict=True))


def _residuals(part: Part, law: Law[Part], samples: Samples, logarithmic: Flags) -> Callable[[Array], Array]:
    names = list(law.parameters)

    def of(place: Array) -> Array:
        values = dict(zip(names, map(float, _from_search(place, logarithmic)), strict=True))
        return log_errors(part, law, samples, values)

    return of


def _slopes(residuals: Callable[[Array], Array], place: Array, steps: Array) -> Array:
    """How residuals change with each parameter. Steps are absolute: a logarithm near 0 makes relative ones vanish."""
    errors = residuals(place)
    moved = [(residuals(place + step) - errors) / step.sum() for step in np.diag(steps)]
    return np.column_stack(moved)


def _steps(law: Law[Part], values: Array, logarithmic: Flags) -> Array:
    """How far a parameter is moved to see what it does."""
    widths = np.array([parameter.high - parameter.low for parameter in law.parameters.values()])
    return np.where(logarithmic, SMALL, SMALL * np.maximum(np.abs(values), SMALL * widths))


def _to_search(values: Array, logarithmic: Flags) -> Array:
    """A parameter that is never zero is sought by its logarithm."""
    return np.where(logarithmic, np.log(np.where(logarithmic, values, 1.0)), values)


def _from_search(place: Array, logarithmic: Flags) -> Array:
    return np.where(logarithmic, np.exp(np.where(logarithmic, place, 0.0)), place)


def _inside(law: Law[Part], name: str, start: float | None) -> float:
    """A start within the limits, a little away from them, as the search wants it."""
    parameter = law.parameters[name]
    margin = 1e-6 * (parameter.high - parameter.low)
    begin = parameter.start if start is None else start
    return min(max(begin, parameter.low + margin), parameter.high - margin)


def _thinned(samples: Samples, seed: int) -> Samples:
    if len(samples) <= MOST_POINTS:
        return samples
    return samples.where(np.random.default_rng(seed).choice(len(samples), MOST_POINTS, replace=False))
