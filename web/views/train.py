"""The page Train: a model, a cluster, a layout; what a step of it takes, and why."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from sim.reports.html import SectionName
from sim.reports.indicators import Indicator, change
from topologies.document import Infeasible
from web import basket, chrome, controls, controls_shown, scenarios
from web.answers import opened, step
from web.components.section import section
from web.components.timeline import timeline
from web.links import pack, unpack
from web.server.worker import OURS
from web.simulations import ask, fetch

LEAD: Final = "Choose a model, a cluster and a layout; see what a training step takes, and where its time goes."
BASE: Final = "base"
"""The key of the address that holds the pinned baseline, packed."""
PINNED: Final = "pinned baseline"
OPENED: Final = "file last opened"
OWN: Final[tuple[controls.Key, ...]] = ("model", "cluster", "framework")
"""What may be opened, and so removed."""
LAST: Final = "scenario last played, and its detail"
PLACE: Final = re.compile(r"^scenario(:\d+)?: ")
"""Where the text stands that the controls make, of which the reader knows nothing."""
SECTIONS: Final[tuple[tuple[SectionName, ...], ...]] = (
    (),
    ("time", "ranks"),
    ("peak_memory", "memory"),
    ("critical_path",),
    ("cluster",),
    ("scenario", "assumptions", "sources"),
)
"""The sections of the report in each tab; the first holds the timeline."""
DETAIL: Final = (
    "How finely the step is played and drawn: whole passes of a stage, layers, or every kernel. Automatic is the "
    "coarsest that loses nothing."
)
LARGEST: Final = 1
"""MB of a file that is opened."""
LIMITS: Final = (
    f"A config.json of Hugging Face, a model file, or a scenario; at most {LARGEST} MB and 10,000 layers. It is "
    "read, never run, and not kept."
)


def page() -> None:
    """Controls, figures, pictures, files."""
    chrome.head("Train", LEAD)
    _arrive()
    settings, beside = controls_shown.draw()
    with beside:
        _open(settings)
        st.button("Start over", icon=":material/restart_alt:", on_click=_start_over, help="All settings as at first.")
    try:
        _show(controls.scenario(settings))
    except OURS as error:
        _refused(error, settings)


def _show(text: str) -> None:
    """The step of a scenario, which then is the last that could be played."""
    figures, heading = st.container(), st.container(gap="xxsmall")
    with heading:
        row = st.container(horizontal=True, vertical_alignment="bottom")
    title = row.container(horizontal=True, vertical_alignment="center", width="content")
    with row.container(width="content"):
        detail = _detail()
    shown = ask(step.step, text, detail, says="simulating a step")
    st.session_state[controls_shown.PLAN], st.session_state[LAST] = _plan(shown), (text, detail)
    with figures:
        _figures(shown, detail)
    with title:
        st.subheader(chrome.escaped(shown.title), anchor=False, width="content")
        with st.container(horizontal=True, width="content"):
            _pin(shown)
            basket.button(text, "train-basket")  # as the controls say it: there its plan can be chosen anew
    _layout(shown, heading)
    _pictures(shown, text, detail)
    chrome.foot(command=shown.command, downloads=_downloads(shown, text, detail), key="train")


def _layout(shown: step.Step, place: DeltaGenerator) -> None:
    """The plan in a line; of a pipeline the bubble that it must have, and the way to where one sees why."""
    place.caption(chrome.escaped(shown.layout))
    if shown.lab:
        place.caption(f"{chrome.escaped(shown.bubble)} [See it in the Bubble lab]({shown.lab})")


def _refused(error: Exception, settings: controls.Settings) -> None:
    """Why the settings cannot be played, what would help, and below what the former ones came to."""
    st.error(chrome.escaped(PLACE.sub("", str(error))))
    if isinstance(error, Infeasible):
        _more_gpus(controls.scenario(settings))
    if LAST in st.session_state:
        text, detail = st.session_state[LAST]
        shown = ask(step.step, text, detail, says="simulating the step before")
        st.html("<style>.st-key-before { opacity: 0.6; }</style>")
        with st.container(key="before"):
            st.subheader(chrome.escaped(f"Before: {shown.title}"), anchor=False)
            _figures(shown, detail)
            st.caption(chrome.escaped(shown.layout))
            _pictures(shown, text, detail)
    chrome.foot(key="train")


def _more_gpus(text: str) -> None:
    enough = ask(step.enough_gpus, text, says="looking for a number of GPUs that would do")
    if enough:
        words = f"Use {enough:,} GPUs"
        st.button(words, icon=":material/add:", type="primary", on_click=controls_shown.set_gpus, args=(enough,))


def _start_over() -> None:
    """All settings as at first, and no baseline."""
    controls_shown.put(controls.DEFAULTS)
    st.session_state.pop(PINNED, None)
    st.query_params.pop(BASE, None)


def _plan(shown: step.Step) -> Mapping[str, object]:
    said = shown.result["scenario"]
    assert isinstance(said, Mapping)
    return dict(said["plan"])


def _arrive() -> None:
    """What is to be shown: a scenario in the address, or what was set before."""
    _arrive_at_baseline()
    packed = st.query_params.pop(scenarios.PACKED, "")
    if packed:
        with _in_words("The scenario in the address"):
            controls_shown.put(ask(opened.link, packed))
    else:
        with _in_words("The address"):
            controls_shown.arrive()


def _arrive_at_baseline() -> None:
    """The one in the address; that from before only after a visit to another page, for the way back must lead away."""
    base = st.query_params.get(BASE)
    if base:
        with _in_words("The baseline in the address"):
            st.session_state[PINNED] = unpack(base)
    elif PINNED not in st.session_state:
        return
    elif controls_shown.shows_page_anew():
        st.query_params[BASE] = pack(st.session_state[PINNED])
    else:
        del st.session_state[PINNED]


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    """What is wrong with a thing without which the page can go on; it is named once."""
    try:
        yield
    except OURS as error:
        said = PLACE.sub("", str(error))
        st.error(chrome.escaped(said if said.startswith(what) else f"{what}: {said}"))


def _open(settings: controls.Settings) -> None:
    """A file of the reader's, once; what is wrong with it is said as long as it lies there."""
    with st.popover("Open a model or a scenario", icon=":material/upload_file:"):
        found = st.file_uploader("File", ["json", "yaml", "yml"], max_upload_size=LARGEST, key="opened", help=LIMITS)
        st.caption(LIMITS)
    for key in OWN:
        if name := controls.opened(key, settings["more"]):
            label = f"Remove {chrome.escaped(name)}"
            st.button(label, icon=":material/close:", key=f"remove-{key}", on_click=controls_shown.remove, args=(key,))
    if found is None:
        return
    if st.session_state.get(OPENED) != found.file_id:
        with _in_words(found.name):
            controls_shown.put(ask(opened.file, found.getvalue(), found.name, _present(settings)))
            st.session_state[OPENED] = found.file_id
            st.rerun()


def _present(settings: controls.Settings) -> str:
    """What a model is opened into: what the controls say, if they can be read."""
    try:
        return controls.scenario(settings)
    except OURS:
        return controls.scenario(controls.DEFAULTS)


def _detail() -> str | None:
    """How finely to play."""
    offered = controls.choices("detail")
    chosen = st.segmented_control("Detail", offered, default=offered[0], key="detail", required=True, help=DETAIL)
    return None if chosen == controls.AUTOMATIC else chosen


def _figures(shown: step.Step, detail: str | None) -> None:
    """The headline, each figure with its interval and its change against the baseline."""
    if shown.warning:
        st.error(chrome.escaped(shown.warning), icon=":material/memory_alt:")
    pinned = st.session_state.get(PINNED)
    before: dict[str, Indicator] = {}
    if pinned:
        with _in_words("The baseline"):
            baseline = ask(step.step, pinned, detail, says="the baseline")
            before = {one.key: one for one in baseline.indicators}
            st.caption(chrome.escaped(f"Against: {baseline.title}, {baseline.layout}"))
    with st.container(horizontal=True, gap="xsmall", key="figures"):
        for one in shown.indicators:
            _figure(one, before.get(one.key))


def _figure(one: Indicator, before: Indicator | None) -> None:
    moved = change(one, before) if before else ""
    st.metric(
        chrome.escaped(one.title),
        chrome.escaped(one.value),
        moved or None,
        delta_color=_color(one, before),
        delta_description=chrome.escaped(one.span or "no interval"),
        help=chrome.escaped(f"{one.formula}. {_interval(one)}"),
        border=True,
        height="stretch",
    )


def _color(one: Indicator, before: Indicator | None) -> Literal["normal", "inverse", "off"]:
    """Of a change: neither good nor bad where the room for it is another."""
    if before and before.capacity != one.capacity:
        return "off"
    return "inverse" if one.lower_is_better else "normal"


def _interval(one: Indicator) -> str:
    return f"In four of five cases: {one.span}." if one.span else f"No interval is known: {one.unknown}."


def _pin(shown: step.Step) -> None:
    """The present scenario as the baseline, or none."""
    if st.button(
        "Pin as the baseline", icon=":material/keep:", key="pin", help="Figures show their change against it."
    ):
        with _in_words("The baseline"):
            st.query_params[BASE] = pack(shown.text)
            st.session_state[PINNED] = shown.text
            st.rerun()
    if PINNED in st.session_state and st.button("Unpin", icon=":material/keep_off:", key="unpin"):
        st.session_state.pop(PINNED)
        st.query_params.pop(BASE, None)
        st.rerun()


def _pictures(shown: step.Step, text: str, detail: str | None) -> None:
    """A tab for each kind of picture; only the one that is open is sent."""
    tabs = st.tabs(list(controls.TABS), key="tab", on_change="rerun")
    for tab, sections in zip(tabs, SECTIONS, strict=True):
        if tab.open:
            with tab:
                if not sections:
                    _timeline(shown)
                for name in sections:
                    section(shown.sections[name], key=f"train-{name}")
                if "cluster" in sections:
                    section(ask(step.loads, text, detail, says="counting bytes on links"), key="train-loads")


def _timeline(shown: step.Step) -> None:
    st.caption(chrome.escaped(" ".join((shown.sentence, *shown.timeline_notes))))
    timeline(shown.timeline, key="train-timeline")


def _downloads(shown: step.Step, text: str, detail: str | None) -> list[chrome.Download]:
    """Files; those that take longer are made when they are asked for."""
    return [
        _download("Scenario", "scenario.yaml", "application/yaml", shown.text.encode),
        _download("Result (JSON)", "result.json", "application/json", lambda: shown.result_json),
        _download("Result (CSV)", "result.csv", "text/csv", lambda: fetch(step.table, text, detail)),
        _download("Memory (CSV)", "memory.csv", "text/csv", lambda: fetch(step.memory, text, detail)),
        _download("Perfetto trace", "timeline.json.gz", "application/gzip", lambda: fetch(step.trace, text, detail)),
        _download("Report (HTML)", "report.html", "text/html", lambda: fetch(step.page, text, detail)),
    ]


def _download(label: str, name: str, mime: str, content: Callable[[], bytes]) -> chrome.Download:
    return chrome.Download(label=label, name=name, mime=mime, content=content)
