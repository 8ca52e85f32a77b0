"""Two halves of a page, one below the other where the window is narrow."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator


def halves(width: int) -> tuple[DeltaGenerator, DeltaGenerator]:
    """A left one of so many pixels and a right one that takes what is left; the whole width each where both do not
    fit."""
    with st.container(horizontal=True, gap="medium"):
        return st.container(width=width), st.container()
