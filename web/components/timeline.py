"""The timeline of the reports in a page of the app: the same canvas, the same code."""

from collections.abc import Mapping
from functools import cache

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray
from streamlit.components.v2.types import ComponentRenderer

from sim.reports.html import asset
from web.components.theme import IS_DARK

MOUNT = """
export default function ({ data, parentElement }) {
  const host = parentElement.querySelector(".timeline");
  const columns = Object.fromEntries(
    data.columns.schema.fields.map(({ name }) => [name, data.columns.getChild(name).toArray()]));
  const shown = ShardSimTimeline(host, { ...data.rest, columns }, { isDark: () => isDark(host) });
  window.timeline = shown;
  return () => shown.dispose();
}
"""


@cache
def _component() -> ComponentRenderer:
    return st.components.v2.component(
        "timeline", html='<div class="timeline"></div>', js=f"{asset('timeline.js')}\n{IS_DARK}\n{MOUNT}"
    )


def timeline(data: Mapping[str, object], key: str) -> None:
    """Draw what `sim.reports.slices.canvas_data` made."""
    columns = data["columns"]
    assert isinstance(columns, dict)
    rest = {name: value for name, value in data.items() if name != "columns"}
    small = {name: _small(column) for name, column in columns.items()}
    _component()(data={"columns": pd.DataFrame(small), "rest": rest}, key=key)


def _small(column: NDArray[np.generic]) -> NDArray[np.generic]:
    """Whole numbers in as few bytes as hold them: there may be 100,000."""
    if not np.issubdtype(column.dtype, np.integer) or not column.size:
        return column
    return column.astype(np.result_type(*map(np.min_scalar_type, (column.min(), column.max()))))
