"""Charts of fits: what a law says over its sizes, measured points beside it with their errors, and two sides' times.

A line has dashes and a group of points a shape beside its colour.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import altair as alt
import numpy as np
import pandas as pd

from sim.reports import palette
from topologies.quantity import MICROSECOND, percent
from web.answers.fits import Operation
from web.answers.measurements import Scored
from web.charts.ledger import COLORS, Layers, colors, shapes, signed_percent

DASHES: Final = ([1, 0], [7, 3], [2, 2], [7, 3, 2, 3], [12, 3], [4, 4], [2, 5], [1, 1])
HEIGHT: Final = 380
ROW_HEIGHT: Final = 26
MOST_ERROR: Final = 0.5
PER_SECOND: Final = "rate"


def law(shown: Operation, draw: str) -> Layers:
    """The law over its sizes as a rate or as seconds, with the 80 % interval of what it was found to be off by."""
    data = pd.DataFrame(shown.lines)
    is_rate = draw == PER_SECOND and bool(shown.unit)
    value, low, high = ("rate", "low", "high") if is_rate else ("seconds", "low_s", "high_s")
    names = list(dict.fromkeys(data["label"]))
    color = alt.Color("label", sort=None, scale=colors(names), legend=_strokes())
    x = alt.X("size", scale=alt.Scale(type="log", nice=False), title=shown.words, axis=_powers())
    y = alt.Y(value, scale=alt.Scale(type="linear" if is_rate else "log"), title=shown.unit if is_rate else "seconds",
              axis=alt.Axis(format="~s") if not is_rate else alt.Axis())  # fmt: skip
    tooltip = ["label", alt.Tooltip("size", title=shown.words, format=",.0f"),
               alt.Tooltip(value, title=shown.unit if is_rate else "seconds", format=".4~g"),
               alt.Tooltip(low, title="80 % from", format=".4~g"),
               alt.Tooltip(high, title="to", format=".4~g")]  # fmt: skip
    base = alt.Chart(data)
    band = base.mark_area(opacity=0.12).encode(x=x, y=alt.Y(low), y2=high, color=color)
    line = base.mark_line(strokeWidth=2.2).encode(
        x=x, y=y, color=color, strokeDash=alt.StrokeDash("label", sort=None, scale=_dashes(names), legend=_strokes())
    )
    dots = base.mark_point(size=60, opacity=0).encode(x=x, y=y, color=color, tooltip=tooltip)
    return alt.layer(band, line, dots).properties(height=HEIGHT)


def against(scored: Scored) -> Layers:
    """Measured points over their sizes, and the mean prediction of each size as a line."""
    data = _points(scored)
    is_rate = "measured_rates" in data
    measured, predicted = ("measured_rates", "predicted_rates") if is_rate else ("measured_s", "predicted_s")
    names = list(dict.fromkeys(data["label"]))
    color = alt.Color("label", sort=None, scale=colors(names), legend=_legend())
    x = alt.X("size", scale=alt.Scale(type="log", nice=False), title=scored.words, axis=_powers())
    title = scored.unit if is_rate else "seconds"
    scale = alt.Scale(type="linear") if is_rate else alt.Scale(type="log")
    y = alt.Y(measured, scale=scale, title=title)
    base = alt.Chart(data)
    dots = base.mark_point(filled=True, size=45, opacity=0.7).encode(
        x=x, y=y, color=color, shape=alt.Shape("label", sort=None, scale=shapes(names)), tooltip=_tooltip(scored)
    )
    if len(names) == 1 and data["size"].nunique() > len(data) / 2 and len(data) > 200:
        fit = base.mark_point(size=18, opacity=0.5, color=palette.ORANGE, shape="cross").encode(x=x, y=predicted)
    else:
        fit = base.mark_line(strokeWidth=1.8).encode(x=x, y=f"mean({predicted})", color=color)
    return alt.layer(fit, dots).properties(height=HEIGHT)


def residuals(scored: Scored) -> Layers:
    """The error of each point over its measured time, and the interval that four of five should lie in."""
    data = _points(scored)
    data["shown_error"] = np.clip(data["error"], -MOST_ERROR, MOST_ERROR)
    names = list(dict.fromkeys(data["label"]))
    axis = alt.Axis(labelExpr="format(100 * datum.value, '+.0f') + ' %'")
    y = alt.Y("shown_error", title="predicted / measured - 1", axis=axis,
              scale=alt.Scale(domain=[-MOST_ERROR, MOST_ERROR]))  # fmt: skip
    x = alt.X("measured_us", scale=alt.Scale(type="log", nice=False), title="measured (us)", axis=alt.Axis(format="~s"))
    dots = alt.Chart(data).mark_point(filled=True, size=45, opacity=0.7)
    drawn = dots.encode(
        x=x,
        y=y,
        color=alt.Color("label", sort=None, scale=colors(names), legend=None),
        shape=alt.Shape("label", sort=None, scale=shapes(names), legend=None),
        tooltip=_tooltip(scored),
    )
    low, high = scored.band or (0.0, 0.0)
    band = alt.Chart(pd.DataFrame({"low": [low], "high": [high]}))
    area = band.mark_rect(color=palette.GREEN, opacity=0.18).encode(y=alt.Y("low", title=None), y2="high")
    zero = alt.Chart(pd.DataFrame({"at": [0.0]})).mark_rule(color=palette.GREY).encode(y=alt.Y("at", title=None))
    return alt.layer(area, zero, drawn).properties(height=HEIGHT)


def _points(scored: Scored) -> pd.DataFrame:
    data = pd.DataFrame(scored.points)
    data["measured_us"], data["predicted_us"] = data["measured_s"] / MICROSECOND, data["predicted_s"] / MICROSECOND
    data["error_text"] = [signed_percent(error) for error in data["error"]]
    return data


def _tooltip(scored: Scored) -> list[alt.Tooltip]:
    rates = [("measured_rates", f"measured {scored.unit}"), ("predicted_rates", f"fit {scored.unit}")]
    return [
        alt.Tooltip("label"),
        alt.Tooltip("size", title=scored.words, format=",.0f"),
        alt.Tooltip("measured_us", title="measured (us)", format=".4~g"),
        alt.Tooltip("predicted_us", title="fit (us)", format=".4~g"),
        alt.Tooltip("error_text", title="predicted / measured - 1"),
        *(alt.Tooltip(name, title=title, format=".4~g") for name, title in rates if name in scored.points),
    ]


def shifts(rows: Sequence[Mapping[str, object]]) -> Layers:
    """How much longer each operation takes on the second side, the median and the range of 80 % of the points."""
    data = pd.DataFrame(rows)
    names = data["operation"] + " " + data["collective"]
    data["what"] = names.str.strip() + ", " + data["where"]
    for name in ("ratio", "low", "high"):
        data[name] = data[name].astype(float) - 1
        data[f"{name}_text"] = [signed_percent(value) for value in data[name]]
    data["noise_text"] = [f"±{percent(float(noise))}" for noise in data["noise"]]
    data["said"] = np.where(~data["beyond_noise"], "within the noise", np.where(data["ratio"] > 0, "longer", "shorter"))
    y = alt.Y("what", sort=None, title=None, axis=alt.Axis(labelLimit=320))
    axis = alt.Axis(labelExpr="format(100 * datum.value, '+.0f') + ' %'", tickCount=8)
    said = ["longer", "shorter", "within the noise"]
    color = alt.Color(
        "said", scale=alt.Scale(domain=said, range=[palette.VERMILLION, palette.BLUE, palette.GREY]),
        legend=alt.Legend(title=None, orient="top"),
    )  # fmt: skip
    shape = alt.Shape("said", scale=alt.Scale(domain=said, range=["triangle-right", "triangle-left", "circle"]))
    tooltip = ["what", "part", alt.Tooltip("ratio_text", title="time of the second"),
               alt.Tooltip("low_text", title="80 % from"), alt.Tooltip("high_text", title="to"),
               alt.Tooltip("noise_text", title="noise"), "points", "from"]  # fmt: skip
    base = alt.Chart(data)
    x = alt.X("ratio", title="time of the second over the first, - 1", axis=axis)
    span = base.mark_rule(strokeWidth=2, opacity=0.6).encode(x=alt.X("low", title=""), x2="high", y=y, color=color)
    dots = base.mark_point(filled=True, size=110, opacity=1).encode(x=x, y=y, color=color, shape=shape, tooltip=tooltip)
    zero = alt.Chart(pd.DataFrame({"at": [0.0]})).mark_rule(color=palette.GREY).encode(x=alt.X("at", title=""))
    return alt.layer(zero, span, dots).properties(height=70 + ROW_HEIGHT * len(data))


def _legend() -> alt.Legend:
    return alt.Legend(title=None, orient="bottom", columns=3, labelLimit=260)


def _strokes() -> alt.Legend:
    """Lines, with their dashes."""
    return alt.Legend(title=None, orient="bottom", columns=3, labelLimit=260, symbolType="stroke", symbolOpacity=1,
                      symbolStrokeWidth=2.5, symbolSize=400)  # fmt: skip


def _powers() -> alt.Axis:
    return alt.Axis(format="~s")


def _dashes(names: Sequence[str]) -> alt.Scale:
    turns = [DASHES[(place + place // len(COLORS)) % len(DASHES)] for place in range(len(names))]
    return alt.Scale(domain=list(names), range=turns)
