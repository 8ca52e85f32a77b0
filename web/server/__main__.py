"""The server of the app: Streamlit with the page around it, its headers, and the processes that compute.

`shardsim web` starts it: `python -m web.server DESCRIPTOR HOST`, the descriptor of a socket that listens already.
"""

import gc
import ipaddress
import logging
import pkgutil
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path

import uvicorn
from starlette.middleware import Middleware
from streamlit import config
from streamlit.starlette import App

from sim.commands.console import INTERRUPTED
from web import views
from web.server.shell import Shell
from web.simulations import first, pool

SCRIPT = Path(__file__).parents[1] / "app.py"
LOOPBACK_NAMES = ["localhost", "127.0.0.1", "::1"]


def main(descriptor: int, host: str) -> int:
    """Serve until Ctrl-C. Returns the exit code."""
    listening = socket.socket(fileno=descriptor)
    app = App(SCRIPT, middleware=[Middleware(Shell)], lifespan=_prepared)
    _configure(host, listening.getsockname()[1])
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            ws_max_size=config.get_option("server.maxMessageSize") * 1_000_000,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=1,
        )
    )
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        sys.stderr.write("shardsim: interrupted\n")
        return INTERRUPTED
    return 0


def _configure(host: str, port: int) -> None:
    """What .streamlit/config.toml cannot know; where only this machine is served, no other name leads here."""
    config.set_option("server.address", host)
    config.set_option("server.port", port)
    if _is_loopback(host) and not config.get_option("server.allowedHosts"):
        config.set_option("server.allowedHosts", LOOPBACK_NAMES)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@asynccontextmanager
async def _prepared(_: App) -> AsyncGenerator[None]:
    """What the first reader would wait for is begun before: the processes, the first picture, the pages' modules."""
    pool().ask(*first())
    for module in pkgutil.iter_modules(views.__path__, "web.views."):
        import_module(module.name)
    gc.freeze()  # Streamlit collects after every run, which would go through all that the modules hold: 0.1 s
    yield


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
