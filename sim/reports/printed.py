"""What all reports in the terminal share: a page of plain text or of colours, headings, and words that wrap."""

import io
import os
from collections.abc import Callable
from typing import Literal

from rich.console import Console
from rich.text import Text

LEAST_WIDTH = 40
_JOINT = "\ue000"
"""Stands for a space at which no line breaks, until it is printed: rich breaks at every kind of space."""


def printed(show: Callable[[Console, int], None], console_width: int, color: bool) -> str:
    """What `show` prints on a console of that width; without colour it has no escape sequences."""
    width = max(console_width, LEAST_WIDTH)
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=color,
        color_system=_colors() if color else None,
        no_color=not color,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    show(console, width)
    file = console.file
    assert isinstance(file, io.StringIO)
    lines = file.getvalue().replace(_JOINT, " ").splitlines()
    return "\n".join(line.rstrip() if not color else line for line in lines) + "\n"


def heading(console: Console, text: str) -> None:
    """A heading, with a line above it."""
    console.print()
    console.print(Text(text, style="bold"))


def words(text: str, style: str = "") -> Text:
    """Text for a cell: a word that is longer than its column goes on in the next line, and no line begins with %."""
    text = text.replace(" %", f"{_JOINT}%")
    return Text(text, style=style, overflow="fold")


def _colors() -> Literal["truecolor", "256"]:
    """Terminals that show all colours say so; the others show the nearest of their 256."""
    return "truecolor" if os.environ.get("COLORTERM") in ("truecolor", "24bit") else "256"
