"""A part's fits as one page to send on: the points against the fit, and every number with what it means.

Everything is inside the file. Points are drawn as one path per plot: thousands of them stay small and quick.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TypeVar

import jinja2
import numpy as np
from markupsafe import Markup

from calibrate.score import Scored
from calibrate.shown import Shown, compared, facts, rows
from sim import __version__
from sim.costs.law import Array
from topologies.quantity import percent, seconds

WIDTH, HEIGHT, MARGIN = 460, 300, 46
MOST_POINTS = 2000
MOST_ERROR = 0.5
"""Errors beyond 50 % are drawn at the edge."""
ERRORS = (-0.5, -0.3, -0.1, 0.0, 0.1, 0.3, 0.5)
Number = TypeVar("Number", float, Array)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One picture: a path of points, lines across it with their labels, the heights at its left and right end of the
    line on which points without error lie, and top and height of the 80 % interval."""

    title: str
    points: str
    verticals: tuple[tuple[float, str], ...]
    horizontals: tuple[tuple[float, str], ...]
    exact: tuple[float, float]
    band: tuple[float, float] | None = None


def render(shown: Shown) -> str:
    """A self-contained HTML page."""
    operations = [
        {
            "name": operation,
            "facts": [*facts(fit), *compared(shown, operation)],
            "rows": rows(shown.part, operation, fit),
            "plots": _plots([one for one in shown.scored if one.samples.operation == operation]),
        }
        for operation, fit in sorted(shown.fits.items())
    ]
    return _template().render(
        part=shown.part,
        operations=operations,
        version=__version__,
        css=Markup(files("sim.reports").joinpath("assets/report.css").read_text("utf-8")),
        width=WIDTH,
        height=HEIGHT,
        margin=MARGIN,
    )


def _template() -> jinja2.Template:
    source = files("calibrate").joinpath("assets/fits.html.j2").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source)


def _plots(scored: Sequence[Scored]) -> list[Plot]:
    """Predicted against measured, and the error against measured; nothing without measurements."""
    if not scored:
        return []
    measured = np.concatenate([one.samples.seconds for one in scored])
    predicted = np.concatenate([one.predicted for one in scored])
    chosen = np.linspace(0, len(measured) - 1, min(len(measured), MOST_POINTS)).astype(int)
    measured, predicted = measured[chosen], predicted[chosen]
    low, high = _decades(np.concatenate([measured, predicted]))
    across, up = ((np.log10(times) - low) / (high - low) for times in (measured, predicted))
    times = [((power - low) / (high - low), seconds(10.0**power)) for power in range(low, high + 1)]
    verticals = tuple((_x(share), label) for share, label in times)
    return [
        Plot(
            title="predicted (up) against measured",
            points=_path(across, up),
            verticals=verticals,
            horizontals=tuple((_y(share), label) for share, label in times),
            exact=(_y(0), _y(1)),
        ),
        Plot(
            title="predicted/measured - 1 (up) against measured; shaded: the 80 % interval",
            points=_path(across, _height_of(predicted / measured - 1)),
            verticals=verticals,
            horizontals=tuple((_y(_height_of(error)), percent(error, 0)) for error in ERRORS),
            exact=(_y(_height_of(0.0)), _y(_height_of(0.0))),
            band=_band(scored),
        ),
    ]


def _band(scored: Sequence[Scored]) -> tuple[float, float] | None:
    """Top and height of the fit's 80 % interval."""
    spread = scored[0].fit.spread
    if spread is None:
        return None
    bottom, top = (_y(_height_of(math.expm1(-log))) for log in (spread[1], spread[0]))
    return top, bottom - top


def _height_of(error: Number) -> Number:
    """Where an error lies between the lower and the upper edge."""
    share: Number = (np.clip(error, -MOST_ERROR, MOST_ERROR) + MOST_ERROR) / (2 * MOST_ERROR)
    return share


def _decades(times: Array) -> tuple[int, int]:
    low, high = math.floor(math.log10(times.min())), math.ceil(math.log10(times.max()))
    return low, max(high, low + 1)


def _path(across: Array, up: Array) -> str:
    """Each point a line of no length, which a round pen draws as a dot."""
    return "".join(f"M{_x(x):.1f} {_y(y):.1f}h0" for x, y in zip(across, up, strict=True))


def _x(share: float) -> float:
    return MARGIN + share * (WIDTH - MARGIN - 10)


def _y(share: float) -> float:
    return HEIGHT - MARGIN + 12 - share * (HEIGHT - MARGIN)
