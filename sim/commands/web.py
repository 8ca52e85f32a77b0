"""`shardsim web`: opens the app, with Streamlit in a process of its own; nothing of `web` is imported here."""

import importlib.util
import os
import socket
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from sim.commands import console
from topologies.document import InputError, Missing, shorten

_PACKAGES = str(Path(__file__).parents[2])
"""The folder that holds `web` beside `sim`."""


def web(
    port: Annotated[int, typer.Option(min=0, max=65535, help="where it listens; 0: any that is free")] = 8501,
    host: Annotated[
        str,
        typer.Option(help="the address that it listens on; others reach it only where it is not of the loopback"),
    ] = "127.0.0.1",
    no_browser: Annotated[bool, typer.Option("--no-browser", help="print the address, and open nothing")] = False,
) -> None:
    """Open the app: layouts, schedules and collectives to try, in a browser. Ctrl-C ends it."""
    _check_streamlit()
    listening = _listening(host, port)
    address = _address(host, listening.getsockname()[1])
    console.show(f"{address}\n")
    if not no_browser and _has_screen():
        webbrowser.open(address)
    _become([sys.executable, "-P", "-m", "web.server", str(listening.fileno()), host], listening)


def _check_streamlit() -> None:
    if importlib.util.find_spec("streamlit") is None:
        raise Missing("the app needs Streamlit, which is not installed; write: pip install 'shardsim[web]'")


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens already: a browser that is quicker than the app waits for its first word."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(128)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not an address"
        raise InputError(
            f"cannot listen on port {port} of {shorten(host)}: {reason.lower()}\ntry another: shardsim web --port 0"
        ) from None
    return listening


def _address(host: str, port: int) -> str:
    name = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _has_screen() -> bool:
    """Elsewhere a browser of letters would take the terminal."""
    return sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())


def _become(command: list[str], listening: socket.socket) -> None:
    """From here on this process is Streamlit's, so that Ctrl-C and every other signal reach it."""
    os.environ["PYTHONPATH"] = os.pathsep.join([_PACKAGES, *filter(None, [os.environ.get("PYTHONPATH")])])
    listening.set_inheritable(True)
    os.execv(command[0], command)
