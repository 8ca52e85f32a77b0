"""Calibration: what was fitted to each part, a reader's own measurements beside it, and two parts side by side."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import pandas as pd
import streamlit as st

from topologies.quantity import MIB
from web import chrome
from web.answers import fits, measurements
from web.answers.fits import MOST_NBYTES, SUFFIXES, Operation
from web.answers.measurements import Scored
from web.charts import fits as fit_charts
from web.chrome import Download
from web.halves import halves
from web.simulations import ask, fetch

FIRST, SECOND = "h100-80gb-sxm", "h200-sxm"
FIRST_OPERATION: Final = "gemm bf16"
LIMIT: Final = f"At most {MOST_NBYTES / MIB:.0f} MiB, unpacked: {', '.join(SUFFIXES)}. It is read on the server, and \
forgotten with this page."
WIDE: Final = 600
"""Pixels of the chart that has the errors beside it."""
DRAWN: Final = {"rate": "rate", "time": "time"}


def page() -> None:
    """One of three views."""
    chrome.head(
        "Calibration",
        "What predictions rest on: laws fitted to measurements of single kernels and collectives, part by part.",
    )
    view = st.segmented_control(
        "View",
        list(VIEWS),
        default=FITTED,
        required=True,
        key="fits_view",
        bind="query-params",
        label_visibility="collapsed",
    )
    VIEWS[view or FITTED]()


def _fitted() -> None:
    listed = ask(fits.parts, says="reading the fits")
    content, name = _own_profile()
    with st.container():  # here an upload is read: what comes below stays in its place
        known = list(ask(fits.profiles, content)) if content else [one.name for one in listed]
    measured = {one.name: one.measured for one in listed}
    with st.container(horizontal=True):
        part = st.selectbox(
            "Part",
            known,
            index=known.index(FIRST) if FIRST in known else 0,
            format_func=lambda one: one if content or measured.get(one) else f"{one} (data sheet)",
            key="part",
            bind="query-params",
            width=280,
            help="A GPU or a link. What nobody measured borrows the fits of its nearest relative.",
        )
        found = dict(ask(fits.operations, part, content))
        if not found:
            st.info("Nobody measured this part, nor one of its kind: predictions take its data sheet.")
            return
        operation = st.selectbox(
            "Operation",
            list(found),
            index=list(found).index(FIRST_OPERATION) if FIRST_OPERATION in found else 0,
            format_func=lambda one: one if found[one] == part else f"{one} (of {found[one]})",
            key="operation",
            bind="query-params",
            width=320,
        )
        draw = st.segmented_control(
            "Draw", list(DRAWN), default="rate", required=True, key="fits_draw", bind="query-params"
        )
    _operation(part, ask(fits.operation, part, operation, content), draw or "rate")
    _all_parts(listed)
    command = f"calibrate show {shlex.quote(name or part)}" + (f" --part {shlex.quote(part)}" if content else "")
    chrome.foot(command=command, key="calibration")


def _own_profile() -> tuple[bytes, str]:
    with st.expander("A profile of your own", icon=":material/upload:"):
        file = st.file_uploader(
            "profile.yaml of `calibrate run`, or what `calibrate fit` wrote",
            type=["yaml", "yml"],
            max_upload_size=1,
            key="fits_profile",
            help="At most 1 MB. It is read on the server, and forgotten with this page.",
        )
    return (file.getvalue(), file.name) if file else (b"", "")


def _operation(part: str, shown: Operation, draw: str) -> None:
    if not shown.is_measured:
        st.info(f"Nobody measured {shown.name} on {part}: it takes the fit of {shown.of}, its nearest relative.")
    st.caption(" · ".join(map(chrome.escaped, shown.facts)))
    if len(shown.lines["size"]):
        st.altair_chart(fit_charts.law(shown, draw), alt=f"What the law of {shown.name} says on {part} over its sizes")
        st.caption(
            "Lines: the law over the sizes that were measured, each for one setting of the other inputs. Shaded: the "
            "80 % interval, from the points that a fit to the others left out."
        )
    else:
        st.caption("This operation has no size to draw it over.")
    data = pd.DataFrame(shown.parameters, columns=["parameter", "value", "half", "meaning"])
    data["interval"] = [f"± {half:.2g}" if half else "" for half in data["half"]]
    st.dataframe(
        data,
        hide_index=True,
        column_order=["parameter", "value", "interval", "meaning"],
        column_config={
            "value": st.column_config.NumberColumn("value", format="%.4g"),
            "interval": st.column_config.TextColumn(
                "80 % interval",
                help="Half of what the value varies by when the points are drawn again; empty: below 1 %.",
            ),
            "meaning": st.column_config.TextColumn("meaning", width="large"),
        },
        alt=f"The parameters of {shown.name}",
    )


def _all_parts(listed: tuple[fits.Part, ...]) -> None:
    with st.expander("All parts"):
        st.caption("Of operations that were not measured on a part, the nearest relative's fit is taken.")
        data = pd.DataFrame(
            [
                {"part": one.name, "kind": one.kind, "operations measured": one.measured, "points": one.points}
                for one in listed
            ]
        )
        st.dataframe(data, hide_index=True, alt="Every part with the number of its fits")


def _where(view: str) -> tuple[str, str]:
    """What rows do not say of themselves; each view has controls of its own, for they stand in another place."""
    gpus = [one.name for one in ask(fits.parts) if one.kind == "GPU"]
    gpu = st.selectbox(
        "GPU",
        ["", *sorted(gpus)],
        format_func=lambda one: one or "as the file says",
        key=f"{view}_gpu",
        bind="query-params",
        width=240,
        help="Of rows that do not name theirs; a log of nccl-tests does.",
    )
    fabric = st.text_input(
        "Fabric",
        key=f"{view}_fabric",
        bind="query-params",
        placeholder="such as ib-ndr400x8",
        max_chars=40,
        width=240,
        help="What joins the nodes: type, Gb/s of a NIC, NICs of a node. A log does not say it.",
    )
    return gpu, fabric.strip()


def _own() -> None:
    file = st.file_uploader(
        "A log of nccl-tests, samples.jsonl of `calibrate run`, or a table of kernel or collective times",
        type=list(SUFFIXES[:-2]),
        max_upload_size=5,
        key="own_upload",
        help=f"Any layout of docs/calibration.md. {LIMIT}",
    )
    with st.container(horizontal=True):
        gpu, fabric = _where("own")
    if file is None:
        st.info(
            "Upload what `all_reduce_perf` of nccl-tests printed, and see your fabric beside the fit: where it is "
            "slower, by how much, and what to look at first."
        )
        st.code("mpirun -np 16 all_reduce_perf -b 8 -e 8G -f 2 -g 1 > all_reduce.log", language="bash")
        chrome.foot(command="calibrate score all_reduce.log --fabric ib-ndr400x8", key="own")
        return
    asked = (file.getvalue(), file.name, gpu, fabric)
    found = ask(measurements.upload, *asked, says="predicting every point")
    _sentences(found.sentences)
    names = [f"{one.operation} on {one.part}" for one in found.scored]
    chosen = st.segmented_control("Operation", names, default=names[0], required=True, key="own_operation")
    _scored(found.scored[names.index(chosen or names[0])])
    if found.skipped:
        data = pd.DataFrame(found.skipped, columns=["rows not used because", "rows"])
        st.dataframe(data, hide_index=True)
    said = shlex.join([*(["--gpu", gpu] if gpu else []), *(["--fabric", fabric] if fabric else [])])
    is_fitted = st.toggle(
        "Fit the laws to these points",
        key="own_fit",
        help="What `calibrate fit` does, here: seconds for a log, a minute for thousands of points.",
    )
    files = _fit(*asked) if is_fitted else ()
    verb = "fit" if is_fitted else "score"
    chrome.foot(
        command=f"calibrate {verb} {shlex.quote(file.name)} {said} --format json".replace("  ", " "),
        downloads=[
            *files,
            Download(
                label="Samples (CSV)",
                name="samples.csv",
                mime="text/csv",
                content=lambda: fetch(measurements.imported, *asked),
            ),
            Download(
                label="Score (JSON)",
                name="score.json",
                mime="application/json",
                content=lambda: fetch(measurements.scores, *asked),
            ),
        ],
        key="own",
    )


def _scored(shown: Scored) -> None:
    with st.container(horizontal=True):
        st.metric("fit of", shown.fit_of, help="The part whose fit the predictions rest on.")
        for name, value, why in shown.figures:
            st.metric(name, value, help=why)
    if not shown.points:
        st.caption("This operation has no size to draw it over.")
        return
    left, right = halves(WIDE)
    with left:
        st.subheader("Measured beside the fit", anchor=False)
        st.altair_chart(fit_charts.against(shown), alt="Measured points and the fit over their sizes")
        st.caption("Points: measured. Lines: what the fit says.")
    with right:
        st.subheader("Errors", anchor=False)
        st.altair_chart(fit_charts.residuals(shown), alt="The error of each point over its measured time")
        st.caption("Shaded: the 80 % interval of the fit; beyond 50 %: at the edge.")


def _fit(content: bytes, name: str, gpu: str, fabric: str) -> tuple[Download, ...]:
    made = ask(measurements.fitted, content, name, gpu, fabric, says="fitting")
    data = pd.DataFrame(made.rows)[["operation", "part", "points", "median_ape", "p90_ape", "coverage_80"]]
    shares = {"median_ape": "median error", "p90_ape": "90th percentile", "coverage_80": "within 80 %"}
    st.dataframe(
        data,
        hide_index=True,
        column_config={
            key: st.column_config.NumberColumn(
                label, format="percent", help="Of points left out: each half by a fit to the other."
            )
            for key, label in shares.items()
        },
    )
    for reason in made.left:
        st.caption(f"Not fitted: {chrome.escaped(reason)}")
    return tuple(
        Download(label=f"Fits: {file}", name=file, mime="application/yaml", content=_constant(text))
        for file, text in made.files
    )


def _constant(text: str) -> Callable[[], bytes]:
    return lambda: text.encode()


def _compared() -> None:
    parts = [one.name for one in ask(fits.parts) if one.measured]
    left, right = st.columns(2)
    with left:
        one = _side("First", parts, FIRST, "one")
    with right:
        other = _side("Second", parts, SECOND, "two")
    gpu, fabric = "", ""
    if one[1] or other[1]:
        with st.container(horizontal=True):
            gpu, fabric = _where("compared")
    found = ask(measurements.compared, one[0], other[0], one[1], other[1], gpu, fabric, says="comparing")
    _sentences((*found.differences, *found.sentences))
    st.altair_chart(fit_charts.shifts(found.rows), alt="How much longer each operation takes on the second")
    st.caption("The median of the points and the range of 80 % of them; grey: within the noise of both.")
    _shifts(found.rows)
    names = [name for name, content in dict.fromkeys((one, other)) if not content]
    files = [name if content else f"{name}.yaml" for name, content in (one, other)]
    chrome.foot(
        command=f"calibrate compare {shlex.join(files)} --format json",
        downloads=[_fits_file(name) for name in names],
        key="compared",
    )


def _fits_file(part: str) -> Download:
    """What the command names, for those who have no checkout."""
    return Download(
        label=f"Fits of {part} (YAML)",
        name=f"{part}.yaml",
        mime="application/yaml",
        content=lambda: fetch(measurements.fits_file, part),
    )


def _side(label: str, parts: list[str], first: str, key: str) -> tuple[str, bytes]:
    name = st.selectbox(label, parts, index=parts.index(first), key=f"fits_{key}", bind="query-params")
    with st.popover("or upload", icon=":material/upload:"):
        file = st.file_uploader(
            "profile.yaml, samples.jsonl, a log or a table",
            type=list(SUFFIXES),
            max_upload_size=5,
            key=f"fits_{key}_upload",
            help=LIMIT,
        )
    return (file.name, file.getvalue()) if file else (name, b"")


def _sentences(said: Sequence[str]) -> None:
    st.markdown("\n".join(f"- {chrome.escaped(sentence)}" for sentence in said))


def _shifts(rows: Sequence[Mapping[str, object]]) -> None:
    ratios = {"ratio": "time, second / first", "low": "80 % from", "high": "to"}
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_order=["operation", "collective", "part", "where", "points", *ratios, "beyond_noise", "from"],
        column_config={
            **{key: st.column_config.NumberColumn(label, format="%.3f") for key, label in ratios.items()},
            "where": "size",
            "beyond_noise": st.column_config.CheckboxColumn("beyond the noise"),
        },
        alt="How much longer each operation takes on the second",
    )


FITTED: Final = "What was fitted"
VIEWS: Final[Mapping[str, Callable[[], None]]] = {
    FITTED: _fitted,
    "Your measurements": _own,
    "Two side by side": _compared,
}
