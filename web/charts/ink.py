"""The colour of words within a chart, which Streamlit's theme leaves black on dark pages too."""

import streamlit as st


def ink() -> str:
    """As dark or as light as the words around the chart; a theme chosen later shows with the next change."""
    return "#c3c9d0" if st.context.theme.type == "dark" else "#59636e"
