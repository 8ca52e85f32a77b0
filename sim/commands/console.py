"""How the commands speak: results on stdout, all else on stderr; colour, width and progress are for terminals."""

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator

from topologies.document import InputError

OK, INTERNAL, USAGE, INFEASIBLE, MISSING, PARTIAL, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
PATIENCE = 1.0
"""Seconds after which a run says what it is doing, and between two such words."""


def show(text: str) -> None:
    """Print a result; that its reader has gone away (`| head -1`) is no error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left in the buffer
        if not isinstance(error, BrokenPipeError):
            raise InputError(f"cannot print the result: {error.strerror}") from None


def note(text: str) -> None:
    """One line beside the result."""
    sys.stderr.write(f"{text}\n")


def has_color() -> bool:
    """Colour on a terminal, unless NO_COLOR is set to anything [no-color.org]."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def columns() -> int:
    """How wide the terminal is, or the COLUMNS of the environment; 80 where there is none."""
    return shutil.get_terminal_size().columns


def list_columns() -> int | None:
    """How wide a list may be; as wide as it likes in a pipe."""
    return columns() if sys.stdout.isatty() or os.environ.get("COLUMNS") else None


def one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    """Raises InputError for a value that an option does not know."""
    if value not in known:
        raise InputError(f"--{option} {value!r} is not known; use {', '.join(known)}")


@contextlib.contextmanager
def progress(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Within it, one line on stderr says what was last told to be under way, and since when; it is gone at the end.

    Nothing is ever said in less than a second, in a pipe, on a terminal that cannot overwrite, or if `quiet`.
    """
    if quiet or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda _: None
        return
    told, done = ["starting"], threading.Event()
    teller = threading.Thread(target=_tell, args=(told, done), daemon=True)
    teller.start()
    try:
        yield told.append
    finally:
        done.set()
        teller.join()


def _tell(told: list[str], done: threading.Event) -> None:
    began, line = time.monotonic(), ""
    while not done.wait(PATIENCE):
        blank = " " * len(line)
        line = f"{told[-1]} ... {time.monotonic() - began:.0f} s"[: columns() - 1]
        sys.stderr.write(f"\r{blank}\r{line}")
        sys.stderr.flush()
    if line:
        sys.stderr.write(f"\r{' ' * len(line)}\r")
        sys.stderr.flush()
