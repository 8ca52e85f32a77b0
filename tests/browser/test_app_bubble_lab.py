"""A walk through the Bubble lab: every control changes the picture, the clock runs and steps, a link brings it back,
and what is given away can be read."""

import json
from pathlib import Path

import pytest

from sim.schedules import SCHEDULES
from sim.schedules.exchange import load
from tests.browser import walk

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

TEXT = "window.pipelines.element.querySelector('.ssp-panels').textContent"


def figures(page) -> str:
    """What stands above the pictures."""
    return page.evaluate(TEXT)


def changed(page, before: str) -> str:
    page.wait_for_function(f"before => {TEXT} !== before", arg=before)
    return figures(page)


def opened(page, app: str, query: str) -> None:
    page.goto(f"{app}/bubbles{query}")
    page.locator(".ssp canvas").first.wait_for()


def test_every_control_changes_the_pictures_and_a_link_brings_them_back(page, app) -> None:
    opened(page, app, "")
    shown = figures(page)
    assert "bubble 27.3 %" in shown
    for label, value in (("Stages p", "5"), ("Microbatches m", "10"), ("Chunks v", "3")):
        fill(page, label, value)
        shown = changed(page, shown)
    assert "dualpipe needs an even number of stages" in shown
    for label in ("Forward F", "Input grad. I", "Weight grad. W", "Message"):
        page.get_by_role("slider", name=label).press("ArrowRight")
        shown = changed(page, shown)
    page.get_by_role("button", name="naive").click()
    shown = changed(page, shown)
    opened(page, app, page.url.removeprefix(f"{app}/bubbles"))
    assert figures(page) == shown
    fill(page, "Microbatches m", "100000")
    page.get_by_text("too many to draw").wait_for()


def test_the_clock_runs_stands_and_steps_and_what_is_given_away_can_be_read(page, app, tmp_path: Path) -> None:
    """1f1b of 2 ranks and 2 microbatches: 10 ms, 20 ms and so on are its moments, 90 ms its end."""
    page.emulate_media(reduced_motion="no-preference")
    opened(page, app, "?stages=2&microbatches=2&schedules=1f1b")
    time = page.locator(".ssp-time")
    assert time.inner_text() == "90 ms, whole step"
    page.locator(".ssp-play").click()
    page.wait_for_function("window.pipelines.clock.time > 0.05")
    page.locator(".ssp-play").click()
    page.get_by_label("Time", exact=True).press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert time.inner_text() == "20 ms of 90 ms"
    assert page.locator(".ssp-live").inner_text() == "at 20 ms; ranks at work: 1f1b 1 of 2"
    page.keyboard.press("End")
    assert time.inner_text() == "90 ms, whole step"

    (tmp_path / "1f1b.csv").write_bytes(walk.downloaded(page, "Schedule 1f1b (CSV)"))
    assert load(tmp_path / "1f1b.csv") == SCHEDULES["1f1b"](2, 1, 2)
    (row,) = walk.table(walk.downloaded(page, "Figures (CSV)"))
    (content,) = json.loads(walk.downloaded(page, "Figures (JSON)"))["schedules"]
    assert float(row["step_time_s"]) == content["step_time_s"] == pytest.approx(0.09)
    page.get_by_text("--schedule 1f1b").wait_for()


def test_who_wants_no_motion_sees_moment_after_moment(page, app) -> None:
    opened(page, app, "?stages=2&microbatches=2&schedules=1f1b")
    page.locator(".ssp-play").click()
    page.wait_for_function("window.pipelines.clock.time > 0")
    assert page.locator(".ssp-time").inner_text() == "10 ms of 90 ms"


def fill(page, label: str, value: str) -> None:
    page.get_by_role("spinbutton", name=label).fill(value)
    page.keyboard.press("Enter")
