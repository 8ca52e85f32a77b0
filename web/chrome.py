"""What stands around every page: its errors in words, its command line, its downloads, its link."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps

import streamlit as st

from sim import __version__
from web.components.command import command as command_line
from web.components.copy_link import copy_link
from web.server.worker import OURS

SAME = "The same on the command line:"
LOG = logging.getLogger(__name__)
PIPELINE = """<rect x="0" y="3" width="12" height="7" rx="2" fill="#0072b2"/>
<rect x="14" y="3" width="12" height="7" rx="2" fill="#e69f00"/>
<rect x="6" y="12" width="12" height="7" rx="2" fill="#0072b2"/>
<rect x="20" y="12" width="10" height="7" rx="2" fill="#e69f00"/>
<rect x="12" y="21" width="12" height="7" rx="2" fill="#009e73"/>"""
ICON = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 0 32 32">{PIPELINE}</svg>'
LOGO = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 176 32" role="img" aria-label="ShardSim">{PIPELINE}
<text x="40" y="24" font-family="system-ui, Segoe UI, sans-serif" font-size="23" font-weight="700" textLength="128"
fill="#2b87c8">ShardSim</text></svg>"""
"""A small pipeline, and the name in a blue that stands out on white and on black."""
ABOUT = f"""
**ShardSim {__version__}** predicts how fast large models train on clusters of GPUs, and says how sure it is.

Times rest on public measurements and data sheets, fitted part by part; the pages *Calibration* and *Accuracy* show
against what. An interval holds the truth in four of five cases like those that were measured.

It runs on this machine alone: nothing is fetched, nothing is sent, what you upload is forgotten with the page.

Licence: Apache 2.0.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A file that a page offers; `content` is made when it is asked for."""

    label: str
    name: str
    mime: str
    content: Callable[[], bytes]


def shown(page: Callable[[], None]) -> Callable[[], None]:
    """The page, whose errors become words: those of users as they are, all else as an internal one, which is logged."""

    @wraps(page)
    def whole() -> None:
        st.logo(LOGO, size="large", link=None)
        try:
            page()
        except OURS as error:
            st.error(escaped(str(error)))
        except Exception:
            LOG.exception("page %s", page.__module__)
            st.error("Something went wrong inside ShardSim; the log of the app has more.")
        with st.sidebar, st.popover("About", icon=":material/info:", type="tertiary"):
            st.markdown(ABOUT)

    return whole


def head(title: str, lead: str) -> None:
    """The title of a page and the sentence that says what it is for."""
    with st.container(horizontal=True, vertical_alignment="center", key="head"):
        st.title(title, anchor=False, width="content")
        st.caption(lead, width="content")


def foot(*, command: str = "", downloads: Sequence[Download] = (), key: str, says: str = SAME) -> None:
    """The command, under what it `says` of it, where there is one; the files to take away; a link to this very page."""
    if command:
        command_line(command, key=f"{key}-command", says=says)
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        for one in downloads:
            st.download_button(
                one.label, one.content, file_name=one.name, mime=one.mime, on_click="ignore", key=f"{key}-{one.name}"
            )
        copy_link(key=f"{key}-link")


def escaped(text: str) -> str:
    """A text of a user's, for Markdown."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]()<>#+-.!|$~:" else letter for letter in text)
