"""The page Compare: a basket of scenarios, the way from one to another, and the same step on other hardware."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import pandas as pd
import streamlit as st

from sim.reports import figures
from topologies.document import Infeasible, InputError
from topologies.quantity import percent, seconds
from web import basket, chrome, scenarios, simulations
from web.answers import comparison
from web.answers.comparison import Beside, Figures
from web.bundle import MOST, Kept, as_zip, file_names
from web.charts import comparison as comparison_charts
from web.components.section import section
from web.halves import halves
from web.views.compare import other_hardware

WAYS = ("From A to B", "Other hardware")
WIDE: Final = 620
"""Pixels of the left half."""
ROW_HEIGHT: Final = 66
"""Pixels of a row: from 65 on, words that are too long for a cell go on in its next line."""


def page() -> None:
    """The basket, its table and charts; below, why B is not A, or what better parts would change."""
    chrome.head("Compare", "Scenarios side by side: which is faster, why, and what better hardware would change.")
    _said(basket.from_address)
    kept = _basket()
    found = _figures(kept)
    played = [one for one, row in zip(kept, found, strict=True) if row]
    rows = [row for row in found if row]
    if rows:
        _side_by_side([one.name for one in played], rows)
        way = st.segmented_control("Look at", WAYS, default=WAYS[0], required=True, key="look", bind="query-params")
        if way == WAYS[1]:
            other_hardware.show(played, rows)
        else:
            _from_a_to_b(kept, played)
    _said(basket.to_address)


def _said(work: Callable[[], None]) -> None:
    """Errors of the basket are told, and the page goes on; below, all stays in its place."""
    place = st.empty()
    try:
        work()
    except InputError as error:
        place.warning(chrome.escaped(str(error)))


def _basket() -> tuple[Kept, ...]:
    """What is in it, after the reader's changes."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        with st.popover("Upload scenarios", icon=":material/upload:"):
            _upload()
        kept = basket.shown()
        with st.popover("Edit the basket", icon=":material/edit:"):
            _list(kept)
        content = partial(as_zip, kept)
        st.download_button(
            "Download the basket",
            content,
            "basket.zip",
            "application/zip",
            icon=":material/download:",
            on_click="ignore",
            key="zip",
        )
        if not basket.held():
            st.caption("Two examples. Put scenarios of your own in on the page Train, or upload them.")
    return kept


def _list(kept: Sequence[Kept]) -> None:
    for place, one in enumerate(kept):
        with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall"):
            st.text_input(
                f"Scenario {place + 1}",
                one.name,
                key=f"name {place} {one.name}",
                on_change=partial(_rename, place, f"name {place} {one.name}"),
            )
            st.link_button(
                "Open", _address(one.text), icon=":material/open_in_new:", help="Opens it on the page Train."
            )
            st.button(
                "Remove",
                icon=":material/delete:",
                key=f"remove {place}",
                help=f"Take {chrome.escaped(one.name)} out of the basket.",
                on_click=partial(basket.remove, place),
            )
    if basket.held():
        st.button("Empty the basket", on_click=basket.empty, key="empty")


def _address(text: str) -> str:
    """Where the page Train shows it; the page itself where the scenario is too long for an address."""
    try:
        return scenarios.address(text)
    except InputError:
        return "/"


def _rename(place: int, key: str) -> None:
    basket.rename(place, st.session_state[key])


def _upload() -> None:
    """Files are read once, when they come."""
    files = st.file_uploader(
        f"Scenario files (YAML), or a basket (ZIP): at most {MOST} scenarios, 1 MB each",
        type=["yaml", "yml", "zip"],
        accept_multiple_files=True,
        max_upload_size=1,
        key="scenario_files",
    )
    for file in files:
        taken: set[str] = st.session_state.setdefault("taken files", set())
        if file.file_id not in taken:
            taken.add(file.file_id)
            _said(partial(_take, file.name, file.getvalue()))


def _take(name: str, content: bytes) -> None:
    basket.put(simulations.ask(comparison.uploaded, name, content, says="reading"))


def _figures(kept: Sequence[Kept]) -> list[Figures | None]:
    """Of each scenario; one that cannot be played says why. However many there are, all below stays in its place."""
    found: list[Figures | None] = []
    with st.container(), simulations.ahead(comparison.key_figures, [(one.text,) for one in kept]):
        for one in kept:
            try:
                found.append(
                    simulations.ask(comparison.key_figures, one.text, says=f"playing {chrome.escaped(one.name)}")
                )
            except (InputError, Infeasible) as error:
                st.warning(chrome.escaped(f"{one.name}: {error}"))
                found.append(None)
    return found


def _side_by_side(names: Sequence[str], rows: Sequence[Figures]) -> None:
    _table(names, rows)
    left, right = halves(WIDE)
    with left:
        st.subheader("Where the time goes", anchor=False)
        st.altair_chart(
            comparison_charts.breakdown(names, rows), alt="each step as a bar, by what the GPUs do", key="breakdown"
        )
    with right:
        st.subheader("Step time, and cost of the run", anchor=False)
        st.altair_chart(comparison_charts.step_times(names, rows), alt="step times with intervals", key="step times")
        st.altair_chart(comparison_charts.costs(names, rows), alt="the cost of each run", key="costs")


def _table(names: Sequence[str], rows: Sequence[Figures]) -> None:
    """Sorted by what the reader clicks; the best has a star."""
    data = pd.DataFrame([{"scenario": name, **_cells(row)} for name, row in zip(names, rows, strict=True)])
    table = data.style.format({name: partial(_shown, name) for name in FORMATS})
    for place, (row, won) in enumerate(zip(rows, comparison.best_in(rows), strict=True)):
        for name in (*won, "memory"):
            shown = partial(_shown, name, star=_mark(name, row, won), room=_room(row))
            table = table.format(shown, subset=pd.IndexSlice[[place], [name]])
    st.dataframe(
        table,
        hide_index=True,
        column_config=COLUMNS,
        row_height=ROW_HEIGHT,
        key="table",
        alt="the key figures of each scenario",
    )


def _cells(row: Figures) -> dict[str, object]:
    return {
        "step time": row.step_time,
        "80 % within": f"{seconds(row.step_time_p10)} to {seconds(row.step_time_p90)}",
        "tokens/s": row.tokens_per_s,
        "MFU": row.mfu,
        "bubble": row.bubble,
        "exposed": row.exposed,
        "memory": row.reserved,
        "run": row.run_days,
        "cost": row.run_cost,
        "plan": row.plan,
    }


def _mark(name: str, row: Figures, won: Sequence[str]) -> str:
    if name == "memory" and not row.fits:
        return "✕ "
    return "★ " if name in won else ""


def _room(row: Figures) -> str:
    return f" of {row.room:.1f} GiB"


def _shown(name: str, value: object, star: str = "", room: str = "") -> str:
    if not isinstance(value, int | float) or math.isnan(value):
        return "no price"
    return star + FORMATS[name](value) + (room if name == "memory" else "")


FORMATS: Final[Mapping[str, Callable[[float], str]]] = {
    "step time": seconds,
    "tokens/s": "{:,.0f}".format,
    "MFU": percent,
    "bubble": percent,
    "exposed": percent,
    "memory": "{:.1f}".format,
    "run": figures.days,
    "cost": figures.dollars,
}
_TEXT, _NUMBER = st.column_config.TextColumn, st.column_config.NumberColumn
COLUMNS: Final = {
    "scenario": _TEXT(width=205, pinned=True, help="★ marks the best of those that fit in memory."),
    "step time": _NUMBER(width=92, help="Of one optimizer step: the end of the last span of its timeline."),
    "80 % within": _TEXT(
        width=112, help="What four of five measured steps lie in, by the residuals of the fits behind it."
    ),
    "tokens/s": _NUMBER(width=86, help="Global batch x sequence length / step time."),
    "MFU": _NUMBER(width=78, help="Model FLOPs of a step / (step time x GPUs x dense peak of a GPU)."),
    "bubble": _NUMBER(
        width=78, help="Share of the step in which a GPU waits for work of another stage, the mean of all."
    ),
    "exposed": _NUMBER(width=78, help="Share of the step in which a GPU waits for communication, the mean of all."),
    "memory": _NUMBER(
        width=134,
        help="Peak of the pipeline rank with least to spare, with the allocator's reserve, of what its GPU "
        "has; ✕: does not fit.",
    ),
    "run": _NUMBER(width=86, help="Tokens of the run / tokens/s; 1T tokens where none are said."),
    "cost": _NUMBER(width=92, help="GPU-hours of the run x price of an hour."),
    "plan": _TEXT(width=150, help="The plan as it was run."),
}


def _from_a_to_b(kept: Sequence[Kept], played: Sequence[Kept]) -> None:
    if len(played) < 2:
        st.info("Add a second scenario to compare it with this one: on the page Train, or by an upload.")
        return
    names = [one.name for one in played]
    left, right = st.columns(2)
    a = left.selectbox("A", names, index=0, key="a", bind="query-params", help="Where the waterfall begins.")
    b = right.selectbox("B", names, index=1, key="b", bind="query-params", help="Where it ends.")
    pair = [played[names.index(name)] for name in (a, b)]
    found = simulations.ask(comparison.beside, pair[0].text, pair[1].text, says="comparing A with B")
    _show(found)
    files = dict(zip(kept, file_names(kept), strict=True))
    chrome.foot(
        command=f"unzip -o basket.zip && shardsim compare {files[pair[0]]} {files[pair[1]]}",
        downloads=[
            chrome.Download(label="JSON", name="comparison.json", mime="application/json", content=lambda: found.json),
            chrome.Download(label="CSV", name="comparison.csv", mime="text/csv", content=lambda: found.csv),
            chrome.Download(label="Report (HTML)", name="compare.html", mime="text/html", content=lambda: found.page),
        ],
        key="compare",
    )


def _show(found: Beside) -> None:
    for warning in found.warnings:
        st.warning(chrome.escaped(warning))
    st.info(found.verdict, icon=":material/balance:")
    left, right = halves(WIDE)
    with right:
        if found.changes:
            section(found.changes, key="changes")
        section(found.side_by_side, key="side by side")
    with left:
        section(found.waterfall, key="waterfall")
        st.subheader("Peak memory of each pipeline rank", anchor=False)
        st.altair_chart(comparison_charts.memory(found.memory), alt="peak memory of each pipeline rank", key="memory")
