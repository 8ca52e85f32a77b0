"""The charts of the Communication lab: ways against size, a layer by degree, groups that share wires.

A colour is never alone: algorithms have colours and protocols dashes, points have shapes, parts of a bar their order.
"""

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import Final, Literal, get_args

import altair as alt
import pandas as pd

from calibrate.published.points import Point
from sim.reports.palette import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, YELLOW, part
from topologies.quantity import GIB, GIGA, KIB, KILO, MEGA, MIB, nbytes, percent, rate, seconds
from web.answers.collectives import Curves
from web.answers.contention import Sharing
from web.answers.tensor_layer import Layer
from web.charts.ink import ink

Metric = Literal["time", "busbw", "algbw"]
METRICS: Final[tuple[Metric, ...]] = get_args(Metric)
TITLES: Final[dict[Metric, str]] = {"time": "time", "busbw": "bus bandwidth [GB/s]", "algbw": "size / time [GB/s]"}

ALGORITHMS: Final = {
    "ring": BLUE, "tree": ORANGE, "NVLS": GREEN, "NVLSTree": VERMILLION, "PAT": PURPLE, "CollNet": SKY,
    "send and receive": BLUE,
}  # fmt: skip
DASHES: Final = {"Simple": [1, 0], "LL128": [7, 3], "LL": [2, 3], "": [1, 0]}
PUBLISHED, OWN = "published", "yours"
SHAPES: Final = {PUBLISHED: "diamond", OWN: "triangle-up"}
HEIGHT: Final = 520
Drawing = alt.LayerChart | alt.FacetChart
_SIZE: Final = (
    f"datum.value >= {GIB:.0f} ? datum.value / {GIB:.0f} + ' GiB' : datum.value >= {MIB:.0f} ? "
    f"datum.value / {MIB:.0f} + ' MiB' : datum.value >= {KIB:.0f} ? datum.value / {KIB:.0f} + ' KiB' : "
    "datum.value + ' B'"
)
_TIME: Final = (
    f"datum.value == 0 ? '0' : datum.value >= 1 ? datum.value + ' s' : datum.value * {KILO:.0f} >= 1 ? "
    f"format(datum.value * {KILO:.0f}, '.3~g') + ' ms' : format(datum.value * {MEGA:.0f}, '.3~g') + ' us'"
)


def against_size(shown: Curves, metric: Metric, size: float) -> Drawing:
    """Every way as a thin line, NCCL's as a thick one in its interval, measured points beside it."""
    x = alt.X(
        "size:Q",
        title="message size, as nccl-tests counts it",
        scale=alt.Scale(type="log", base=2, nice=False, domain=[float(shown.sizes[0]), float(shown.sizes[-1])]),
        axis=alt.Axis(labelExpr=_SIZE, values=[2.0**power for power in range(3, 35, 3)], grid=False),
    )
    y = alt.Y(
        "value:Q",
        title=TITLES[metric],
        scale=alt.Scale(type="log", nice=False),
        axis=_axis(shown, metric),
    )
    color = alt.Color(
        "algorithm:N",
        title="algorithm",
        scale=alt.Scale(domain=list(dict.fromkeys(line.algorithm for line in shown.lines)), range=_colors(shown)),
        legend=_strokes(),
    )
    protocols = list(dict.fromkeys(line.protocol for line in shown.lines))
    dash = alt.StrokeDash(
        "protocol:N",
        title="protocol",
        scale=alt.Scale(domain=protocols, range=[DASHES[one] for one in protocols]),
        legend=_strokes() if protocols != [""] else None,
    )
    ways = alt.Chart(_ways(shown, metric))
    taken = alt.Chart(_taken(shown, metric))
    tooltip = ["way:N", "message:N", "time:N", "algbw:N", "busbw:N"]
    layers: list[alt.Chart] = [
        taken.mark_area(opacity=0.35, color=GREY).encode(x=x, y=alt.Y("low:Q", title=TITLES[metric]), y2="high:Q"),
        ways.mark_line(strokeWidth=1.2, opacity=0.7).encode(x=x, y=y, color=color, strokeDash=dash, detail="way:N"),
        taken.mark_line(strokeWidth=3.2).encode(x=x, y=y, color=color, strokeDash=dash, detail="stretch:N"),
        ways.mark_point(opacity=0, size=90, filled=True).encode(x=x, y=y, tooltip=tooltip),
    ]
    measured = [*((one, PUBLISHED) for one in shown.published), *((one, OWN) for one in shown.own)]
    if measured:
        layers.append(_points(measured, shown.bus_factor, metric, x, y))
    rule = alt.Chart(pd.DataFrame({"size": [size]})).mark_rule(strokeDash=[1, 3], color=GREY, strokeWidth=1.5)
    return alt.layer(*layers, rule.encode(x=x)).properties(height=HEIGHT)


def layer_bars(shown: Sequence[Layer], largest: float, title: str) -> Drawing:
    """The layer's time by degree, parted into compute and waiting; the share that waits above each bar."""
    rows = [
        {
            "tp": str(one.tp),
            "seconds": length,
            "part": part(key).title,
            "order": place,
            "time": seconds(length),
            "of": percent(length / one.total),
            "how": one.how,
        }
        for one in shown
        for place, (key, length) in enumerate(one.parts)
    ]
    keys = list(dict.fromkeys(key for one in shown for key, _ in one.parts))
    order = [str(one.tp) for one in shown]
    y_scale = alt.Scale(domain=[0, largest * 1.08])
    bars = (
        alt.Chart(pd.DataFrame(rows))
        .mark_bar()
        .encode(
            x=alt.X("tp:O", sort=order, title=f"tp, {title}", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("seconds:Q", title="time of one layer", scale=y_scale, axis=alt.Axis(labelExpr=_TIME)),
            color=alt.Color(
                "part:N",
                title=None,
                scale=alt.Scale(domain=[part(key).title for key in keys], range=[part(key).color for key in keys]),
                legend=alt.Legend(orient="bottom", columns=1, labelLimit=300),
            ),
            order="order:Q",
            tooltip=["tp:O", "part:N", "time:N", alt.Tooltip("of:N", title="of the layer"), "how:N"],
        )
    )
    tops = pd.DataFrame(
        [{"tp": str(one.tp), "seconds": one.total, "share": percent(one.share, 0)} for one in shown if one.share]
    )
    if tops.empty:
        return alt.layer(bars).properties(height=340)
    words = alt.Chart(tops).mark_text(dy=-8, color=ink(), fontSize=12, fontWeight="bold")
    labels = words.encode(x=alt.X("tp:O", sort=order), y=alt.Y("seconds:Q", scale=y_scale), text="share:N")
    return alt.layer(bars, labels).properties(height=340)


def timeline(shown: Sharing) -> Drawing:
    """A bar for each group from start to end, and in it a narrow one for what it takes alone."""
    frame = pd.DataFrame(
        {
            "group": shown.names,
            "start": shown.starts,
            "done": shown.done,
            "lone": [start + lone for start, lone in zip(shown.starts, shown.alone, strict=True)],
            "takes": [seconds(done - start) for start, done in zip(shown.starts, shown.done, strict=True)],
            "alone": [seconds(lone) for lone in shown.alone],
            "slower": [f"{slow:.2f} times" for slow in shown.slowdowns],
        }
    )
    y = alt.Y("group:N", sort=list(shown.names), title=None)
    axis = alt.Axis(labelExpr=_TIME, title="time", tickCount=6)
    tooltip = ["group:N", "takes:N", "alone:N", "slower:N"]
    base = alt.Chart(frame)
    whole = base.mark_bar(color=SKY, height={"band": 0.8}).encode(x=alt.X("start:Q", axis=axis), x2="done:Q", y=y)
    lone = base.mark_bar(color=BLUE, height={"band": 0.3}).encode(x=alt.X("start:Q", axis=axis), x2="lone:Q", y=y)
    return alt.layer(whole.encode(tooltip=tooltip), lone.encode(tooltip=tooltip)).properties(
        height=max(120, 34 * len(shown.names) + 50)
    )


def by_count(shown: Sharing, num_groups: int) -> Drawing:
    """How many times as long the slowest takes, by the number of groups; the number that is shown is filled."""
    frame = pd.DataFrame(
        {
            "groups": range(1, len(shown.by_count) + 1),
            "times": shown.by_count,
            "shown": [count == num_groups for count in range(1, len(shown.by_count) + 1)],
        }
    )
    base = alt.Chart(frame).encode(
        x=alt.X("groups:Q", title="groups at once", axis=alt.Axis(tickMinStep=1, grid=False)),
        y=alt.Y("times:Q", title="times as long as alone", scale=alt.Scale(domainMin=0, zero=True)),
        tooltip=["groups:Q", alt.Tooltip("times:Q", format=".3g", title="times as long as alone")],
    )
    points = base.mark_point(filled=True, size=90, opacity=1, color=BLUE)
    chosen = base.transform_filter("datum.shown").mark_point(
        filled=True, size=260, shape="diamond", color=VERMILLION, opacity=1
    )
    return alt.layer(base.mark_line(color=BLUE, strokeWidth=2), points, chosen).properties(height=300)


def _strokes() -> alt.Legend:
    """Lines as long and as dark as their dashes need."""
    return alt.Legend(orient="bottom", symbolType="stroke", symbolStrokeWidth=2.5, symbolSize=400, symbolOpacity=1)


def _colors(shown: Curves) -> list[str]:
    return [ALGORITHMS[name] for name in dict.fromkeys(line.algorithm for line in shown.lines)]


def _axis(shown: Curves, metric: Metric) -> alt.Axis:
    """A line for each power of ten within the chart."""
    factor = shown.bus_factor
    values = [
        _value(metric, float(size), float(time), factor)
        for line in shown.lines
        for size, time in zip(shown.sizes, line.seconds, strict=True)
    ]
    decades = [10.0**power for power in range(floor(log10(min(values))), ceil(log10(max(values))) + 1)]
    return alt.Axis(values=decades, labelExpr=_TIME) if metric == "time" else alt.Axis(values=decades, format="~g")


def _value(metric: Metric, size: float, time: float, factor: float) -> float:
    return time if metric == "time" else size / time / GIGA * (factor if metric == "busbw" else 1.0)


def _words(size: float, time: float, factor: float) -> dict[str, str]:
    rates = {"algbw": rate(size / time), "busbw": rate(size / time * factor)}
    return {"message": nbytes(size), "time": seconds(time), **rates}


def _ways(shown: Curves, metric: Metric) -> pd.DataFrame:
    factor = shown.bus_factor
    return pd.DataFrame(
        [
            {
                "size": size,
                "value": _value(metric, size, time, factor),
                "algorithm": line.algorithm,
                "protocol": line.protocol,
                "way": line.name + (", NCCL's choice" if taken else ""),
                **_words(size, time, factor),
            }
            for line in shown.lines
            for size, time, taken in zip(
                map(float, shown.sizes), map(float, line.seconds), map(bool, line.is_taken), strict=True
            )
        ]
    )


def _taken(shown: Curves, metric: Metric) -> pd.DataFrame:
    """NCCL's way at each size; a stretch of one way is one line, which reaches to the first size of the next."""
    sizes = range(len(shown.sizes))
    places = [next(place for place, line in enumerate(shown.lines) if line.is_taken[index]) for index in sizes]
    rows, stretch = [], 0
    for index, place in enumerate(places):
        if index and place != places[index - 1]:
            rows.append(_row(shown, metric, index, places[index - 1], stretch))
            stretch += 1
        rows.append(_row(shown, metric, index, place, stretch))
    return pd.DataFrame(rows)


def _row(shown: Curves, metric: Metric, index: int, place: int, stretch: int) -> dict[str, object]:
    line, size, factor = shown.lines[place], float(shown.sizes[index]), shown.bus_factor
    ends = float(shown.low[index]), float(shown.high[index])
    return {
        "size": size,
        "value": _value(metric, size, float(line.seconds[index]), factor),
        "low": _value(metric, size, ends[0], factor),
        "high": _value(metric, size, ends[1], factor),
        "algorithm": line.algorithm,
        "protocol": line.protocol,
        "stretch": stretch,
    }


def _points(measured: Sequence[tuple[Point, str]], factor: float, metric: Metric, x: alt.X, y: alt.Y) -> alt.Chart:
    rows = [
        {
            "size": one.nbytes,
            "value": _value(metric, one.nbytes, one.seconds, factor),
            "measured": whose,
            "error": percent(one.predicted / one.seconds - 1),
            "source": one.source,
            **_words(one.nbytes, one.seconds, factor),
        }
        for one, whose in measured
    ]
    domain = list(dict.fromkeys(whose for _, whose in measured))
    scale = alt.Scale(domain=domain, range=[SHAPES[whose] for whose in domain])
    legend = alt.Legend(orient="top-left", symbolFillColor=YELLOW, symbolStrokeColor="black", symbolSize=90)
    points: alt.Chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_point(size=70, filled=True, opacity=1, color=YELLOW, stroke="black", strokeWidth=0.8)
        .encode(
            x=x,
            y=y,
            shape=alt.Shape("measured:N", title="measured", scale=scale, legend=legend),
            tooltip=[
                "measured:N", "message:N", "time:N", "algbw:N", "busbw:N",
                alt.Tooltip("error:N", title="predicted, of measured"), "source:N",
            ],
        )
    )  # fmt: skip
    return points
