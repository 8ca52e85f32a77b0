"""The page Communication lab: a collective against its size, tensor parallelism in the node or across, and sharing."""

from typing import Final

import streamlit as st

import topologies
from web import chrome
from web.views.communication_lab import collective_sizes, sharing, tensor_layer

LEAD: Final = "How long GPUs talk: by what algorithm, over which wires, alone and beside others."
VERSIONS: Final = ("2.28", "2.27", "2.26", "2.24", "2.23", "2.20", "2.18", "2.16")
TABS: Final = {
    "Time against size": collective_sizes.draw,
    "Tensor parallelism": tensor_layer.draw,
    "Contention": sharing.draw,
}


def page() -> None:
    """What lies underneath, then three parts, each with its files."""
    chrome.head("Communication lab", LEAD)
    left, right, _ = st.columns([2, 1, 2])
    names = topologies.names()
    cluster = left.selectbox(
        "Cluster",
        names,
        names.index("dgx-h100"),
        key="on",
        bind="query-params",
        help="What joins GPUs inside a node, and nodes with one another.",
    )
    version = right.selectbox(
        "NCCL",
        VERSIONS,
        VERSIONS.index("2.27"),
        key="nccl",
        bind="query-params",
        help="NVLS came with 2.17, NVLSTree with 2.18, PAT with 2.23, NVLS over a rack with 2.26.",
    )
    for tab, draw in zip(st.tabs(list(TABS), key="lab", bind="query-params"), TABS.values(), strict=True):
        if tab.open:
            with tab:
                draw(cluster, version)
