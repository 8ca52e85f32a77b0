"""Of the Serve page: the same load on the same GPUs, laid out in other ways."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import pandas as pd
import streamlit as st

from sim.reports.figures import dollars
from topologies.quantity import percent, seconds
from web import chrome
from web.answers import serving_layouts
from web.answers.serving_layouts import Candidate, Outcome
from web.answers.serving_scenario import Trace
from web.charts import serving_plays
from web.halves import halves
from web.simulations import ahead, ask

WIDE: Final = 620
STAR: Final = "★"
MEASURES: Final[Mapping[str, tuple[str, Callable[[float], str]]]] = {
    "ttft": ("TTFT p50", seconds),
    "ttft_p99": ("TTFT p99", seconds),
    "tpot": ("mean TPOT", seconds),
    "throughput": ("tokens/s", lambda amount: f"{amount:,.0f}"),
    "cost": ("$ per M tokens", dollars),
}
SAME: Final = (
    "All keep up with the load where tokens/s are alike: then latency decides, and cost follows from how long the last "
    "answers take. Ask for more than one of them serves, and throughput and cost move apart."
)


def draw(text: str, trace: Trace | None) -> None:
    """A table, the best of each measure marked, and a chart of the two latencies."""
    found = ask(serving_layouts.candidates, text, trace, says="looking for layouts")
    asked = [(one.text, trace) for one in found]
    with ahead(serving_layouts.outcome, asked):
        rows = [
            ask(serving_layouts.outcome, *each, says=f"layout {place} of {len(asked)}")
            for place, each in enumerate(asked, start=1)
        ]
    played = [(one, row) for one, row in zip(found, rows, strict=True) if not row.refused]
    st.dataframe(_table(played), hide_index=True, key="serve-layouts", alt="latencies, throughput, cost by layout")
    left, right = halves(WIDE)
    with left:
        if played:
            st.altair_chart(
                serving_plays.layouts([one.layout for one, _ in played], [row for _, row in played]),
                alt="time to the first token against time of each further one, a letter for each layout",
                key="serve-layout-chart",
            )
    with right:
        st.caption(f"{STAR} the best by each measure; tokens and dollars are of answers. {SAME}")
    for one, row in zip(found, rows, strict=True):
        if row.refused:
            st.caption(chrome.escaped(f"Not possible: {one.layout} ({one.name}): {row.refused}"))


def _table(played: Sequence[tuple[Candidate, Outcome]]) -> pd.DataFrame:
    best = serving_layouts.best([row for _, row in played])
    rows = [
        {
            "": serving_plays.LETTERS[place],
            "layout": one.layout,
            "what": one.name,
            "promises": "kept" if row.is_met else "MISSED",
            **{title: _cell(getattr(row, key), best.get(key), shown) for key, (title, shown) in MEASURES.items()},
            "GPU busy": percent(row.busy, 0),
        }
        for place, (one, row) in enumerate(played)
    ]
    return pd.DataFrame(rows)


def _cell(amount: float | None, best: float | None, shown: Callable[[float], str]) -> str:
    if amount is None:
        return "?"
    return f"{shown(amount)} {STAR}" if amount == best else shown(amount)
