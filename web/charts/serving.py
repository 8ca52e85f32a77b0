"""The charts of the Serve page of one load: its latencies, their causes, the load over time, the memory.

A colour is never alone: lines have dashes, parts of a bar letters.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.reports.figures import Share
from sim.reports.palette import BLUE, GREEN, ORANGE, PURPLE, VERMILLION, YELLOW
from topologies.quantity import KILO, MEGA, nbytes, percent, seconds
from web.answers.serving import Distribution, Spent
from web.answers.serving_figures import Promise
from web.charts.ink import ink

Layers = alt.LayerChart | alt.FacetChart
Column = NDArray[np.float64]
FAR: Final = 3.0
"""A promise beyond so many times the longest latency would leave a curve no room; it is named, not drawn."""
HEIGHT: Final = 210
BAR: Final = 34
LEAST_LETTER: Final = 0.02
"""Of the longest bar: what is narrower has no room for a letter."""
READ_OFF: Final = (50, 90, 99)
"""Per cent of requests whose times are told to those who cannot see the curve."""
DASHES: Final = ([1, 0], [6, 3])
TIME_LABELS: Final = (
    f"datum.value == 0 ? '0' : datum.value >= 1 ? format(datum.value, '.4~g') + ' s' : datum.value * {KILO:.0f} >= 1 ? "
    f"format(datum.value * {KILO:.0f}, '.3~g') + ' ms' : format(datum.value * {MEGA:.0f}, '.3~g') + ' us'"
)


def distribution(shown: Distribution, promised: Sequence[Promise]) -> Layers:
    """The share of requests that took at most so long, and what is promised."""
    frame = pd.DataFrame(
        {
            "time": shown.seconds,
            "share": shown.percents / 100,
            "took at most": [seconds(one) for one in shown.seconds],
            "of requests": [f"{one:g} %" for one in shown.percents],
        }
    )
    x = alt.X("time:Q", title=shown.title, axis=alt.Axis(labelExpr=TIME_LABELS, tickCount=5, grid=False))
    y = alt.Y("share:Q", title=None, axis=alt.Axis(format="%", tickCount=4), scale=alt.Scale(domain=[0, 1]))
    base = alt.Chart(frame).encode(x=x, y=y, tooltip=["of requests", "took at most"])
    drawn = [base.mark_line(color=BLUE, strokeWidth=2.2), base.mark_point(size=60, opacity=0)]
    last = float(shown.seconds[-1])
    return alt.layer(*drawn, *_promises(promised, last, x, y)).properties(height=HEIGHT)


def said(shown: Distribution, promised: Sequence[Promise]) -> str:
    """What a distribution shows, for those who cannot see it."""
    within = np.interp(READ_OFF, shown.percents, shown.seconds).tolist()
    steps = (f"{step} % within {seconds(time)}" for step, time in zip(READ_OFF, within, strict=True))
    kept = (f"promised {one.text}, came to {one.came}" for one in promised)
    return "; ".join((f"{shown.title}: {', '.join(steps)}", *kept))


def _promises(promised: Sequence[Promise], last: float, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """Upright lines with their words, one below the other; what lies far beyond the last request is only named."""
    if not promised:
        return []
    frame = pd.DataFrame(
        {
            "time": one.seconds if one.seconds <= FAR * last else last,
            "is far": one.seconds > FAR * last,
            "share": 0.08 + 0.12 * place,
            "promise": f"{one.text}{'' if one.met else ' MISSED'}{', far beyond' if one.seconds > FAR * last else ''}",
            "came to": one.came,
            "color": ink() if one.met else VERMILLION,
        }
        for place, one in enumerate(promised)
    )
    base = alt.Chart(frame).encode(x=x, color=alt.Color("color:N", scale=None), tooltip=["promise", "came to"])
    return [
        base.transform_filter("!datum['is far']").mark_rule(strokeWidth=2, strokeDash=[5, 4]),
        base.mark_text(align="right", fontSize=12, dx=-5).encode(y=y, text="promise"),
    ]


def spent(rows: Sequence[Spent]) -> Layers:
    """A bar for each mean latency, as long as itself, by its causes: each on a scale of its own."""
    pieces = pd.DataFrame([piece for row in rows for piece in _pieces(row)])
    names = list(dict.fromkeys(pieces["cause"]))
    colors = [pieces[pieces["cause"] == name]["fill"].iloc[0] for name in names]
    y = alt.Y("of:N", sort=None, axis=alt.Axis(title=None, labelLimit=260, ticks=False, domain=False))
    tooltip = ["of", "cause", "time", "share"]
    legend = alt.Legend(title=None, orient="bottom", columns=2, labelLimit=400)
    bars = (
        alt.Chart(pieces)
        .mark_bar(height=BAR - 8)
        .encode(
            x=alt.X("start:Q", title="share of the mean", axis=alt.Axis(format="%", grid=False, tickCount=5),
                    scale=alt.Scale(domain=[0, 1])),
            x2="end",
            y=y,
            color=alt.Color("cause:N", sort=None, scale=alt.Scale(domain=names, range=colors), legend=legend),
            tooltip=tooltip,
        )
    )  # fmt: skip
    letters = (
        alt.Chart(pieces[pieces["end"] - pieces["start"] >= LEAST_LETTER])
        .mark_text(fontWeight="bold", fontSize=13)
        .encode(x="middle:Q", y=y, text="letter", color=alt.Color("ink:N", scale=None), tooltip=tooltip)
    )
    return alt.layer(bars, letters).properties(height=BAR * len(rows) + 90 + 22 * ((len(names) + 1) // 2))


def _pieces(row: Spent) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    start = 0.0
    for share in row.shares:
        end = start + share.amount
        found.append(
            {
                "of": f"{row.of}: {seconds(row.seconds)}",
                "cause": f"{share.kind.letter}  {share.kind.title}",
                "letter": share.kind.letter,
                "fill": share.kind.color,
                "ink": share.kind.ink,
                "start": start,
                "end": end,
                "middle": (start + end) / 2,
                "time": seconds(share.amount * row.seconds),
                "share": f"{share.text} of {seconds(row.seconds)}",
            }
        )
        start = end
    return found


def memory(held: Sequence[Share]) -> Layers:
    """One bar: what fills the GPU."""
    total = sum(one.amount for one in held)
    frame, start = [], 0.0
    for one in held:
        frame.append(
            {
                "what": f"{one.kind.letter}  {one.kind.title}",
                "letter": one.kind.letter if one.amount >= LEAST_LETTER * total else "",
                "ink": one.kind.ink,
                "start": start / total,
                "end": (start + one.amount) / total,
                "middle": (start + one.amount / 2) / total,
                "bytes": f"{one.text} of {nbytes(total)}",
            }
        )
        start += one.amount
    names = [str(row["what"]) for row in frame]
    scale = alt.Scale(domain=names, range=[one.kind.color for one in held])
    legend = alt.Legend(title=None, orient="bottom", columns=2, labelLimit=300)
    data = alt.Chart(pd.DataFrame(frame))
    bars = data.mark_bar(height=BAR - 4).encode(
        x=alt.X("start:Q", title=None, axis=alt.Axis(format="%", grid=False), scale=alt.Scale(domain=[0, 1])),
        x2="end",
        color=alt.Color("what:N", sort=None, scale=scale, legend=legend),
        tooltip=["what", "bytes"],
    )
    letters = data.mark_text(fontWeight="bold", fontSize=13).encode(
        x="middle:Q", text="letter", color=alt.Color("ink:N", scale=None)
    )
    return alt.layer(bars, letters).properties(height=BAR + 110)


def requests(columns: Mapping[str, Column]) -> Layers:
    """Those that run, and above them those that wait."""
    names, colors = ("running", "waiting"), (BLUE, YELLOW)
    frame = _long(columns, {name: name for name in names}, lambda amount: f"{amount:,.0f}")
    chart = (
        alt.Chart(frame)
        .mark_area(interpolate="step-before", opacity=0.9)
        .encode(
            x=_x(),
            y=alt.Y("value:Q", title="requests", stack="zero", axis=alt.Axis(tickMinStep=1)),
            color=alt.Color(
                "what:N",
                sort=None,
                scale=alt.Scale(domain=names, range=colors),
                legend=alt.Legend(title=None, orient="top", symbolType="square"),
            ),
            order=alt.Order("place:Q"),
            tooltip=["what", "at", "said"],
        )
    )
    return alt.layer(chart).properties(height=HEIGHT)


def cache(columns: Mapping[str, Column]) -> Layers:
    """The share of the blocks that requests hold."""
    frame = _long(columns, {"kv_use": "blocks in use"}, percent)
    base = alt.Chart(frame).encode(
        x=_x(),
        y=alt.Y("value:Q", title=None, axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
        tooltip=["what", "at", "said"],
    )
    return alt.layer(base.mark_area(interpolate="step-before", color=GREEN, opacity=0.9)).properties(height=HEIGHT)


def tokens(columns: Mapping[str, Column]) -> Layers:
    """Of prompts and of answers."""
    named = {"output_tokens_per_s": "of answers", "prompt_tokens_per_s": "of prompts"}
    return _lines(_long(columns, named, lambda rate: f"{rate:,.0f}"), (BLUE, ORANGE), alt.Axis(format=",.0f"))


def waits(columns: Mapping[str, Column]) -> Layers:
    """Of the requests whose first token came in the window."""
    named = {"p50_ttft_s": "median", "p99_ttft_s": "p99"}
    return _lines(_long(columns, named, seconds), (PURPLE, VERMILLION), alt.Axis(labelExpr=TIME_LABELS))


def _lines(frame: pd.DataFrame, colors: Sequence[str], axis: alt.Axis) -> Layers:
    names = list(dict.fromkeys(frame["what"]))
    base = alt.Chart(frame).encode(
        x=_x(),
        y=alt.Y("value:Q", title=None, axis=axis, scale=alt.Scale(zero=True)),
        color=alt.Color("what:N", sort=None, scale=alt.Scale(domain=names, range=colors), legend=_legend()),
        tooltip=["what", "at", "said"],
    )
    dash = alt.StrokeDash("what:N", sort=None, scale=alt.Scale(domain=names, range=DASHES), legend=_legend())
    lines = base.mark_line(strokeWidth=2).encode(strokeDash=dash)
    return alt.layer(lines, base.mark_point(size=60, opacity=0)).properties(height=HEIGHT)


def _long(columns: Mapping[str, Column], named: Mapping[str, str], shown: Callable[[float], str]) -> pd.DataFrame:
    """A row for each window and column, what is not known left out."""
    rows = [
        {"t": time, "what": title, "value": value, "at": seconds(time), "said": shown(value), "place": place}
        for place, (name, title) in enumerate(named.items())
        for time, value in zip(columns["t_s"].tolist(), columns[name].tolist(), strict=True)
        if value == value
    ]
    return pd.DataFrame(rows, columns=["t", "what", "value", "at", "said", "place"])


def _x() -> alt.X:
    return alt.X("t:Q", title="seconds since the first request", axis=alt.Axis(grid=False, tickCount=8))


def _legend() -> alt.Legend:
    return alt.Legend(title=None, orient="top", symbolType="stroke", symbolStrokeWidth=3, symbolSize=300)
