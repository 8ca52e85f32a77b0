"""Of the Communication lab: what contention does to equal collectives on the same wires."""

from typing import Final

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from sim.communication.by_size import OPERATIONS
from topologies.quantity import nbytes, seconds
from web import chrome
from web.answers import contention
from web.answers.contention import Fabric, Sharing
from web.charts import collectives as charts
from web.halves import halves
from web.simulations import ask

SHARED: Final = {"rails": "NICs of a node", "spine": "The way to the spine", "gpus": "The same GPUs"}
SHARED_HELP: Final = (
    "NICs: groups of one GPU a node, in several slots. Spine: jobs scattered over an oversubscribed fabric. The same "
    "GPUs: several collectives of one group at once."
)
SIZES: Final = {nbytes(2.0**power): 2.0**power for power in range(16, 33)}
OVERSUBSCRIPTIONS: Final = {"1 : 1": 1.0, "2 : 1": 2.0, "4 : 1": 4.0}
PERCENT: Final = 100
WIDE: Final = 600
"""Pixels of the groups in time."""
CONTROL: Final = 200
"""Pixels of a control, which wrap where the page is narrow."""


def draw(cluster: str, version: str) -> None:
    """Controls, figures, the groups in time, and the slowdown by their number."""
    kind = st.segmented_control(
        "What is shared",
        list(SHARED),
        default="rails",
        required=True,
        key="share",
        bind="query-params",
        format_func=SHARED.__getitem__,
        help=SHARED_HELP,
    )
    groups, operation, size, stagger = _collectives()
    num_nodes, fabric = _fabric(str(kind))
    shown = ask(
        contention.sharing,
        str(kind),
        cluster,
        version,
        groups,
        operation,
        SIZES[size],
        num_nodes,
        fabric,
        stagger / PERCENT,
        says="playing collectives",
    )
    _figures(shown)
    left, right = halves(WIDE)
    with left:
        st.subheader("Each group's time", anchor=False)
        st.altair_chart(charts.timeline(shown), alt="when each collective ends, and when it would alone", key="shared")
        st.caption(f"Light: from its start to its end beside the others; dark: alone. {chrome.escaped(shown.words)}")
    with right:
        st.subheader("By the number of groups", anchor=False)
        st.altair_chart(charts.by_count(shown, groups), alt="slowdown by the number of groups at once", key="counted")
        st.caption("All begin at once; the slowest counts.")
    chrome.foot(
        downloads=[
            chrome.Download(
                label="Times (CSV)",
                name="contention.csv",
                mime="text/csv",
                content=lambda: contention.sharing_csv(shown),
            )
        ],
        key="contention",
    )


def _collectives() -> tuple[int, str, str, int]:
    """How many groups, what each does, of which size, and the per cent of its time that the next begins later."""
    one, two, three, four = _row(4)
    groups = one.slider("Groups at once", 1, 8, 4, key="groups", bind="query-params", help="Equal collectives.")
    operation = two.selectbox(
        "Operation",
        OPERATIONS[:-1],
        key="does",
        bind="query-params",
        format_func=lambda name: name.replace("_", "-"),
        help="What each group does.",
    )
    size = three.select_slider(
        "Message of each",
        list(SIZES),
        nbytes(2.0**28),
        key="share_bytes",
        bind="query-params",
        help="As nccl-tests counts it.",
    )
    stagger = four.slider(
        "Each begins later by",
        0,
        100,
        0,
        5,
        format="%d %%",
        key="later",
        bind="query-params",
        help="Than the one before it, in parts of the time that one takes alone.",
    )
    return groups, operation, size, stagger


def _row(count: int) -> list[DeltaGenerator]:
    """Places for controls."""
    row = st.container(horizontal=True, vertical_alignment="bottom")
    return [row.container(width=CONTROL) for _ in range(count)]


def _fabric(kind: str) -> tuple[int, Fabric]:
    """Nodes of a group, and what the wires are that they share."""
    first, second, third = _row(3)
    fewest = 2 if kind == "rails" else 1
    num_nodes = first.select_slider(
        "Nodes of a group",
        [count for count in (1, 2, 4, 8, 16) if count >= fewest],
        4,
        key="nodes",
        bind="query-params",
        help="A group of NICs has one GPU of each node, the others all of them.",
    )
    if kind == "rails":
        nics = second.select_slider(
            "NICs of a node",
            (1, 2, 4, 8),
            2,
            key="nics",
            bind="query-params",
            help="GPUs are dealt to NICs evenly: with fewer NICs than GPUs, groups of several slots meet on one.",
        )
        return num_nodes, Fabric(nics=nics)
    if kind == "gpus":
        return num_nodes, Fabric()
    narrow = second.select_slider(
        "Oversubscription",
        list(OVERSUBSCRIPTIONS),
        "4 : 1",
        key="narrow",
        bind="query-params",
        help="What the NICs below a leaf can send, over what the leaf can pass up to the spine.",
    )
    others = third.slider(
        "Taken by others",
        0,
        75,
        0,
        25,
        format="%d %%",
        key="others",
        bind="query-params",
        help="Of the ways to the spine: background traffic.",
    )
    return num_nodes, Fabric(oversubscription=OVERSUBSCRIPTIONS[narrow], background=others / PERCENT)


def _figures(shown: Sharing) -> None:
    slowest = max(range(len(shown.names)), key=lambda place: shown.slowdowns[place])
    takes, lone = shown.done[slowest] - shown.starts[slowest], shown.alone[slowest]
    slower, from_to = (
        f"{shown.slowdowns[slowest]:.2f} times",
        f"The slowest, {shown.names[slowest]}, from start to end.",
    )
    with st.container(horizontal=True, gap="medium"):
        st.metric("alone", seconds(lone), help="The same collective with its wires to itself.", width="content")
        st.metric("beside the others", seconds(takes), help=from_to, width="content")
        st.metric("slower", slower, help=f"{seconds(takes)} over {seconds(lone)}.", width="content")
        st.metric("busiest wire", shown.busiest, help=f"{shown.floor}.", width="content")
