"""What the walks through the app have in common. They wait in the page, at each of its frames; playwright's own
expectations look again after up to a second."""

import csv
import io
from pathlib import Path

RESTS = "document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'"
VALUES = "[...document.querySelectorAll('[data-testid=stMetricValue]')].map(one => one.innerText.trim()).join('|')"
FIGURES = f"() => {RESTS} ? {VALUES} : ''"
"""Empty as long as the page is being made."""
CHANGED = f"before => {{ const now = ({FIGURES})(); return now && now !== before; }}"


def settled(page) -> None:
    """The page has its last words, and computes no more."""
    page.get_by_role("button", name="Copy link").wait_for()
    page.wait_for_function(RESTS)


def opened(page, address: str) -> str:
    """The figures of the page at this address."""
    page.goto(address)
    return changed(page, "")


def changed(page, before: str) -> str:
    """The figures, once they are others than before and the page rests."""
    page.wait_for_function(CHANGED, arg=before)
    return page.evaluate(VALUES)


def downloaded(page, label: str) -> bytes:
    """What a button gives away."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name=label, exact=True).click()
    return Path(waiting.value.path()).read_bytes()


def table(content: bytes) -> list[dict[str, str]]:
    """The rows of a CSV."""
    return list(csv.DictReader(io.StringIO(content.decode())))
