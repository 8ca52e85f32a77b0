"""The app as readers feel it: the first picture, a changed control, ten sessions at once, and the memory of it all.

Each figure is a wall time in headless Chromium, from what the reader does until the page has its last words. Ten
browsers need more of a machine than the app does; ten readers that only listen show what the app itself takes.
"""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.conftest import Show
from benchmarks.reader import Reader
from topologies.quantity import GB, KIB

pytest.importorskip("streamlit", reason="streamlit is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[1]
CHROMIUM = Path("/usr/bin/chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
GPT_1T = (
    "?model=gpt-1t&cluster=dgx-a100&gpus=3072&layout=by+hand&tp=8&pp=64&dp=6&schedule=1f1b&recompute=full"
    "&seq_len=2048&precision=fp16&framework=megatron-lm&batch={batch}"
)
SESSIONS = 10
PATIENCE = 120_000


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    """The address of the app, and its process."""
    command = [sys.executable, "-m", "sim.cli", "web", "--port", "0", "--no-browser"]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    yield running.stdout.readline().strip(), running.pid
    running.terminate()
    running.wait(20)


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        yield chromium
        chromium.close()


def test_the_app_answers_at_once(server, browser, show: Show) -> None:
    """The bars: a first picture within 3 s, a change of GPT-1T within 1 s, ten sessions within 3 s and 2 GB."""
    address, process = server
    _until_drawn(browser.new_page(), address)
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    _show(show, "first picture after opening", _timed(lambda: _until_drawn(page, address)), 3)
    _open_gpt_1t(page, address)
    changes = [_timed(lambda batch=batch: _change(page, batch)) for batch in (1536, 768, 2304)]
    _show(show, "a changed control, GPT-1T on 3,072 GPUs, best of three", min(changes), 1)
    pages = [browser.new_page(viewport={"width": 1440, "height": 900}) for _ in range(SESSIONS)]
    for one in pages:
        _open_gpt_1t(one, address)
    _show(show, "ten browsers change at once, the last is drawn after", _timed(lambda: _all_change(pages)), 3)
    _show(show, "memory of the server and its processes", _memory(process) / GB, 2, "GB")


def test_ten_sessions_do_not_wait_for_one_another(server, show: Show) -> None:
    """The bar: the last of ten readers without a browser has its page within 3 s."""
    address, _ = server
    with ThreadPoolExecutor() as apart:  # Playwright has a loop of its own in this thread
        seconds = apart.submit(asyncio.run, _ten_readers(address)).result()
    _show(show, "ten readers change at once, the last has its page after", max(seconds), 3)


async def _ten_readers(address: str) -> list[float]:
    readers = [await Reader.opened(address, GPT_1T.format(batch=3072)) for _ in range(SESSIONS)]
    batches = [3072 - 6 * (SESSIONS + number) for number in range(1, SESSIONS + 1)]
    entered = zip(readers, batches, strict=True)
    seconds = await asyncio.gather(*(reader.enter("Global batch", batch) for reader, batch in entered))
    for reader, batch in zip(readers, batches, strict=True):
        assert f"--global-batch {batch}".encode() in reader.heard
        await reader.socket.close()
    return seconds


def _show(show: Show, what: str, found: float, bar: float, unit: str = "s") -> None:
    show(f"{what}: {found:.2f} {unit}, bar {bar:.0f} {unit}{'' if found < bar else '  MISSED'}")


def _timed(act) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _until_drawn(page, address: str) -> None:
    page.goto(address)
    page.locator(".timeline canvas").wait_for(timeout=PATIENCE)
    _settled(page)


def _open_gpt_1t(page, address: str) -> None:
    _until_drawn(page, f"{address}/{GPT_1T.format(batch=3072)}")
    page.get_by_text("Batch, precision").click()


def _settled(page) -> None:
    page.locator("[data-test-script-state=notRunning]").wait_for(state="attached", timeout=PATIENCE)


def _all_change(pages) -> None:
    """Everyone enters a batch of their own, before anybody is waited for."""
    for number, page in enumerate(pages, start=1):
        _enter(page, 3072 - 6 * number)
    for number, page in enumerate(pages, start=1):
        _wait(page, 3072 - 6 * number)


def _change(page, batch: int) -> None:
    _enter(page, batch)
    _wait(page, batch)


def _enter(page, batch: int) -> None:
    field = page.get_by_label("Global batch", exact=True)
    field.fill(str(batch))
    field.press("Enter")


def _wait(page, batch: int) -> None:
    """The command at the foot of the page is the last that is written."""
    page.get_by_text(re.compile(rf"--global-batch[ =]{batch}\b")).first.wait_for(timeout=PATIENCE)
    _settled(page)


def _memory(process: int) -> float:
    """Bytes: of the pages that processes share, each has its share (Linux)."""
    children = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout.split()[2:]
    parents = dict(zip(map(int, children[::2]), map(int, children[1::2]), strict=True))
    family = {process}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    rollups = [Path(f"/proc/{one}/smaps_rollup") for one in family]
    found = [re.search(r"^Pss: +(\d+) kB", one.read_text(), re.MULTILINE) for one in rollups if one.exists()]
    return sum(int(match[1]) for match in found if match) * KIB
