"""A piece of a report in a page of the app: its HTML and its style sheet, in a shadow root of its own.

What is given must be made by the templates of the reports, which escape all that came from a user.
"""

from functools import cache

import streamlit as st
from markupsafe import Markup
from streamlit.components.v2.types import ComponentRenderer

from sim.reports.html import asset

STYLE = """
:host { --ink: var(--st-text-color); --page: var(--st-background-color); --card: var(--st-secondary-background-color);
  --line: color-mix(in srgb, var(--st-text-color) 20%, transparent);
  --dim: color-mix(in srgb, var(--st-text-color) 72%, var(--st-background-color)); --bad: var(--st-red-text-color); }
.section { color: var(--ink); font: 15px/1.5 var(--st-font), system-ui, sans-serif; }
.section h2 { margin-top: 0.25rem; }
"""
MOUNT = """
export default function ({ data, parentElement }) {
  parentElement.querySelector(".section").innerHTML = data;
}
"""


@cache
def _component() -> ComponentRenderer:
    return st.components.v2.component(
        "section", html='<div class="section"></div>', css=f"{asset('report.css')}\n{STYLE}", js=MOUNT
    )


def section(html: Markup, key: str) -> None:
    """Show a piece of a report; only Markup, which a template made, is taken."""
    assert isinstance(html, Markup), "text is not HTML"
    _component()(data=str(html), key=key)
