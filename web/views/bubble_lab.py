"""The Bubble lab: pipeline schedules side by side, played with times of the reader's own."""

from collections.abc import Callable, Sequence
from typing import Final

import pandas as pd
import streamlit as st

from sim.schedules import SCHEDULES
from sim.schedules.closed_forms import PassTimes
from topologies.document import InputError
from topologies.quantity import MILLISECOND
from web import chrome, scenarios
from web.answers.bubbles import Bubbles, Figures, as_csv, as_json, bubbles, schedule_file, trial
from web.charts import bubbles as bubble_charts
from web.components.pipelines import pipelines
from web.simulations import ask

FIRST: Final = [name for name in SCHEDULES if name != "naive"]
"""What is shown at first: beside the naive pipeline, several times as long, the others would be small."""
Counts = tuple[int, int, int]
"""Stages, microbatches, chunks."""
AGREES, DIFFERS = "✓ agrees", "✕ see below"
COLUMNS: Final = {
    "schedule": st.column_config.TextColumn("Schedule", pinned=True),
    "formula": st.column_config.TextColumn(
        "Bubble", width=270, help="As published: p stages, v chunks, m microbatches; F, I, W, B = I + W, F&B = F + B."
    ),
    "in numbers": st.column_config.TextColumn("in numbers", width=280, help="With the numbers put in, in ms."),
    "published": st.column_config.NumberColumn("=", format="%.4g ms", help="What the formula comes to."),
    "played": st.column_config.NumberColumn(
        "played", format="%.4g ms", help="The same, counted in what the engine played."
    ),
    "so": st.column_config.TextColumn(
        "", width=95, help="Whether both agree to nine digits; if not, why is said below."
    ),
    "published held": st.column_config.NumberColumn(
        "Held", format="%.4g", help="As published: microbatches whose activations a rank holds at most."
    ),
    "held": st.column_config.NumberColumn("played", format="%.4g", help="The same, counted in what was played."),
}


def page() -> None:
    """Controls, the pipelines under one clock, the formulas beside what was played, what to take away."""
    chrome.head(
        "Bubble lab",
        "Each rank runs its passes in the order of its schedule; while it has nothing to do yet, there is a bubble. "
        "Change a number, press Play, and see what fills it and what that costs in memory.",
    )
    counts, times = _controls()
    names = _names()
    if not names:
        st.info("Choose at least one schedule.")
        return
    shown = ask(bubbles, names, *counts, times, says="playing the schedules")
    pipelines(shown.canvas, key="pipelines")
    _formulas(shown.figures)
    _trade_off(shown.figures)
    _take_away(shown, counts)


def _controls() -> tuple[Counts, PassTimes]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        counts = (
            _count("Stages p", "stages", 4, "Pipeline ranks, each with an equal part of the model."),
            _count("Microbatches m", "microbatches", 8, "Into how many pieces the batch is cut."),
            _count(
                "Chunks v", "chunks", 2, "Of the model on each rank in interleaved and looped; V's have 2, others 1."
            ),
        )
        times = PassTimes(
            forward=_time("Forward F", "forward", 10.0, "A microbatch forward through the layers of a rank."),
            input_gradient=_time(
                "Input grad. I",
                "igrad",
                10.0,
                "The half of the backward pass that the stage before waits for. Where a schedule does not split it, "
                "B = I + W.",
            ),
            weight_gradient=_time(
                "Weight grad. W", "wgrad", 10.0, "The half that nobody waits for, so that it can fill a bubble."
            ),
            message=_time(
                "Message",
                "message",
                0.0,
                "From stage to stage, sent beside the passes; no formula counts it.",
                least=0.0,
            ),
        )
    return counts, times


def _count(label: str, key: str, first: int, words: str) -> int:
    return st.number_input(label, 1, None, first, 1, help=words, key=key, bind="query-params", width=130)


def _time(label: str, key: str, first: float, words: str, least: float = 1.0) -> float:
    """Seconds, which the control says in milliseconds."""
    said = st.slider(
        label, least, 30.0, first, 0.5, format="%g ms", help=words, key=key, bind="query-params", width=118
    )
    return float(said) * MILLISECOND


def _names() -> tuple[str, ...]:
    """In the order in which schedules are listed everywhere."""
    chosen = st.pills(
        "Schedules",
        list(SCHEDULES),
        default=FIRST,
        selection_mode="multi",
        key="schedules",
        bind="query-params",
        help="Which are shown, by the names of `--schedule`. *naive* takes several times as long as the others.",
    )
    return tuple(name for name in SCHEDULES if name in chosen)


def _formulas(figures: Sequence[Figures]) -> None:
    st.subheader("The formula beside what was played", anchor=False)
    st.dataframe(
        pd.DataFrame(map(_row, figures)),
        hide_index=True,
        height="content",
        column_config=COLUMNS,
        alt="For each schedule its bubble and memory as published, and as played.",
    )
    reasons, sources = _together(figures, lambda one: one.why), _together(figures, lambda one: one.source)
    if reasons:
        st.caption(chrome.escaped(f"✕ {reasons}."))
    st.caption(
        f"Published: {chrome.escaped(sources)}. A formula counts what a rank idles at most from its first pass to its "
        "last (dualpipe, dualpipev: in the whole step). So a rank's start before the others is no bubble there, though "
        "the step is longer for it. Each formula is a test that the engine must pass; nothing of it is typed into the "
        "simulator."
    )


def _together(figures: Sequence[Figures], words: Callable[[Figures], str]) -> str:
    """Each of the words that are said, with the schedules of which they are."""
    names: dict[str, list[str]] = {}
    for one in figures:
        names.setdefault(words(one), []).append(one.name)
    return "; ".join(f"{', '.join(each)}: {said}" for said, each in names.items() if said)


def _row(one: Figures) -> dict[str, object]:
    return {
        "schedule": one.name,
        "formula": one.formula,
        "in numbers": one.formula_in_numbers,
        "published": one.formula_idle_s / MILLISECOND,
        "played": one.idle_s / MILLISECOND,
        "so": DIFFERS if one.why else AGREES,
        "published held": one.held_formula_most,
        "held": one.held_most,
    }


def _trade_off(figures: Sequence[Figures]) -> None:
    st.subheader("Bubble against memory", anchor=False)
    st.altair_chart(
        bubble_charts.trade_off(figures),
        alt="Each schedule by the activations that it holds and the bubble that it leaves: down and left is better.",
    )
    st.caption("Down and to the left is better. dualpipe also holds the weights twice.")


def _take_away(shown: Bubbles, counts: Counts) -> None:
    stages, microbatches, chunks = counts
    st.subheader("Take one away", anchor=False)
    names = [one.name for one in shown.figures]
    name = st.selectbox(
        "Schedule", names, key="take", help="Of this one are the CSV, the command line and the scenario."
    )
    try:
        command, text = trial(name, stages, microbatches, chunks)
    except InputError as error:
        command = text = ""
        st.info(str(error))
    if text:
        st.link_button("Try it with a real model", scenarios.address(text), icon=":material/bolt:")
    chrome.foot(
        command=command,
        downloads=[
            chrome.Download(
                label=f"Schedule {name} (CSV)",
                name=f"{name}-{stages}x{microbatches}.csv",
                mime="text/csv",
                content=lambda: schedule_file(name, stages, microbatches, chunks),
            ),
            chrome.Download(label="Figures (CSV)", name="bubbles.csv", mime="text/csv", content=lambda: as_csv(shown)),
            chrome.Download(
                label="Figures (JSON)", name="bubbles.json", mime="application/json", content=lambda: as_json(shown)
            ),
        ],
        key="bubbles",
        says="This schedule in a step of a real model on real GPUs, whose passes take times of their own:",
    )
