"""Bare pipelines side by side under one clock: see sim/reports/assets/pipelines.js."""

from collections.abc import Mapping
from functools import cache

import pandas as pd
import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

from sim.reports.html import asset
from web.components.theme import IS_DARK

MOUNT = """
export default function ({ data, parentElement }) {
  const host = parentElement.querySelector(".pipelines");
  const columns = Object.fromEntries(
    data.columns.schema.fields.map(({ name }) => [name, data.columns.getChild(name).toArray()]));
  host.kept = host.kept || {};
  const shown = ShardSimPipelines(host, { ...data.rest, columns }, {
    isDark: () => isDark(host), kept: host.kept,
    page: () => getComputedStyle(host).getPropertyValue("--st-background-color"),
  });
  window.pipelines = shown;
  return () => shown.dispose();
}
"""


@cache
def _component() -> ComponentRenderer:
    return st.components.v2.component(
        "pipelines", html='<div class="pipelines"></div>', js=f"{asset('pipelines.js')}\n{IS_DARK}\n{MOUNT}"
    )


def pipelines(data: Mapping[str, object], key: str) -> None:
    """Draw what `sim.reports.panels.panels_data` made."""
    columns = data["columns"]
    assert isinstance(columns, dict)
    rest = {name: value for name, value in data.items() if name != "columns"}
    _component()(data={"columns": pd.DataFrame(columns), "rest": rest}, key=key)
