"""The page Serve: a model on a cluster under a load of requests; how long users wait, what it costs, and why."""

import re
from collections.abc import Callable
from functools import partial
from typing import Final

import streamlit as st

from topologies.quantity import seconds
from web import chrome
from web.answers import serving
from web.answers.serving import Served
from web.answers.serving_scenario import Trace
from web.charts import serving as charts
from web.charts import serving_plays
from web.components.section import section
from web.halves import halves
from web.server.worker import OURS
from web.simulations import ask, fetch
from web.views.serve import controls, side_by_side

LEAD: Final = "Choose a model, GPUs and a load; see how long users wait, whether promises hold, and what answers cost."
LAST: Final = "load last served, and its trace"
PLACE: Final = re.compile(r"^scenario(:\d+)?: ")
"""Where the text stands that the controls make, of which the reader knows nothing."""
THIRD: Final = 350
HALF: Final = 540
"""Pixels of a chart, of which three or two stand beside each other at 1,440."""
KNEE_HELP: Final = (
    "The knee is the largest rate that is still served: every request answered, all promises kept, and no queue that "
    "grows without end. The same requests are played at some ten rates to find it."
)


def page() -> None:
    """Controls, figures, pictures, files."""
    chrome.head("Serve", LEAD)
    try:
        text, trace = controls.draw()
        if trace is None and st.session_state["serve_load"] == "trace":
            st.info("Open a trace: a file of requests, with their arrivals and lengths.")
            chrome.foot(key="serve")
            return
        shown = ask(serving.serve, text, trace, says="serving requests")
    except OURS as error:
        _refused(error)
        return
    st.session_state[LAST] = text, trace
    _figures(shown)
    st.subheader(chrome.escaped(shown.title), anchor=False)
    st.caption(chrome.escaped(shown.layout))
    _pictures(shown, text, trace)
    chrome.foot(command=shown.command, downloads=_downloads(shown, text, trace), key="serve")


def _refused(error: Exception) -> None:
    """Why the settings cannot be served, and below what the former ones came to."""
    st.error(chrome.escaped(PLACE.sub("", str(error))))
    if LAST in st.session_state:
        shown = ask(serving.serve, *st.session_state[LAST], says="serving the load before")
        st.html("<style>.st-key-before { opacity: 0.6; }</style>")
        with st.container(key="before"):
            st.subheader(chrome.escaped(f"Before: {shown.title}"), anchor=False)
            _figures(shown)
            st.caption(chrome.escaped(shown.layout))
    chrome.foot(key="serve")


def _figures(shown: Served) -> None:
    """The headline, each figure with how it comes about at the pointer; the tabs below stay in their place."""
    place = st.empty()
    if not shown.is_met:
        missed = "; ".join(f"{one.text}: {one.came}" for one in shown.promises if not one.met)
        place.error(chrome.escaped(f"Missed: {missed}."), icon=":material/timer_off:")
    with st.container(horizontal=True, gap="xsmall", key="figures"):
        for one in shown.figures:
            st.metric(
                chrome.escaped(one.name),
                chrome.escaped(one.value),
                None,
                delta_description=chrome.escaped(one.detail),
                help=chrome.escaped(one.formula),
                border=True,
                height="stretch",
            )


def _pictures(shown: Served, text: str, trace: Trace | None) -> None:
    """A tab for each kind of picture; only the one that is open is computed and sent."""
    drawn: dict[str, Callable[[], None]] = {
        "Latencies": lambda: _latencies(shown),
        "Over time": lambda: _over_time(shown),
        "Knee": lambda: _knee(text, trace),
        "Side by side": lambda: side_by_side.draw(text, trace),
        "Memory and cluster": lambda: _memory(shown),
        "Assumptions and sources": lambda: _sources(shown),
    }
    tabs = st.tabs(list(drawn), key="serve_tab", bind="query-params", on_change="rerun")
    for tab, draw in zip(tabs, drawn.values(), strict=True):
        if tab.open:
            with tab:
                draw()


def _latencies(shown: Served) -> None:
    """How they are distributed, and what they consist of."""
    with st.container(horizontal=True, gap="medium"):
        for one in shown.distributions:
            with st.container(width=THIRD):
                promised = [each for each in shown.promises if each.metric == one.metric]
                st.altair_chart(
                    charts.distribution(one, promised), alt=charts.said(one, promised), key=f"serve-{one.metric}"
                )
    st.caption("The share of requests that took at most so long. Dashed: what is promised.")
    st.subheader("Where the milliseconds go", anchor=False)
    spoken = "; ".join(
        f"{one.of}: " + ", ".join(f"{share.kind.title} {share.text}" for share in one.shares) for one in shown.spent
    )
    st.altair_chart(charts.spent(shown.spent), alt=f"causes of the mean latencies: {spoken}", key="serve-spent")


def _over_time(shown: Served) -> None:
    drawings = (
        ("Requests", charts.requests(shown.columns), "requests that run and wait, over time"),
        ("Cache of keys and values", charts.cache(shown.columns), "share of the cache's blocks in use, over time"),
        ("Tokens a second", charts.tokens(shown.columns), "tokens of prompts and of answers a second, over time"),
        ("Time to the first token", charts.waits(shown.columns), "median and p99 time to the first token, over time"),
    )
    for first in (0, 2):
        for place, (title, chart, alt) in zip(halves(HALF), drawings[first : first + 2], strict=True):
            with place:
                st.subheader(title, anchor=False)
                st.altair_chart(chart, alt=alt, key=f"serve-{alt}")
    st.caption(f"In windows of {seconds(shown.window)}; requests and cache are of all replicas, at a window's end.")


def _knee(text: str, trace: Trace | None) -> None:
    found = ask(serving.knee, text, trace, says="playing the load at other rates")
    if found is None:
        st.info("Users who wait send no more than is answered, so there is no knee; choose a rate or a trace.")
        return
    st.markdown(chrome.escaped(found.said), help=KNEE_HELP)
    left, right = halves(HALF)
    with left:
        st.subheader("p99 TTFT", anchor=False)
        st.altair_chart(serving_plays.knee_latency(found.found), alt="p99 TTFT by rate", key="serve-p99")
    with right:
        st.subheader("Tokens of answers a second", anchor=False)
        st.altair_chart(serving_plays.knee_throughput(found.found), alt="tokens a second by rate", key="serve-out")
    st.caption("Circles: served; crosses: not. Solid upright line: the load that is asked for; dashed: the knee.")


def _memory(shown: Served) -> None:
    st.subheader("The memory of the fullest GPU", anchor=False)
    spoken = ", ".join(f"{one.kind.title} {one.text}" for one in shown.held)
    st.altair_chart(charts.memory(shown.held), alt=f"memory: {spoken}", key="serve-memory")
    section(shown.sections["cluster"], key="serve-cluster-drawn")


def _sources(shown: Served) -> None:
    for name in ("scenario", "assumptions", "sources"):
        section(shown.sections[name], key=f"serve-{name}-said")


def _downloads(shown: Served, text: str, trace: Trace | None) -> list[chrome.Download]:
    """Files; those that take longer are made when they are asked for."""
    made: tuple[tuple[str, str, str, Callable[[str, Trace | None], bytes]], ...] = (
        ("Result (JSON)", "result.json", "application/json", serving.result),
        ("Requests (CSV)", "requests.csv", "text/csv", serving.requests),
        ("Series (CSV)", "series.csv", "text/csv", serving.series),
        ("Prometheus", "metrics.prom", "text/plain", serving.prometheus),
        ("Grafana", "grafana.json", "application/json", serving.grafana),
        ("Perfetto trace", "timeline.json.gz", "application/gzip", serving.timeline),
        ("Report (HTML)", "report.html", "text/html", serving.page),
    )
    return [
        chrome.Download(label="Scenario", name="scenario.yaml", mime="application/yaml", content=shown.text.encode),
        *(
            chrome.Download(label=label, name=name, mime=mime, content=partial(fetch, work, text, trace))
            for label, name, mime, work in made
        ),
    ]
