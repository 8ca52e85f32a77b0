"""Accuracy: measured runs beside predictions, the bad ones first; each run opens as a scenario."""

import shlex
from dataclasses import dataclass
from typing import Final

import pandas as pd
import streamlit as st

from web import chrome
from web.answers import ledger
from web.answers.ledger import AT_ONCE, COLUMNS, MOST_ROWS, Filter, Played, Shown
from web.charts import ledger as ledger_charts
from web.halves import halves
from web.simulations import ask, fetch

LABELS: Final = {
    "campaign": "Campaign", "gpu": "GPU", "model": "Model", "framework": "Framework", "precision": "Precision",
}  # fmt: skip
ORDER: Final = (
    "row", "model", "gpus", "gpu", "precision", "measured_s", "predicted_s", "low_s", "high_s", "error", "is_covered",
    "framework", "campaign", "source",
)  # fmt: skip
RUN: Final = "run"
TABLE: Final = "runs_table"
LISTED: Final = "runs_listed"
PERCENT: Final = 100
WIDE, HALF = 600, 508
"""Pixels of a chart that has another beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The ledger that is looked at: its text, what was left out of it, and the reader's table that it is of, if any."""

    text: str
    skipped: tuple[tuple[str, str], ...]
    name: str


def page() -> None:
    """The ledger of published runs, or of a table of the reader's own."""
    chrome.head("Accuracy", "How far are predictions from steps that others measured? Every run, the bad ones first.")
    source = _source()
    all_of_it = ask(ledger.shown, source.text, Filter(), "campaign", says="reading the ledger")
    wanted, by = _filter(all_of_it)
    shown = ask(ledger.shown, source.text, wanted, by, says="reading the ledger")
    if not shown.figures:
        st.info("No run has all of these; choose fewer.")
        return
    run = _chosen_run(shown)
    _figures(shown)
    _charts(shown, by, run)
    _table(shown)
    _details(source, run)
    _foot(source)


def _source() -> Source:
    with st.expander("Your own measured runs", icon=":material/upload:"):
        file = st.file_uploader(
            "A table of measured runs (CSV)",
            type="csv",
            max_upload_size=1,
            key="runs_upload",
            help=f"One run a row, in the columns of docs/validation.md; at most {MOST_ROWS} runs and 1 MB. Each is "
            "simulated on the server and forgotten with this page.",
        )
        if file is None:
            st.caption("Without one, the page shows the published runs that come with ShardSim.")
            return Source(text="", skipped=(), name="")
        played = _played(file.getvalue())
        if played.skipped:
            st.dataframe(pd.DataFrame(played.skipped, columns=["left out", "why"]), hide_index=True)
    return Source(text=played.text, skipped=played.skipped, name=file.name)


def _played(table: bytes) -> Played:
    """All runs of a table, a few at a time, so that the page can say how far it is; what is done is not done again."""
    number = ask(ledger.count, table, says="reading the table")
    bar, parts = st.progress(0.0, "simulating"), []
    for first in range(0, number, AT_ONCE):
        bar.progress(first / number, f"{first} of {number} runs simulated")
        parts.append(ask(ledger.play, table, first, says="simulating"))
    bar.empty()
    return ledger.joined(parts)


def _filter(shown: Shown) -> tuple[Filter, str]:
    """What the reader wants to see, nothing chosen is everything; and in which groups."""
    with st.container(horizontal=True):
        chosen = {
            name: tuple(
                st.multiselect(
                    label,
                    shown.choices[name],
                    key=f"runs_{name}",
                    bind="query-params",
                    placeholder="all",
                    width=168,
                )
            )
            for name, label in LABELS.items()
        }
    with st.container(horizontal=True):
        counts = shown.counts if len(shown.counts) > 1 else (*shown.counts, shown.counts[-1] + 1)
        all_of_them = (counts[0], counts[-1])
        gpus = st.select_slider("GPUs", counts, all_of_them, key="runs_gpus", bind="query-params", width=240)
        beyond = st.slider(
            "Off by at least",
            0,
            50,
            0,
            step=5,
            format="%d %%",
            key="runs_beyond",
            bind="query-params",
            width=200,
            help="Only the bad ones: runs whose |predicted / measured - 1| is at least this.",
        )
        by = st.segmented_control(
            "In groups by",
            list(COLUMNS),
            default="campaign",
            required=True,
            format_func=LABELS.__getitem__,
            key="runs_by",
            bind="query-params",
            help="What colours, shapes and bars stand for.",
        )
    return Filter(**chosen, gpus=(int(gpus[0]), int(gpus[1])), beyond=beyond / PERCENT), by or "campaign"


def _chosen_run(shown: Shown) -> str:
    """The run whose details are shown: the worst, unless another was chosen."""
    runs = [str(row) for row in shown.columns["row"]]
    if st.session_state.get(RUN) not in (None, *runs):
        st.session_state[RUN] = runs[0]
    run = st.session_state.get(RUN, st.query_params.get(RUN))
    return str(run) if run in runs else runs[0]


def _figures(shown: Shown) -> None:
    with st.container(horizontal=True):
        st.metric("runs", f"{len(shown.columns['row'])} of {shown.total}", help="Those that the filters let through.")
        for figure in shown.figures:
            st.metric(figure.name, figure.value, help=chrome.escaped(figure.why))


def _charts(shown: Shown, by: str, run: str) -> None:
    left, right = halves(WIDE)
    with left:
        st.subheader("Predicted against measured", anchor=False)
        st.altair_chart(
            ledger_charts.scatter(shown, by, run),
            alt="Scatter of predicted over measured step times with lines of no error, 10 and 20 per cent",
        )
    with right:
        st.subheader("How far off", anchor=False)
        st.altair_chart(ledger_charts.distribution(shown), alt="Histogram of errors in steps of 5 per cent")
    left, right = halves(HALF)
    with left:
        st.subheader(f"Error by {LABELS[by].lower()}", anchor=False)
        st.altair_chart(ledger_charts.errors(shown.groups), alt="Bars of the mean error of each group, with its bias")
    with right:
        st.subheader("Do the intervals hold?", anchor=False)
        st.altair_chart(ledger_charts.coverage(shown.groups), alt="Bars of the share of runs within their interval")


def _table(shown: Shown) -> None:
    st.subheader("Every run, the worst first", anchor=False)
    st.caption("Choose a row to see where it was published and to open it as a scenario.")
    data = pd.DataFrame(shown.columns)
    data["error"] *= PERCENT
    columns = {
        "row": "run", "campaign": "campaign", "model": "model", "gpus": "GPUs", "gpu": "GPU", "framework": "framework",
        "precision": "precision", "source": "source",
    }  # fmt: skip
    times = {
        "measured_s": "measured", "predicted_s": "predicted", "low_s": "80 % from", "high_s": "80 % to",
    }  # fmt: skip
    st.dataframe(
        data,
        hide_index=True,
        height=320,
        column_order=ORDER,
        column_config={
            **columns,
            **{name: st.column_config.NumberColumn(f"{label} (s)", format="%.4g") for name, label in times.items()},
            "error": st.column_config.NumberColumn(
                "error", format="%+.1f %%", help="predicted / measured - 1; below zero: too fast"
            ),
            "is_covered": st.column_config.CheckboxColumn("within", help="Is the measured time within the interval?"),
        },
        on_select=_select,
        selection_mode="single-row",
        key=TABLE,
        alt="Every run with its measured and predicted time",
    )
    st.session_state[LISTED] = [str(row) for row in shown.columns["row"]]
    st.selectbox("Run", st.session_state[LISTED], key=RUN, bind="query-params", width=420)


def _select() -> None:
    """A row of the table was chosen: it becomes the run."""
    rows = st.session_state[TABLE].selection.rows
    if rows:
        st.session_state[RUN] = st.session_state[LISTED][rows[0]]


def _details(source: Source, row: str) -> None:
    found = ask(ledger.run, source.text, row, says="reading the run")
    with st.container(border=True):
        with st.container(horizontal=True):
            for name, value, why in found.facts:
                st.metric(name, chrome.escaped(value), help=chrome.escaped(why))
        if found.source:
            st.caption(f"Source: {chrome.escaped(found.source)}")
        st.caption(chrome.escaped(found.rests_on))
        st.code(found.scenario, language="yaml", wrap_lines=True)
        with st.container(horizontal=True):
            st.link_button("Open in Train", found.address, icon=":material/bolt:", type="primary")
            st.download_button(
                "Scenario (YAML)",
                found.scenario,
                file_name="scenario.yaml",
                mime="application/yaml",
                on_click="ignore",
                key="runs-scenario",
            )


def _foot(source: Source) -> None:
    if not source.name:
        st.caption(
            "These predictions came with ShardSim. `shardsim validate TABLE.csv` plays a table of runs again; that of "
            "the published runs is tests/measured/training_runs.csv in a checkout of the sources."
        )
    chrome.foot(
        command=f"shardsim validate {shlex.quote(source.name)} --format json" if source.name else "",
        downloads=[
            chrome.Download(
                label="Every run (CSV)",
                name="ledger.csv",
                mime="text/csv",
                content=lambda: fetch(ledger.csv, source.text).encode(),
            ),
            chrome.Download(
                label="Summary (JSON)",
                name="ledger.json",
                mime="application/json",
                content=lambda: fetch(ledger.summary, source.text, source.skipped),
            ),
        ],
        key="accuracy",
    )
