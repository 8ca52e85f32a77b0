"""Of the Communication lab: what tensor parallelism costs a layer, in the node and across nodes."""

from collections.abc import Sequence
from typing import Final

import pandas as pd
import streamlit as st

from sim import models
from topologies.quantity import percent, seconds
from web import chrome
from web.answers import tensor_layer
from web.answers.tensor_layer import Layer
from web.charts import collectives as charts
from web.halves import halves
from web.simulations import ask

TOKENS: Final = (1024, 2048, 4096, 8192, 16384, 32768)
HALF: Final = 508
"""Pixels of a chart; two fit beside each other at 1,440."""
MODEL: Final = "llama-65b"
"""The default: its 64 heads can be split over all degrees."""


def draw(cluster: str, version: str) -> None:
    """Controls, a sentence, two charts on one scale, the figures."""
    what, long, many = st.columns([2, 2, 1.2], vertical_alignment="bottom")
    names = models.names()
    model = what.selectbox(
        "Model",
        names,
        names.index(MODEL),
        key="layer",
        bind="query-params",
        help="Its last layer is taken. tp must divide its heads, and its key and value heads.",
    )
    seq_len = long.select_slider("Sequence", TOKENS, 2048, key="tokens", bind="query-params", help="In tokens.")
    micro = many.number_input(
        "Micro batch", 1, 16, 1, key="layer_micro", bind="query-params", help="Sequences that pass the layer at once."
    )
    shown = ask(tensor_layer.layers, model, cluster, version, seq_len, int(micro), says="playing a layer")
    if shown.sentence:
        st.markdown(chrome.escaped(shown.sentence))
    _charts(shown)
    if shown.left_out:
        st.caption(chrome.escaped(shown.left_out))
    st.dataframe(_table(shown), hide_index=True, key="degrees", alt="the layer's time by degree and placement")
    st.caption(
        "One layer, forward and backward, with sequence parallelism and nothing recomputed, as Megatron-Core runs it; "
        "above the bars the share of the time in which the GPU only waits for its collectives. Where that jumps, NCCL "
        "changes its algorithm."
    )
    chrome.foot(
        downloads=[
            chrome.Download(
                label="Table (CSV)",
                name="layer.csv",
                mime="text/csv",
                content=lambda: tensor_layer.layers_csv(shown),
            )
        ],
        key="layer",
    )


def _charts(shown: tensor_layer.Layers) -> None:
    largest = max(one.total for one in (*shown.packed, *shown.across))
    near, far = halves(HALF)
    with near:
        st.subheader("GPUs side by side", anchor=False)
        _bars(shown.packed, largest, "filling node after node", "packed")
        st.caption(f"A node holds {shown.gpus_per_node}: a larger tp leaves it.")
    with far:
        st.subheader("One GPU to a node", anchor=False)
        if shown.across:
            _bars(shown.across, largest, "one GPU to a node", "across")
            st.caption("Every collective goes over the network; each GPU has its share of the NICs.")
        else:
            st.info(chrome.escaped(shown.no_network))


def _bars(shown: Sequence[Layer], largest: float, title: str, key: str) -> None:
    st.altair_chart(charts.layer_bars(shown, largest, title), alt=f"time of a layer by tp, {title}", key=key)


def _table(shown: tensor_layer.Layers) -> pd.DataFrame:
    """A row for each degree, with both placements side by side."""
    far = {one.tp: one for one in shown.across}
    rows = [
        {"tp": one.tp, **_cells(shown, "side by side", one), **_far(shown, far.get(one.tp))} for one in shown.packed
    ]
    return pd.DataFrame(rows)


def _far(shown: tensor_layer.Layers, one: Layer | None) -> dict[str, str]:
    return _cells(shown, "one to a node", one) if one else {}


def _cells(shown: tensor_layer.Layers, where: str, one: Layer) -> dict[str, str]:
    return {
        f"{where}: layer": seconds(one.total),
        f"{where}: waits": percent(one.share),
        f"{where}: speed-up": f"{shown.packed[0].total / one.total:.2f}",
    }
