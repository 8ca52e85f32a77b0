"""Of the Communication lab: a collective against the size of its message, every way that NCCL has for it."""

from collections.abc import Sequence
from typing import Final

import pandas as pd
import streamlit as st

import topologies
from calibrate.published.points import Point
from sim.communication.by_size import OPERATIONS
from topologies.quantity import nbytes, percent
from web import chrome
from web.answers import collectives
from web.answers.collective_tables import curves_csv, points_csv
from web.charts import collectives as charts
from web.simulations import ask

COUNTS: Final = (2, 4, 8, 16, 32, 64, 72, 128, 256, 512, 1024)
USUAL: Final = 16
APART: Final = (1, 2, 4, 8, 16, 72)
SIZES: Final = {nbytes(2.0**power): 2.0**power for power in range(3, 35)}
METRICS: Final[dict[str, str]] = {"time": "time", "busbw": "bus bandwidth", "algbw": "size over time"}
WIDTHS: Final = (150, 180, 190, 210, 230)
"""Pixels of the controls, which wrap where the page is narrow."""
LARGEST: Final = 2
"""MB of a log."""


def draw(cluster: str, version: str) -> None:
    """Controls, one size in figures, the chart, where NCCL changes its way, measured points."""
    operation, num_gpus, apart, size, metric = _group(cluster)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _jump()
        log = _log(cluster)
    shown = ask(
        collectives.curves, cluster, num_gpus, apart, operation, version, SIZES[size], log, says="timing collectives"
    )
    _read_off(shown, size)
    st.altair_chart(
        charts.against_size(shown, metric, SIZES[size]),
        alt=f"{_dashed(operation)} of {num_gpus} GPUs of {cluster}: {METRICS[metric]} against size, way by way",
        key="curves",
    )
    st.caption(
        f"{shown.where} Thick: what NCCL takes; thin: ways that it passes over there, which nobody measured. "
        f"{shown.rests_on} {_measured(shown)}"
    )
    if log and not shown.own:
        st.info(f"Your log measured something else: {chrome.escaped('; '.join(collectives.described(log)))}.")
    _switches(shown)
    points = [*shown.published, *shown.own]
    downloads = [_csv("Curves (CSV)", "collective.csv", curves_csv(shown))]
    if points:
        st.caption("The measured points, downloaded, beside what is predicted of each, on the command line:")
        st.code("calibrate score points.csv --format csv", language="bash")
        downloads.append(_csv("Measured points (CSV)", "points.csv", points_csv(points)))
    chrome.foot(downloads=downloads, key="curves")


def _group(cluster: str) -> tuple[str, int, int, str, charts.Metric]:
    """Which collective of which GPUs, at which size, and what is drawn of it."""
    row = st.container(horizontal=True, vertical_alignment="bottom")
    what, many, lie, large, drawn = (row.container(width=width) for width in WIDTHS)
    operation = what.selectbox(
        "Operation",
        OPERATIONS,
        key="op",
        bind="query-params",
        format_func=_dashed,
        help="What the GPUs do together, as nccl-tests names it; send is from the first GPU to the second.",
    )
    per_node, most = _sizes(cluster)
    apart = lie.selectbox(
        "GPUs lie",
        [stride for stride in APART if stride == 1 or (stride <= per_node and stride < most)],
        key="apart",
        bind="query-params",
        format_func=lambda stride: _lie(stride, per_node),
        help="Side by side as tensor parallelism lies; apart as the replicas beside it do: one to a node is a rail.",
    )
    counts = [count for count in COUNTS if (count - 1) * apart < most]
    num_gpus = many.select_slider(
        "GPUs",
        counts,
        min(USUAL, counts[-1]),
        key="ranks",
        bind="query-params",
        disabled=operation == "send",
        help="Members of the group.",
    )
    size = large.select_slider(
        "Message",
        list(SIZES),
        nbytes(2.0**26),
        key="bytes",
        bind="query-params",
        help="The size at which figures are read off, as nccl-tests counts it: dotted in the chart.",
    )
    metric = drawn.segmented_control(
        "Draw",
        charts.METRICS,
        default=charts.METRICS[0],
        required=True,
        key="draw",
        bind="query-params",
        help="busbw is what a link carries, algbw the size over the time, both as nccl-tests defines them.",
    )
    return operation, 2 if operation == "send" else num_gpus, apart, size, metric


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _lie(stride: int, per_node: int) -> str:
    if stride == 1:
        return "side by side"
    return "one to a node: a rail" if stride == per_node else f"every {stride}{'nd' if stride == 2 else 'th'} GPU"


@st.cache_data(show_spinner=False)
def _sizes(cluster: str) -> tuple[int, int]:
    """GPUs of a node, and of all nodes."""
    found = topologies.load(cluster)
    return found.node.num_gpus, found.num_gpus


def _jump() -> None:
    """Published runs, each of which sets the controls to where it was measured."""
    runs = {run.title: run for run in ask(collectives.runs, says="reading published runs")}

    def put() -> None:
        run = runs.get(str(st.session_state["published"]))
        if run:
            said = {"on": run.cluster, "nccl": run.nccl_version, "op": run.operation, "apart": 1, "ranks": run.num_gpus}
            st.session_state.update({**said, "published": None})

    st.selectbox(
        "Go where somebody measured",
        list(runs),
        None,
        key="published",
        on_change=put,
        width=420,
        placeholder="a published run of nccl-tests",
        help="Sets cluster, GPUs and NCCL to those of the run.",
    )


def _log(cluster: str) -> tuple[Point, ...]:
    """The points of a reader's own log; they are kept with the session and forgotten with it."""
    with st.popover("Your own measurements", icon=":material/upload_file:"):
        file = st.file_uploader(
            "What nccl-tests printed, or its JSON",
            key="log",
            max_upload_size=LARGEST,
            help="Parsed here, kept nowhere. Points show where operation, GPUs and nodes are those of the page.",
        )
        if file is None:
            return ()
        fabric = collectives.fabric_of(cluster)
        found = ask(collectives.points_of_log, file.getvalue(), None, fabric, says="reading the log")
        for words in collectives.described(found):
            st.caption(chrome.escaped(words))
    return found


def _read_off(shown: collectives.Curves, size: str) -> None:
    read = shown.reading
    with st.container(horizontal=True, gap="medium"):
        st.metric(f"time of {size}", read.seconds, help=read.how_seconds, width="content")
        st.metric("four of five", read.interval, help=read.how_interval, width="content")
        st.metric("bus bandwidth", read.busbw, help=read.how_busbw, width="content")
        st.metric("size / time", read.algbw, help=read.how_algbw, width="content")
        st.metric("NCCL takes", read.way, help=read.how_way, width="content")


def _switches(shown: collectives.Curves) -> None:
    table = pd.DataFrame(
        {
            "message": [one.sizes for one in shown.switches],
            "NCCL takes": [one.way for one in shown.switches],
            "which is": [one.why for one in shown.switches],
            "at the end of it": [one.at_end for one in shown.switches],
        }
    )
    st.subheader("Where NCCL changes its way", anchor=False)
    st.dataframe(table, hide_index=True, key="switches", alt="the sizes at which NCCL changes algorithm or protocol")


def _measured(shown: collectives.Curves) -> str:
    """How far the prediction is from the points beside it, and where they come from."""
    return " ".join(
        _off(whose, points) for whose, points in (("published", shown.published), ("own", shown.own)) if points
    )


def _off(whose: str, points: Sequence[Point]) -> str:
    errors = sorted(abs(one.predicted / one.seconds - 1) for one in points)
    sources = chrome.escaped("; ".join(dict.fromkeys(one.source for one in points)))
    said = f"{percent(errors[len(errors) // 2])} off in the median, {percent(errors[-1])} at most"
    return f"Of {len(points)} {whose} points the prediction is {said} ({sources})."


def _csv(label: str, name: str, content: bytes) -> chrome.Download:
    return chrome.Download(label=label, name=name, mime="text/csv", content=lambda: content)
