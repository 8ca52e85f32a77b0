"""Charts of the accuracy ledger: predicted against measured, how errors spread, and each group's errors and coverage.

A group has a shape beside its colour; in bars, a text says what their length shows.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import altair as alt
import numpy as np
import pandas as pd

from sim.reports import palette
from topologies.quantity import percent
from web.answers.ledger import EXPECTED, Group, Shown
from web.charts.ink import ink

COLORS: Final = (
    palette.BLUE, palette.ORANGE, palette.GREEN, palette.PURPLE, palette.SKY, palette.VERMILLION, palette.WINE,
    palette.GREY,
)  # fmt: skip
SHAPES: Final = (
    "circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left",
)  # fmt: skip
LINES: Final = {"as measured": (1.0,), "±10 %": (0.9, 1.1), "±20 %": (0.8, 1.2)}
DASHES: Final = ([1, 0], [6, 4], [2, 4])
HEIGHT: Final = 500
ROW_HEIGHT: Final = 34
MOST_ERROR: Final = 0.5
EDGE: Final = "predicted / measured - 1 (beyond 50 %: at the edge)"


Layers = alt.LayerChart | alt.FacetChart
"""Charts over one another, as altair's types have it."""


def scatter(shown: Shown, by: str, run: str) -> Layers:
    """Predicted over measured seconds, both logarithmic, with the lines of no error, 10 and 20 %; `run` stands out."""
    data = pd.DataFrame(shown.columns)
    data["error_text"] = [signed_percent(error) for error in data["error"]]
    low, high = _decade(data)
    scale = alt.Scale(domain=[low, high], type="log", nice=False)
    x = alt.X("measured_s", scale=scale, title="measured step time (s)", axis=alt.Axis(format="~g"))
    y = alt.Y("predicted_s", scale=scale, title="predicted step time (s)", axis=alt.Axis(format="~g"))
    names = sorted(data[by].unique())
    dots = (
        alt.Chart(data)
        .mark_point(filled=True, size=55, opacity=0.7)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                by, scale=colors(names), legend=alt.Legend(title=None, orient="bottom", columns=3, labelLimit=200)
            ),
            shape=alt.Shape(by, scale=shapes(names)),
            tooltip=_tooltip(),
        )
    )
    marked = alt.Chart(data[data["row"] == run])
    ring = marked.mark_point(size=260, strokeWidth=2, color=palette.VERMILLION).encode(x=x, y=y, tooltip=_tooltip())
    span = marked.mark_rule(strokeWidth=2, color=palette.VERMILLION).encode(x=x, y=alt.Y("low_s"), y2="high_s")
    return alt.layer(_diagonals(low, high, x, y), dots, span, ring).properties(height=HEIGHT)


def _decade(data: pd.DataFrame) -> tuple[float, float]:
    times = np.concatenate([data["measured_s"], data["predicted_s"]])
    return float(times.min()) / 1.3, float(times.max()) * 1.3


def _diagonals(low: float, high: float, x: alt.X, y: alt.Y) -> alt.Chart:
    rows = [
        {"line": name, "factor": factor, "measured_s": end, "predicted_s": end * factor}
        for name, factors in LINES.items()
        for factor in factors
        for end in (max(low, low / factor), min(high, high / factor))
    ]
    dashes = alt.Scale(domain=list(LINES), range=[*DASHES])
    lines: alt.Chart = alt.Chart(pd.DataFrame(rows)).mark_line(color=palette.GREY, strokeWidth=1.2)
    legend = alt.Legend(title=None, orient="top")
    return lines.encode(x=x, y=y, detail="factor", strokeDash=alt.StrokeDash("line", scale=dashes, legend=legend))


def _tooltip() -> list[alt.Tooltip]:
    times = [("measured_s", "measured (s)"), ("predicted_s", "predicted (s)"), ("low_s", "80 % interval from (s)"),
             ("high_s", "to (s)")]  # fmt: skip
    names = ("row", "model", "gpus", "gpu", "framework", "precision")
    return [
        *(alt.Tooltip(name) for name in names),
        *(alt.Tooltip(name, title=title, format=".4~g") for name, title in times),
        alt.Tooltip("error_text", title="error"),
        alt.Tooltip("source"),
    ]


def colors(names: Sequence[str]) -> alt.Scale:
    """A colour for each group, again from the first where there are many."""
    return alt.Scale(domain=list(names), range=[COLORS[place % len(COLORS)] for place in range(len(names))])


def shapes(names: Sequence[str]) -> alt.Scale:
    """After one round of colours the shapes move on by one, so that no two groups look alike."""
    turns = [SHAPES[(place + place // len(COLORS)) % len(SHAPES)] for place in range(len(names))]
    return alt.Scale(domain=list(names), range=turns)


def distribution(shown: Shown) -> Layers:
    """How many runs are off by how much, in steps of 5 %."""
    errors = np.clip(np.asarray(shown.columns["error"], dtype=np.float64), -MOST_ERROR, MOST_ERROR - 1e-9)
    step = 0.05
    counts, edges = np.histogram(errors, bins=np.arange(-MOST_ERROR, MOST_ERROR + step / 2, step))
    data = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "runs": counts})
    data["sign"] = np.where(data["to"] <= step / 2, "too fast", "too slow")
    data["error"] = [f"{signed_percent(low, 0)} to {signed_percent(high, 0)}" for low, high in pairwise(edges)]
    bars = (
        alt.Chart(data)
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X("from", bin="binned", title=EDGE, axis=_percent_axis()),
            x2="to",
            y=alt.Y("runs", title="runs"),
            color=alt.Color(
                "sign",
                scale=alt.Scale(domain=["too fast", "too slow"], range=[palette.BLUE, palette.ORANGE]),
                legend=alt.Legend(title=None, orient="top"),
            ),
            tooltip=["error", "runs", "sign"],
        )
    )
    zero = alt.Chart(pd.DataFrame({"error": [0.0]})).mark_rule(color=palette.GREY, strokeWidth=2).encode(x="error")
    return alt.layer(bars, zero).properties(height=HEIGHT)


def errors(groups: Sequence[Group]) -> Layers:
    """Each group's mean error as a bar, its bias as a mark, and how many runs it has."""
    data = _frame(groups)
    y = alt.Y("label", sort=None, title=None, axis=alt.Axis(labelLimit=260))
    tooltip = ["name", "rows", alt.Tooltip("error_text", title="mean error"), alt.Tooltip("bias_text", title="bias")]
    bars = alt.Chart(data).mark_bar(color=palette.SKY, height={"band": 0.6})
    marks = alt.Chart(data).mark_point(shape="diamond", filled=True, size=90, opacity=1, color=palette.VERMILLION)
    texts = alt.Chart(data).mark_text(align="left", dx=6, color=ink())
    x = alt.X("error", title="mean error (bar) and bias (diamond)", axis=_percent_axis())
    return alt.layer(
        bars.encode(x=x, y=y, tooltip=tooltip),
        marks.encode(x="bias", y=y, tooltip=tooltip),
        texts.encode(x="error", y=y, text="error_text"),
    ).properties(height=_height(groups))


def coverage(groups: Sequence[Group]) -> Layers:
    """The share of each group's measured times within their intervals, beside the 80 % that there should be."""
    data = _frame(groups)
    y = alt.Y("label", sort=None, title=None, axis=alt.Axis(labelLimit=260))
    scale = alt.Scale(domain=[0, 1])
    x = alt.X("coverage", scale=scale, title="within the 80 % interval", axis=_percent_axis(sign=""))
    tooltip = ["name", "rows", alt.Tooltip("coverage_text", title="within the interval")]
    bars = alt.Chart(data).mark_bar(color=palette.GREEN, height={"band": 0.6}).encode(x=x, y=y, tooltip=tooltip)
    texts = alt.Chart(data).mark_text(align="left", dx=6, color=palette.BLACK)
    labels = texts.encode(x=alt.datum(0), y=y, text="coverage_text")
    rule = alt.Chart(pd.DataFrame({"coverage": [EXPECTED]}))
    line = rule.mark_rule(color=palette.VERMILLION, strokeDash=[6, 4], strokeWidth=2).encode(x=x)
    return alt.layer(bars, labels, line).properties(height=_height(groups))


def _percent_axis(sign: str = "+") -> alt.Axis:
    return alt.Axis(labelExpr=f"format(100 * datum.value, '{sign}.0f') + ' %'", tickCount=11)


def signed_percent(share: float, digits: int = 1) -> str:
    """A deviation for people: '-5.8 %'."""
    return f"{100 * share:+.{digits}f} %"


def _frame(groups: Sequence[Group]) -> pd.DataFrame:
    columns = ("name", "rows", "error", "bias", "coverage")
    data = pd.DataFrame([{name: getattr(one, name) for name in columns} for one in groups])
    data["error_text"] = [percent(one.error) for one in groups]
    data["bias_text"] = [signed_percent(one.bias) for one in groups]
    data["coverage_text"] = [percent(one.coverage, 0) for one in groups]
    data["label"] = [f"{one.name} ({one.rows})" for one in groups]
    return data


def _height(groups: Sequence[Group]) -> int:
    return 60 + ROW_HEIGHT * len(groups)
