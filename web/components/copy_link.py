"""A button that copies the address of the page: the address bar holds all that was chosen."""

from functools import cache

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

BUTTON = """
button { display: inline-flex; align-items: center; min-height: 2.5rem; padding: 0.25rem 0.75rem; cursor: pointer;
  border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius);
  color: var(--st-text-color); background: var(--st-background-color); font: inherit;
  font-size: 0.875rem; white-space: nowrap; }
button:hover { border-color: var(--st-primary-color); color: var(--st-link-color); }
button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
"""
COPY = """
function copyByHand(text) {
  const field = document.body.appendChild(document.createElement("textarea"));
  field.value = text;
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  return copied;
}
function copyOnClick(button, text, otherwise) {
  const name = button.textContent;
  button.onclick = async () => {
    let copied = true;
    try { await navigator.clipboard.writeText(text()); } catch { copied = copyByHand(text()); }
    button.textContent = copied ? "Copied" : otherwise;
    setTimeout(() => { button.textContent = name; }, 2000);
  };
}
"""
"""Copies also where the browser grants no clipboard; the button says what came of it."""
MOUNT = """
export default function ({ parentElement }) {
  const button = parentElement.querySelector("button");
  copyOnClick(button, () => window.location.href, "Copy it from the address bar");
}
"""


@cache
def _component() -> ComponentRenderer:
    html = '<button type="button" title="The address of this page, with all that is chosen on it">Copy link</button>'
    return st.components.v2.component("copy_link", html=html, css=BUTTON, js=f"{COPY}\n{MOUNT}")


def copy_link(key: str) -> None:
    """The button; a reader whose browser forbids the clipboard is told where the address stands."""
    _component()(key=key, width="content")
