"""A walk through the Serve page: controls change figures, a link and the way back restore them, pictures and files are
there."""

import json

import pytest

from tests.browser.walk import changed, downloaded, opened, table

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

SMALL = "serve_model=llama3-8b&serve_gpus=2&serve_tp=2&serve_requests=40&serve_answer=32"
ROWS = b"arrival,prompt,output\n0,100,10\n0.5,200,20\n1.5,300,5\n"


def test_a_load_its_pictures_and_its_files(page, app, tmp_path) -> None:
    shown = opened(page, f"{app}/serve?{SMALL}")
    assert shown.startswith("kept")
    rate = page.get_by_role("spinbutton", name="Requests/s")
    rate.fill("20")
    rate.press("Enter")
    shown = changed(page, shown)
    promise = page.get_by_role("combobox", name="Promised")
    promise.fill("p99 ttft < 1 ms")
    promise.press("Enter")
    shown = changed(page, shown)
    page.get_by_text("Missed: p99 ttft < 1 ms").wait_for()
    page.wait_for_function("() => location.search.includes('serve_rate=20')")
    assert opened(page, page.url) == shown
    page.get_by_role("link", name="Bubble lab").click()
    page.get_by_role("spinbutton", name="Stages p").wait_for()
    page.get_by_role("link", name="Serve").click()
    assert changed(page, "") == shown, "what was set stays through a visit to another page"
    page.wait_for_function("() => location.search.includes('serve_rate=20')")
    for tab, words in (
        ("Over time", "Cache of keys and values"),
        ("Knee", "Tokens of answers a second"),
        ("Side by side", "the best by each measure"),
    ):
        page.get_by_role("tab", name=tab).click()
        page.get_by_text(words).first.wait_for()
    result = json.loads(downloaded(page, "Result (JSON)"))
    assert f"{result['kv_blocks']:,}" in shown
    assert result["saturation"]["never_met"] == ["p99 ttft < 1 ms"]
    assert len(table(downloaded(page, "Requests (CSV)"))) == 40
    assert b"<!doctype html>" in downloaded(page, "Report (HTML)")
    page.get_by_role("radio", name="from a trace").click()
    page.get_by_role("button", name="Open a trace").click()
    (tmp_path / "wrong.csv").write_bytes(ROWS + b"-1,5,5\n")
    page.locator("input[type=file]").set_input_files(tmp_path / "wrong.csv")
    page.get_by_text("wrong.csv:5").wait_for()
    (tmp_path / "mine.csv").write_bytes(ROWS)
    page.locator("input[type=file]").set_input_files(tmp_path / "mine.csv")
    page.get_by_text("--trace mine.csv").wait_for()
    assert len(table(downloaded(page, "Requests (CSV)"))) == 3
