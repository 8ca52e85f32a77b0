"""The charts of the Serve page of several plays: the load at other rates, and other layouts.

A colour is never alone: rates that are not served are crosses, layouts that miss a promise squares.
"""

from collections.abc import Sequence
from math import floor, inf, log10
from string import ascii_uppercase
from typing import Final

import altair as alt
import numpy as np
import pandas as pd

from sim.reports.palette import BLUE, GREY, VERMILLION
from sim.serving.results.saturation import Point, Saturation
from topologies.quantity import seconds
from web.answers.serving_layouts import Outcome
from web.charts.ink import ink
from web.charts.serving import HEIGHT, TIME_LABELS, Layers

LETTERS: Final = ascii_uppercase


def knee_latency(found: Saturation) -> Layers:
    """p99 TTFT against the rate."""
    return _knee(found, "p99_ttft", VERMILLION, alt.Axis(labelExpr=TIME_LABELS))


def knee_throughput(found: Saturation) -> Layers:
    """Tokens of answers against the rate."""
    return _knee(found, "throughput", BLUE, alt.Axis(format=",.0f"))


def _knee(found: Saturation, key: str, color: str, axis: alt.Axis) -> Layers:
    frame = pd.DataFrame([_row(point, key) for point in found.points if np.isfinite(point.p99_ttft)])
    x = alt.X("rate:Q", title="requests a second", axis=alt.Axis(grid=False), scale=alt.Scale(zero=True))
    y = alt.Y("value:Q", title=None, axis=axis, scale=alt.Scale(zero=True))
    tooltip = ["requests a second", "p99 TTFT", "tokens a second", "mean wait", "is"]
    base = alt.Chart(frame).encode(x=x, y=y, tooltip=tooltip)
    shape = alt.Shape("is:N", scale=alt.Scale(domain=["served", "not served"], range=["circle", "cross"]), legend=None)
    points = base.mark_point(size=90, filled=True, opacity=1, color=color).encode(shape=shape)
    return alt.layer(base.mark_line(color=color), points, *_marks(found)).properties(height=HEIGHT + 60)


def _marks(found: Saturation) -> list[alt.Chart]:
    """Upright lines at the load and at the knee."""
    ends = [("this load", found.asked, [1, 0], 8)]
    ends += [("knee", found.knee, [5, 4], 24)] if found.knee else []
    drawn = []
    for words, rate, dash, place in ends:
        data = alt.Chart(pd.DataFrame({"rate": [rate], "words": [f" {words} {rate:.3g}/s"]})).encode(x="rate:Q")
        drawn.append(data.mark_rule(strokeDash=dash, strokeWidth=1.5, color=ink()))
        drawn.append(
            data.mark_text(align="left", dx=3, fontSize=12, color=ink()).encode(y=alt.value(place), text="words")
        )
    return drawn


def _row(point: Point, key: str) -> dict[str, object]:
    return {
        "rate": point.rate,
        "value": getattr(point, key),
        "requests a second": f"{point.rate:.3g}",
        "p99 TTFT": seconds(point.p99_ttft),
        "tokens a second": f"{point.throughput:,.0f}",
        "mean wait": seconds(point.queue),
        "is": "served" if point.served else "not served",
    }


def layouts(names: Sequence[str], rows: Sequence[Outcome]) -> Layers:
    """p99 TTFT against mean TPOT: a letter for each layout, square where a promise is missed."""
    frame = pd.DataFrame(
        {
            "letter": LETTERS[place],
            "layout": name,
            "tpot": row.tpot,
            "ttft": row.ttft_p99,
            "mean TPOT": seconds(row.tpot),
            "p99 TTFT": seconds(row.ttft_p99),
            "promises": "kept" if row.is_met else "missed",
        }
        for place, (name, row) in enumerate(zip(names, rows, strict=True))
    )
    log = alt.Scale(type="log", nice=False, padding=26)
    base = alt.Chart(frame).encode(
        x=alt.X("tpot:Q", title="mean TPOT", scale=log, axis=_axis([row.tpot for row in rows])),
        y=alt.Y("ttft:Q", title="p99 TTFT", scale=log, axis=_axis([row.ttft_p99 for row in rows])),
        tooltip=["layout", "p99 TTFT", "mean TPOT", "promises"],
    )
    kinds = alt.Scale(domain=["kept", "missed"], range=[BLUE, GREY])
    shapes = alt.Scale(domain=["kept", "missed"], range=["circle", "square"])
    legend = alt.Legend(title="promises", orient="top")
    points = base.mark_point(size=420, filled=True, opacity=1).encode(
        color=alt.Color("promises:N", scale=kinds, legend=legend),
        shape=alt.Shape("promises:N", scale=shapes, legend=legend),
    )
    letters = base.mark_text(color="white", fontWeight="bold", fontSize=13).encode(text="letter")
    return alt.layer(points, letters).properties(height=300)


def _axis(times: Sequence[float]) -> alt.Axis:
    """Lines at `round_times`, where those are two or more."""
    lines = round_times([time for time in times if 0 < time < inf])
    return alt.Axis(labelExpr=TIME_LABELS, tickCount=4, values=lines if len(lines) > 1 else alt.Undefined)


def round_times(times: Sequence[float]) -> list[float]:
    """1, 2 and 5 of each power of ten that lie between the times, which are positive."""
    least, most = min(times, default=1.0), max(times, default=1.0)
    powers = range(floor(log10(least)), floor(log10(most)) + 1)
    steps = (step * 10.0**power for power in powers for step in (1, 2, 5))
    return [step for step in steps if least <= step <= most]
