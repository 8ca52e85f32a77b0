"""The chart of the Bubble lab: what each schedule holds, and how long it leaves its ranks idle."""

from collections.abc import Sequence
from typing import Final

import altair as alt
import pandas as pd

from sim.reports.palette import BLUE
from topologies.quantity import MILLISECOND, percent
from web.answers.bubbles import Figures
from web.charts.ink import ink

HEIGHT: Final = 320
NEAR: Final = 0.04
"""Of the largest on either axis: points that are nearer to one another than this share a label."""


def trade_off(figures: Sequence[Figures]) -> alt.LayerChart | alt.FacetChart:
    """A point for each schedule; those in the same place stand under one label."""
    x = alt.X("held", title="microbatches held at most on a rank", scale=alt.Scale(zero=True))
    y = alt.Y("bubble", title="bubble, of the step", scale=alt.Scale(zero=True),
              axis=alt.Axis(labelExpr="format(100 * datum.value, '.0f') + ' %'", tickCount=6))  # fmt: skip
    tooltip = [
        "schedule",
        alt.Tooltip("held", title="held, microbatches", format=".4~g"),
        alt.Tooltip("said", title="bubble"),
        alt.Tooltip("step", title="step, ms", format=".4~g"),
    ]
    points = alt.Chart(pd.DataFrame(map(_point, figures))).mark_point(filled=True, size=90, color=BLUE, opacity=1)
    names = alt.Chart(pd.DataFrame(_labels(figures))).mark_text(align="left", dx=9, fontSize=12, color=ink())
    drawn = alt.layer(points.encode(x=x, y=y, tooltip=tooltip), names.encode(x=x, y=y, text="schedules"))
    return drawn.properties(height=HEIGHT)


def _point(one: Figures) -> dict[str, object]:
    step = one.step_time_s / MILLISECOND
    return {
        "schedule": one.name,
        "held": one.held_most,
        "bubble": one.bubble_fraction,
        "said": percent(one.bubble_fraction),
        "step": step,
    }


def _labels(figures: Sequence[Figures]) -> list[dict[str, object]]:
    """The names of schedules that lie near to the first of them, with the place of that."""
    wide, high = max(one.held_most for one in figures), max(one.bubble_fraction for one in figures)
    groups: list[list[Figures]] = []
    for one in figures:
        for group in groups:
            if _near(one.held_most, group[0].held_most, wide) and _near(
                one.bubble_fraction, group[0].bubble_fraction, high
            ):
                group.append(one)
                break
        else:
            groups.append([one])
    return [
        {"schedules": ", ".join(one.name for one in group), "held": group[0].held_most,
         "bubble": group[0].bubble_fraction}
        for group in groups
    ]  # fmt: skip


def _near(one: float, other: float, most: float) -> bool:
    return abs(one - other) <= NEAR * most
