"""What is said beside a result: colour and progress on a terminal, nothing of them in a pipe."""

import io
import sys
import time

import pytest

from sim.commands import console
from tests.command import STEP, Shardsim


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_color", "is_coloured"), [(None, True), ("", True), ("1", False), ("0", False)])
def test_colour_is_for_a_terminal_without_no_color(
    monkeypatch: pytest.MonkeyPatch, shardsim: Shardsim, no_color: str | None, is_coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    assert "\x1b" not in shardsim("train", *STEP).out
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    shardsim("train", *STEP)
    assert ("\x1b[" in terminal.getvalue()) == is_coloured


def told(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, *, quiet: bool = False, wait: float = 0.1) -> str:
    """What a run says that takes ten times as long as it may without a word."""
    monkeypatch.setattr(console, "PATIENCE", 0.01)
    monkeypatch.setattr(sys, "stderr", stream)
    with console.progress(quiet) as tell:
        tell("playing a step of a model with a rather long name")
        time.sleep(wait)
    return stream.getvalue()


def test_progress_is_one_line_that_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("TERM", "xterm")
    said = told(monkeypatch, Terminal())
    assert "\n" not in said
    assert "\rplaying a step of a model wit\r" in said
    assert said.endswith("\r" + " " * 29 + "\r")


@pytest.mark.parametrize("case", ["pipe", "quiet", "dumb", "soon"])
def test_progress_is_not_told_to_a_pipe_nor_of_a_short_run_nor_if_it_is_not_wanted(
    monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setenv("TERM", "dumb" if case == "dumb" else "xterm")
    stream = io.StringIO() if case == "pipe" else Terminal()
    assert told(monkeypatch, stream, quiet=case == "quiet", wait=0.0 if case == "soon" else 0.05) == ""


def test_progress_ends_with_a_run_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(KeyboardInterrupt), console.progress(quiet=False):
        raise KeyboardInterrupt


def test_a_list_is_as_wide_as_it_likes_in_a_pipe_and_as_the_terminal_on_one(
    monkeypatch: pytest.MonkeyPatch, shardsim: Shardsim
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    wide = shardsim("models").out
    monkeypatch.setenv("COLUMNS", "42")
    narrow = shardsim("models").out
    assert max(map(len, narrow.splitlines())) <= 42 < max(map(len, wide.splitlines()))
    assert "not shown: " in narrow
    assert "not shown: " not in wide
