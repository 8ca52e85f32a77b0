"""Chromium for all tests of pages, and the app for those that walk through it; without them, tests are skipped."""

import fcntl
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import served
from tests.command import ROOT, heed_interrupts

CHROMIUM = Path("/usr/bin/chromium")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-extensions",
    "--disable-component-extensions-with-background-pages",
]
PATIENCE = 60_000
"""Milliseconds that a test waits for what will come, also on a machine with much else to do."""


@pytest.fixture(scope="session")
def browser():
    playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no Chromium at {CHROMIUM} (apt-get install chromium)")
    with playwright_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def context(browser):
    """Windows that share what the browser has loaded; nothing moves that need not."""
    windows = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    windows.set_default_timeout(PATIENCE)
    sys.modules["playwright.sync_api"].expect.set_options(timeout=PATIENCE)
    yield windows
    windows.close()


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """The folder of all processes of one run of the tests."""
    ours = tmp_path_factory.getbasetemp()
    return ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours


@pytest.fixture(scope="session")
def app(shared: Path) -> Iterator[str]:
    """The address of the app, started as users start it by the first process that needs it; served.py ends it."""
    pytest.importorskip("streamlit", reason="streamlit is not installed")
    lock = shared / "app.lock"
    with lock.open("a") as held, (shared / "app.starting").open("a") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        is_there = served.is_held(lock)
        fcntl.flock(held, fcntl.LOCK_SH)
        address = _address(shared / "app.log") if is_there else _start(shared)
        fcntl.flock(starting, fcntl.LOCK_UN)
        yield address


def _start(folder: Path) -> str:
    """Its address, once it answers; fails with its last words as soon as it has ended."""
    log = folder / "app.log"
    command = [sys.executable, "-m", "sim.cli", "web", "--port", "0", "--no-browser"]
    with log.open("wb") as noise:
        server = subprocess.Popen(
            [sys.executable, served.__file__, str(folder / "app.lock"), *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=noise,
            stderr=noise,
            start_new_session=True,
            preexec_fn=heed_interrupts,
        )
    while "\n" not in log.read_text() and server.poll() is None:
        time.sleep(0.05)
    try:
        address = _address(log)
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=PATIENCE / 1000):
            return address
    except (OSError, ValueError) as error:
        raise RuntimeError(f"the app does not answer ({error}): {log.read_text()}") from None


def _address(log: Path) -> str:
    """The first line of the log."""
    return log.read_text().partition("\n")[0]


@pytest.fixture
def page(context, app, shared: Path):
    """A window of 1,440 by 900 pixels; the test fails where page or console complain, or the app's log grows."""
    complaints: list[str] = []
    log = shared / "app.log"
    logged = len(log.read_text())
    window = context.new_page()
    window.on("pageerror", lambda error: complaints.append(f"page: {error}"))
    window.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    window.on(
        "request", lambda one: None if one.url.startswith((app, "data:", "blob:")) else complaints.append(one.url)
    )
    yield window
    window.close()
    assert complaints == []
    assert log.read_text()[logged:] == ""
