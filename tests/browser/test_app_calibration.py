"""A walk through the page Calibration: parts and their laws, a log of one's own fabric, its fit, two parts."""

import json
import re

import pytest

from tests.browser.walk import downloaded, settled, table
from tests.nccl_log import nccl_log

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_a_walk_through_calibration(page, app) -> None:
    page.goto(f"{app}/calibration")
    settled(page)
    page.get_by_text("calibrate show h100-80gb-sxm").wait_for()
    page.get_by_role("combobox", name="Part").fill("nvlink4")
    page.get_by_role("option", name="nvlink4", exact=True).click()
    page.get_by_text("calibrate show nvlink4").wait_for()
    settled(page)
    page.get_by_role("combobox", name="Operation").fill("nccl node")
    page.get_by_role("option", name="nccl node", exact=True).click()
    page.wait_for_url(re.compile("operation="))
    page.get_by_role("radio", name="time").click()
    page.wait_for_url(re.compile("(?=.*operation=)(?=.*fits_draw=time)"))
    settled(page)
    page.goto(page.url)
    settled(page)
    page.get_by_text("1,064 points").wait_for()

    page.get_by_role("radio", name="Two side by side").click()
    page.get_by_text("faster attention decode bf16 on h200-sxm").wait_for()
    settled(page)

    page.get_by_role("radio", name="Your measurements").click()
    page.get_by_role("textbox", name="Fabric").fill("ib-ndr400x8")
    page.get_by_role("textbox", name="Fabric").press("Enter")
    log = {"name": "all_reduce.log", "mimeType": "text/plain", "buffer": nccl_log(1.25)}
    page.locator("input[type=file]").set_input_files(log)
    page.get_by_text("25 % slower all-reduce between nodes above 16 MiB").wait_for()
    settled(page)
    assert json.loads(downloaded(page, "Score (JSON)"))["rows"] == 21
    assert len(table(downloaded(page, "Samples (CSV)"))) == 21
    page.get_by_text("Fit the laws to these points").click()
    page.get_by_role("button", name="Fits: ib-ndr400.yaml").wait_for()
    settled(page)
    assert b"part: ib-ndr400" in downloaded(page, "Fits: ib-ndr400.yaml")
    page.locator("input[type=file]").set_input_files({**log, "buffer": b"{" * 1000})
    page.get_by_text("upload.log").wait_for()
