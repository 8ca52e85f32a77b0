"""The second half of the page Compare: one step again on better or worse hardware."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import streamlit as st

from sim.sensitivity import TWICE, Change, Replay
from topologies.document import Infeasible
from topologies.quantity import percent, seconds
from web import chrome, simulations
from web.answers import comparison
from web.answers.comparison import Figures
from web.answers.sensitivity_words import FACTORS, HALF, SLIDERS, Reaction, Slider, command, reaction, table, verdict
from web.bundle import Kept
from web.charts import comparison as comparison_charts

WIDTH: Final = 230
"""Pixels of a slider and of a figure: four beside one another."""


def show(kept: Sequence[Kept], rows: Sequence[Figures]) -> None:
    """Sliders, what they change, and what half and twice of each part would."""
    names = [one.name for one in kept]
    name = st.selectbox("The step of", names, key="of", bind="query-params")
    text, row = kept[names.index(name)].text, rows[names.index(name)]
    factors = _sliders()
    _result(row, _replayed(text, row, factors, "playing the step with other hardware"))
    st.subheader("What bounds the step: half and twice of each part", anchor=False)
    reactions = _reactions(text, row)
    st.altair_chart(comparison_charts.tornado(reactions), alt=verdict(reactions), key="tornado")
    st.caption(f"{verdict(reactions)} The clock stays as it is, whatever power that takes.")
    line, note = command(row.command, factors)
    if note:
        st.caption(note)
    files = [
        chrome.Download(label="CSV", name="parts.csv", mime="text/csv", content=partial(table, reactions)),
        chrome.Download(label="Scenario (YAML)", name="scenario.yaml", mime="text/yaml", content=text.encode),
    ]
    chrome.foot(command=line, downloads=files, key="hardware")


def _sliders() -> dict[Change, float]:
    """The factors that are not one."""
    with st.container(horizontal=True):
        chosen = {change: _slider(slider) for change, slider in SLIDERS.items()}
    return {change: factor for change, factor in chosen.items() if factor != 1}


def _slider(slider: Slider) -> float:
    return st.select_slider(
        slider.name,
        FACTORS,
        1.0,
        key=slider.key,
        bind="query-params",
        format_func=_factor,
        help=slider.does,
        width=WIDTH,
    )


def _factor(factor: float) -> str:
    return f"{factor:g}x"


def _replayed(text: str, row: Figures, factors: Mapping[Change, float], says: str) -> Replay | None:
    """None where no plan fits."""
    try:
        return simulations.ask(comparison.replayed, text, row.step, tuple(factors.items()), says=says)
    except Infeasible:
        return None


def _result(row: Figures, found: Replay | None) -> None:
    if found is None:
        st.error("With that much memory no plan fits that the scenario leaves open.")
        return
    before, after = seconds(row.step_time), seconds(found.step_time)
    with st.container(horizontal=True):
        st.metric(
            "step time",
            after,
            _change(found.step_time / row.step_time - 1),
            delta_color="inverse",
            help=f"Played again: {after}, unchanged {before}.",
            width=WIDTH,
        )
        st.metric(
            "MFU",
            percent(found.mfu),
            _points(found.mfu - row.mfu),
            help=f"Against the changed peak; unchanged {percent(row.mfu)}.",
            width=WIDTH,
        )
        st.metric(
            "bubble",
            percent(found.bubble_fraction),
            _points(found.bubble_fraction - row.bubble),
            delta_color="inverse",
            help=f"Share of the step that GPUs wait for work; unchanged {percent(row.bubble)}.",
            width=WIDTH,
        )
        _memory(row, found)


def _memory(row: Figures, found: Replay) -> None:
    st.metric(
        "memory with reserve",
        f"{found.reserved_gib:.1f} GiB",
        f"{'fits in' if found.fits else 'does not fit in'} {found.room_gib:.1f} GiB",
        delta_color="off" if found.fits else "inverse",
        delta_arrow="off",
        help=f"Of the pipeline rank with least to spare; unchanged {row.reserved:.1f} of {row.room:.1f} GiB.",
        width=WIDTH,
    )


def _change(share: float) -> str | None:
    return f"{share:+.1%}".replace("%", " %") if share else None


def _points(difference: float) -> str | None:
    return f"{100 * difference:+.1f} points" if abs(difference) >= 0.0005 else None


def _reactions(text: str, row: Figures) -> dict[str, Sequence[Reaction]]:
    """Of every part, half and twice of it, the part with the largest effect first."""
    pairs = [(change, factor) for change in SLIDERS for factor in (HALF, TWICE)]
    found: dict[Change, list[Reaction]] = {change: [] for change in SLIDERS}
    with simulations.ahead(comparison.replayed, [(text, row.step, (pair,)) for pair in pairs]):
        for place, (change, factor) in enumerate(pairs, start=1):
            says = f"half and twice of each part: {place} of {len(pairs)}"
            found[change].append(reaction(factor, row.step, _replayed(text, row, {change: factor}, says)))
    order = sorted(found, key=lambda change: -max(abs(one.change) for one in found[change]))
    return {SLIDERS[change].name: found[change] for change in order}
