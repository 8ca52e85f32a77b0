"""A walk through the page Accuracy: filters, a run that opens as a scenario, a table of one's own, the files."""

import json
import re

import pytest

from tests.browser.walk import changed, downloaded, opened, settled, table
from tests.unit.test_web_accuracy import table as runs

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_a_walk_through_accuracy(page, app) -> None:
    everything = opened(page, f"{app}/accuracy")
    assert everything.startswith("465 of 465|")
    settled(page)
    assert len(json.loads(downloaded(page, "Summary (JSON)"))["results"]) == 465
    assert len(table(downloaded(page, "Every run (CSV)"))) == 465

    page.get_by_role("slider", name="Off by at least").press("ArrowRight")
    far_off = changed(page, everything)
    page.wait_for_url(re.compile("runs_beyond=5"))
    choose(page, "Precision", "fp16")
    shown = changed(page, far_off)
    page.wait_for_url(re.compile("runs_precision=fp16"))
    page.get_by_role("radio", name="Model").click()
    page.get_by_text("Error by model").wait_for()
    page.wait_for_url(re.compile("(?=.*runs_precision=fp16)(?=.*runs_beyond=5)(?=.*runs_by=Model)"))

    assert opened(page, page.url) == shown
    page.get_by_text("Error by model").wait_for()
    settled(page)
    assert downloaded(page, "Scenario (YAML)").startswith(b"kind: training")
    assert "/?scenario=" in (page.get_by_role("link", name="Open in Train").get_attribute("href") or "")

    page.get_by_role("slider", name="Off by at least").press("Home")
    shown = changed(page, shown)
    page.get_by_text("Your own measured runs").click()
    own = {"name": "<b>own</b>.csv", "mimeType": "text/csv", "buffer": runs({"campaign": "<script>"}, {"row": "a-2"})}
    page.locator("input[type=file]").set_input_files(own)
    assert " of 2|" in changed(page, shown)
    settled(page)
    assert set(json.loads(downloaded(page, "Summary (JSON)"))["campaigns"]) == {"<script>", "a"}


def choose(page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()
    page.keyboard.press("Escape")
