"""The charts of the Compare page: where each step's time goes, how long it takes and costs, and what bounds it.

Every colour stands beside a letter, a shape or a word.
"""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Final

import altair as alt
import pandas as pd

from sim.reports.figures import LEAST_SHARE, dollars
from sim.reports.palette import BLUE, GREY, ORANGE, VERMILLION, part
from sim.sensitivity import TWICE
from topologies.quantity import percent, seconds
from web.answers.comparison import Figures
from web.answers.sensitivity_words import HALF, Reaction
from web.charts.ink import ink

ROW: Final = 40
"""Pixels of a scenario's bar with the gap below it."""
AXIS: Final = 60
"""Pixels of an axis with its title."""
LEGEND: Final = 24
"""Pixels of a row of a legend."""
LEAST_LETTER: Final = 0.025
"""Of the longest bar: what is narrower has no room for a letter."""
Layers = alt.LayerChart | alt.FacetChart
"""What altair says that layers are."""
FACTOR_NAMES: Final = {HALF: "half of it", TWICE: "twice of it"}
CHANGES: Final = alt.Axis(labelExpr="format(100 * datum.value, '+.0f') + ' %'", tickCount=8)
NAMES: Final = alt.Axis(
    title=None,
    labelExpr=r"split(datum.label, '\n')",
    labelLimit=210,
    labelFontSize=11,
    labelLineHeight=12,
    labelOverlap=False,
    ticks=False,
    domain=False,
)
LETTERS: Final = 36
"""In a line of a scenario's name beside its bar; two lines have room."""


def breakdown(names: Sequence[str], rows: Sequence[Figures]) -> Layers:
    """A bar of each step, in seconds, by what the GPUs do."""
    names = _wrapped(names)
    longest = max(row.step_time for row in rows)
    data = pd.DataFrame([one for name, row in zip(names, rows, strict=True) for one in _parts(name, row, longest)])
    kinds = {one["part"]: part(one["key"]) for one in data.to_dict("records")}
    colors = alt.Scale(domain=list(kinds), range=[kind.color for kind in kinds.values()])
    y = alt.Y("scenario:N", sort=list(names), axis=NAMES)
    tooltip = ["scenario", "part", alt.Tooltip("time", title="mean of the GPUs"), alt.Tooltip("share")]
    legend = alt.Legend(title=None, orient="bottom", columns=2, labelLimit=300)
    bars = (
        alt.Chart(data)
        .mark_bar(height=22)
        .encode(
            x=alt.X("start:Q", title="seconds of a step"),
            x2="end",
            y=y,
            color=alt.Color("part:N", scale=colors, legend=legend),
            tooltip=tooltip,
        )
    )
    letters = (
        alt.Chart(data[data["letter"] != ""])
        .mark_text(fontWeight="bold", fontSize=12)
        .encode(x="middle:Q", y=y, text="letter", color=alt.Color("ink:N", scale=None), tooltip=tooltip)
    )
    return alt.layer(bars, letters).properties(height=ROW * len(names) + AXIS + LEGEND * ((len(kinds) + 1) // 2))


def _wrapped(names: Sequence[str]) -> list[str]:
    """Long names on several lines: their ends tell plans apart."""
    return ["\n".join(wrap(name, LETTERS)) for name in names]


def _parts(name: str, row: Figures, longest: float) -> list[dict[str, object]]:
    """The parts that show, one behind the other."""
    found: list[dict[str, object]] = []
    start = 0.0
    for key, share in row.breakdown.items():
        end = start + share * row.step_time
        kind = part(key)
        if share >= LEAST_SHARE:
            found.append(
                {
                    "scenario": name,
                    "key": key,
                    "part": f"{kind.letter}  {kind.title.removesuffix(' communication')}",
                    "letter": kind.letter if end - start >= LEAST_LETTER * longest else "",
                    "ink": kind.ink,
                    "start": start,
                    "end": end,
                    "middle": (start + end) / 2,
                    "time": seconds(end - start),
                    "share": f"{percent(share)} of {seconds(row.step_time)}",
                }
            )
        start = end
    return found


def step_times(names: Sequence[str], rows: Sequence[Figures]) -> Layers:
    """A point for each step, in its interval; the axis need not begin at zero."""
    names = _wrapped(names)
    data = pd.DataFrame(
        {
            "scenario": name,
            "step time": row.step_time,
            "low": row.step_time_p10,
            "high": row.step_time_p90,
            "said": seconds(row.step_time),
            "within": f"{seconds(row.step_time_p10)} to {seconds(row.step_time_p90)}",
        }
        for name, row in zip(names, rows, strict=True)
    )
    y = alt.Y("scenario:N", sort=list(names), axis=NAMES)
    scale = alt.Scale(zero=False, nice=True)
    tooltip = ["scenario", alt.Tooltip("said", title="step time"), alt.Tooltip("within", title="80 % within")]
    base = alt.Chart(data)
    ranges = base.mark_rule(strokeWidth=5, color=GREY, opacity=0.45).encode(
        x=alt.X("low:Q", scale=scale, title="seconds (bar: 80 % within)"), x2="high", y=y, tooltip=tooltip
    )
    points = base.mark_point(size=90, filled=True, color=BLUE, opacity=1).encode(
        x=alt.X("step time:Q", scale=scale), y=y, tooltip=tooltip
    )
    return alt.layer(ranges, points).properties(height=ROW * len(names) + AXIS)


def costs(names: Sequence[str], rows: Sequence[Figures]) -> Layers:
    """A bar for the cost of each run, with the amount; none where no price is known."""
    names = _wrapped(names)
    data = pd.DataFrame(
        {
            "scenario": name,
            "dollars": row.run_cost or 0.0,
            "said": "no price known" if row.run_cost is None else dollars(row.run_cost),
            "run": f"{row.run_days:,.1f} days on {row.num_gpus:,} GPUs",
        }
        for name, row in zip(names, rows, strict=True)
    )
    y = alt.Y("scenario:N", sort=list(names), axis=NAMES)
    tooltip = ["scenario", alt.Tooltip("said", title="the run"), alt.Tooltip("run", title="which takes")]
    x = alt.X("dollars:Q", title="dollars of the whole run", axis=alt.Axis(format="$~s", tickCount=5))
    bars = alt.Chart(data).mark_bar(height=16, color=ORANGE).encode(x=x, y=y, tooltip=tooltip)
    amounts = alt.Chart(data).mark_text(align="left", dx=5, color=ink()).encode(x=x, y=y, text="said", tooltip=tooltip)
    return alt.layer(bars, amounts).properties(height=ROW * len(names) + AXIS)


def memory(peaks: Sequence[tuple[float | None, float | None]]) -> alt.Chart:
    """GiB at the peak of each pipeline rank: A as circles, B as triangles."""
    rows = [
        {"pipeline rank": rank, "GiB": held, "step": side, "said": f"{held:.1f} GiB"}
        for rank, pair in enumerate(peaks)
        for side, held in zip("AB", pair, strict=True)
        if held is not None
    ]
    sides, legend = ["A", "B"], alt.Legend(title=None, orient="top")
    drawn: alt.Chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_point(size=80, filled=True, opacity=0.9)
        .encode(
            x=alt.X("pipeline rank:O", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("GiB:Q", title="GiB allocated at the peak"),
            color=alt.Color("step:N", scale=alt.Scale(domain=sides, range=[BLUE, VERMILLION]), legend=legend),
            shape=alt.Shape(
                "step:N",
                scale=alt.Scale(domain=sides, range=["circle", "triangle-up"]),
                legend=legend,
            ),
            tooltip=["step", "pipeline rank", alt.Tooltip("said", title="at the peak")],
        )
        .properties(height=260)
    )
    return drawn


def tornado(reactions: Mapping[str, Sequence[Reaction]]) -> Layers:
    """For each part of the hardware, what half and twice of it does to the step time, largest effect first."""
    data = pd.DataFrame(
        {
            "part": name,
            "factor": FACTOR_NAMES[one.factor],
            "change": one.change,
            "side": "left" if one.change < 0 else "right",
            "said": one.said,
            "why": one.why,
        }
        for name, pair in reactions.items()
        for one in pair
    )
    factors = list(dict.fromkeys(data["factor"]))
    y = alt.Y("part:N", sort=list(reactions), axis=alt.Axis(title=None, labelLimit=230, ticks=False))
    color = alt.Color(
        "factor:N",
        sort=factors,
        scale=alt.Scale(domain=factors, range=[VERMILLION, BLUE]),
        legend=alt.Legend(title=None, orient="top"),
    )
    offset = alt.YOffset("factor:N", sort=factors)
    tooltip = ["part", "factor", alt.Tooltip("said", title="the step"), alt.Tooltip("why", title="it takes")]
    x = alt.X("change:Q", title="change of the step time", axis=CHANGES, scale=alt.Scale(padding=84))
    bars = alt.Chart(data).mark_bar().encode(x=x, y=y, yOffset=offset, color=color, tooltip=tooltip)
    says = [
        alt.Chart(data[data["side"] == side])
        .mark_text(
            align="right" if side == "left" else "left", dx=-4 if side == "left" else 4, color=ink(), fontSize=11
        )
        .encode(x=x, y=y, yOffset=offset, text="said", tooltip=tooltip)
        for side in ("left", "right")
        if (data["side"] == side).any()
    ]
    return alt.layer(bars, *says).properties(height=ROW * len(reactions) + AXIS + LEGEND)
