"""The tour as a reader walks it: on and back, a question that turns a control, a link that restores it."""

import re

import pytest

from tests.browser.walk import RESTS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

FINDING = "document.querySelector('[data-testid=stAlert]')?.innerText"
AT_STEP = f"""number => {RESTS} && {FINDING}
    && [...document.querySelectorAll('h3')].some(one => one.innerText.startsWith(number + '. '))"""


def at_step(page, number: int) -> str:
    page.wait_for_function(AT_STEP, arg=number)
    return page.evaluate(FINDING)


def found(page, words: str) -> None:
    page.wait_for_function(f"words => {RESTS} && {FINDING}?.includes(words)", arg=words)


def test_every_step_is_reached_with_next_and_its_question_changes_what_is_found(page, app) -> None:
    page.goto(f"{app}/learn")
    for number in range(1, 11):
        before = at_step(page, number)
        if number != 9:  # the largest: its runs are walked over once
            page.get_by_test_id("stMain").get_by_role("button", name=re.compile(r"\?$")).click()
            page.wait_for_function(f"before => {RESTS} && {FINDING} !== before", arg=before)
        onward = page.get_by_role("button", name="Next", exact=True)
        assert onward.is_disabled() == (number == 10)
        if number < 10:
            onward.press("Enter")


def test_a_link_restores_step_and_controls(page, app) -> None:
    """64 microbatches over 4 stages: 3 / 67 = 4.5 %."""
    page.goto(f"{app}/learn?step=4&pipe_microbatches=64")
    at_step(page, 4)
    found(page, "(4 - 1) / (64 + 4 - 1) = 4.5 %")
    page.get_by_role("radio", name="8", exact=True).nth(1).click()  # the first is the eighth step
    found(page, "(8 - 1) / (64 + 8 - 1) = 9.9 %")
    assert "pipe_stages=8" in page.url
    onward = page.get_by_role("link", name="Open this pipeline in the Bubble lab")
    assert "/bubbles?stages=8&microbatches=64" in (onward.get_attribute("href") or "")
