"""What a stranger does to the app in a browser ends in a message; whoever sits beside does not notice."""

from pathlib import Path

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

ATTACKS = {
    "model=..%2F..%2Fetc%2Fpasswd": "model: '../../etc/passwd' is not known",
    "gpus=1e99": "gpus: must be a whole number, got '1e99'",
    "layout=by+hand&tp=%3Cscript%3E": "tp: must be a whole number, got '<script>'",
    "more=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E": "not '<img src=x onerror=alert(1)>'",
    "scenario=" + "A" * 2000: "the scenario in this link cannot be read",
}
SLOW = (
    "model=gpt-1t&cluster=dgx-a100&gpus=3072&layout=by+hand&tp=8&pp=64&dp=6&schedule=1f1b&recompute=full"
    "&seq_len=2048&precision=fp16&framework=megatron-lm&batch=2928&detail=kernel"
)


def test_hostile_addresses_end_in_words(page, app: str) -> None:
    """One attack at a time; what was sent is shown as text, nothing of it becomes part of the page."""
    for attack, words in ATTACKS.items():
        page.goto(f"{app}/?{attack}")
        page.get_by_text(words).first.wait_for()
        assert page.locator("[onerror]").count() == 0
        assert page.get_by_text("Traceback").count() == 0


def test_a_large_file_is_refused_in_the_browser(page, app: str, tmp_path: Path) -> None:
    """100 MB, beside the limit."""
    large = tmp_path / "config.json"
    with large.open("wb") as file:
        file.truncate(100_000_000)
    page.goto(app)
    page.get_by_role("button", name="Open a model or a scenario").click()
    page.locator("input[type=file]").set_input_files(str(large))
    page.get_by_text("100.0MB").wait_for()
    assert page.get_by_text("at most 1 MB").count() == 1
    assert page.get_by_text("Traceback").count() == 0


def test_a_step_that_takes_long_can_be_stopped(page, app: str) -> None:
    """By our own button; that of Streamlit, which would leave half a page, is not there."""
    page.goto(f"{app}/?{SLOW}")
    stop = page.get_by_role("button", name="Stop", exact=True)
    stop.wait_for()
    stop.click()
    page.get_by_text("Stopped. Change a setting, or reload the page, to go on.").wait_for()
    stop.wait_for(state="detached")
    assert page.get_by_text("simulating").count() == 0
