"""A command line with a button that copies it: Streamlit's own way to show code loads 1.5 MB first."""

from functools import cache

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

from web.components.copy_link import BUTTON, COPY

HTML = """
<p></p>
<div class="command"><pre></pre><button type="button" aria-label="Copy the command">Copy</button></div>
"""
STYLE = """
p { margin: 0 0 0.4rem; font-size: 0.875rem;
  color: color-mix(in srgb, var(--st-text-color) 72%, var(--st-background-color)); }
.command { display: flex; align-items: flex-start; gap: 0.75rem; padding: 0.5rem 0.5rem 0.5rem 0.9rem;
  border-radius: var(--st-base-radius); background: var(--st-secondary-background-color); }
pre { flex: 1; min-width: 0; margin: 0; padding: 0.15rem 0; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 0.875rem/1.6 var(--st-code-font), monospace; color: var(--st-text-color); }
.command button { min-height: 1.9rem; padding: 0 0.6rem; }
"""
MOUNT = """
export default function ({ data, parentElement }) {
  const button = parentElement.querySelector("button");
  button.textContent = "Copy";
  parentElement.querySelector("p").textContent = data.says;
  parentElement.querySelector("pre").textContent = data.line;
  copyOnClick(button, () => data.line, "Mark it, and copy it by hand");
}
"""


@cache
def _component() -> ComponentRenderer:
    return st.components.v2.component("command", html=HTML, css=f"{BUTTON}\n{STYLE}", js=f"{COPY}\n{MOUNT}")


def command(line: str, key: str, says: str) -> None:
    """The command line, wrapped where it is long, under words of what it is."""
    _component()(data={"line": line, "says": says}, key=key)
