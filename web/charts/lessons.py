"""Charts of the tour: stacked bars whose parts carry the letters of the reports, and lines over doubling axes."""

from collections.abc import Iterator
from typing import Final

import altair as alt
import pandas as pd

from sim.reports.palette import BLUE, ORANGE, VERMILLION
from web.answers.lessons.lesson import Bar, Bars, Line, Lines

ROW: Final = 34
TITLE_AND_AXIS: Final = 146
LEGEND: Final = 22
THICK: Final = 0.72
LABEL: Final = 185
ACROSS: Final = 3
"""Pixels; and parts in a line of the legend."""
LEAST_FOR_LETTER: Final = 0.025
DASHES: Final = ([1, 0], [6, 4])
MARKS: Final = ("circle", "square")
TEXT: Final = 13
TOO_MUCH: Final = "✕ "
"""Before what does not fit."""


def bars(shown: Bars) -> alt.LayerChart:
    """Stacked bars, one below the other, with a rule at the limit and thin lines for intervals."""
    parts = pd.DataFrame(part for bar in shown.bars for part in _parts(bar, _widest(shown)))
    rows = list(parts["row"].unique())
    kinds = parts.drop_duplicates("part")
    across = alt.X("start:Q", title=shown.unit, scale=alt.Scale(domain=[0, _widest(shown)], nice=False))
    down = alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(labelLimit=330, labelFontSize=TEXT))
    colors = alt.Scale(domain=list(kinds["part"]), range=list(kinds["color"]))
    legend = alt.Legend(title=None, orient="bottom", columns=ACROSS, labelLimit=LABEL)
    base = alt.Chart(parts)
    layers = [
        base.mark_bar(height={"band": THICK}).encode(
            x=across,
            x2="end",
            y=down,
            color=alt.Color("part:N", scale=colors, legend=legend),
            tooltip=[
                alt.Tooltip("row:N", title="run"),
                alt.Tooltip("part:N", title="part"),
                alt.Tooltip("text:N", title="amount"),
            ],
        ),
        base.transform_filter("datum.letter != ''")
        .mark_text(fontSize=TEXT - 1, fontWeight=600)
        .encode(x="middle:Q", y=down, text="letter:N", color=alt.Color("ink:N", scale=None)),
        *_intervals(shown, rows),
        *_limit(shown),
    ]
    height = TITLE_AND_AXIS + ROW * len(rows) + LEGEND * -(-len(kinds) // ACROSS)
    whole: alt.LayerChart = alt.layer(*layers).resolve_scale(color="independent")
    return whole.properties(title=shown.title, height=height)


def lines(shown: Lines) -> alt.LayerChart:
    """Lines over an axis that doubles, shares of the whole up; told apart by dash and mark too."""
    points = pd.DataFrame(point for line in shown.lines for point in _points(line))
    names = [line.name for line in shown.lines]
    doubling = alt.X(
        "x:Q",
        title=shown.x_title,
        scale=alt.Scale(type="log", base=2),
        axis=alt.Axis(values=sorted(points["x"].unique()), format=",d"),
    )
    share = alt.Y(
        "y:Q", title=shown.y_title, scale=alt.Scale(domain=[0, 1.05], nice=False), axis=alt.Axis(format=".0%")
    )
    color = alt.Color("line:N", scale=alt.Scale(domain=names, range=[BLUE, ORANGE]), legend=_legend(len(names)))
    dash = alt.StrokeDash("line:N", scale=alt.Scale(domain=names, range=[list(one) for one in DASHES]), legend=None)
    mark = alt.Shape("line:N", scale=alt.Scale(domain=names, range=list(MARKS)), legend=None)
    tooltip = [alt.Tooltip("line:N", title="line"), alt.Tooltip("text:N", title="point")]
    base = alt.Chart(points).encode(x=doubling, y=share, color=color)
    whole = alt.layer(
        base.mark_line(strokeWidth=2).encode(strokeDash=dash),
        base.mark_point(size=70, filled=True).encode(shape=mark, tooltip=tooltip),
    )
    assert isinstance(whole, alt.LayerChart)
    return whole.properties(title=shown.title, height=300)


def _legend(count: int) -> alt.Legend | None:
    return alt.Legend(title=None, orient="bottom", labelLimit=300) if count > 1 else None


def _points(line: Line) -> Iterator[dict[str, object]]:
    for x, y, text in zip(line.x, line.y, line.texts, strict=True):
        yield {"line": line.name, "x": x, "y": y, "text": text}


def _parts(bar: Bar, widest: float) -> Iterator[dict[str, object]]:
    """Where each part begins and ends; a letter where there is room for one."""
    start = 0.0
    for one in bar.shares:
        end = start + one.amount
        yield {
            "row": _row(bar),
            "part": f"{one.kind.letter} {one.kind.title.removesuffix(' communication')}",
            "color": one.kind.color,
            "ink": one.kind.ink,
            "letter": one.kind.letter if one.amount >= LEAST_FOR_LETTER * widest else "",
            "text": one.text,
            "start": start,
            "end": end,
            "middle": (start + end) / 2,
        }
        start = end


def _row(bar: Bar) -> str:
    return f"{TOO_MUCH if bar.is_bad else ''}{bar.name}: {bar.note}"


def _widest(shown: Bars) -> float:
    ends = [max(sum(one.amount for one in bar.shares), bar.high or 0.0) for bar in shown.bars]
    return 1.04 * max(*ends, shown.limit or 0.0, 0.0)


def _intervals(shown: Bars, rows: list[str]) -> Iterator[alt.Chart | alt.LayerChart]:
    known = [
        {"row": _row(bar), "low": bar.low, "high": bar.high, "text": f"80 % within {bar.low:.3g} to {bar.high:.3g}"}
        for bar in shown.bars
        if bar.low is not None and bar.high is not None
    ]
    if known:
        chart = alt.Chart(pd.DataFrame(known)).encode(
            y=alt.Y("row:N", sort=rows, title=None), tooltip=[alt.Tooltip("text:N", title="interval")]
        )
        for width, color in ((4.0, "#ffffff"), (1.8, "#000000")):
            yield chart.mark_rule(strokeWidth=width, color=color).encode(x="low:Q", x2="high:Q")


def _limit(shown: Bars) -> Iterator[alt.Chart]:
    if shown.limit is not None:
        rule = pd.DataFrame([{"at": shown.limit, "text": f"{shown.limit_name} for {shown.limit:.1f} GiB"}])
        yield (
            alt.Chart(rule)
            .mark_rule(strokeWidth=2.5, strokeDash=[7, 4], color=VERMILLION)
            .encode(x="at:Q", tooltip=[alt.Tooltip("text:N", title="limit")])
        )
