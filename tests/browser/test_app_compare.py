"""A walk through the page Compare: the examples, another pair, other hardware, a link, the files."""

import io
import json
import re
import zipfile

import pytest

from tests.browser.walk import changed, downloaded, opened, settled, table

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

OWN = """\
# Own <b>bold</b>
kind: training
model: llama3-8b
cluster: dgx-h100
gpus: 8
plan: {tp: 4}
batch: {global: 8}
"""


def test_a_walk_through_compare(page, app, tmp_path) -> None:
    page.goto(f"{app}/compare")
    settled(page)
    verdict = page.get_by_text("times as long as A")
    assert "B is faster" in verdict.inner_text()
    page.get_by_role("listitem", name="bubble: -").wait_for()
    data = json.loads(downloaded(page, "JSON"))
    assert f"{data['ratio']:.3f}" in verdict.inner_text()
    assert len(table(downloaded(page, "CSV"))) == len(data["waterfall"])
    assert downloaded(page, "Report (HTML)").startswith(b"<!doctype html>")
    assert len(zipfile.ZipFile(io.BytesIO(downloaded(page, "Download the basket"))).namelist()) == 2

    (tmp_path / "own.yaml").write_text(OWN)
    page.get_by_role("button", name="Upload scenarios").click()
    page.locator("input[type=file]").set_input_files(tmp_path / "own.yaml")
    page.get_by_text("Add a second scenario").wait_for()
    page.locator("input[type=file]").set_input_files(
        {"name": "bad.yaml", "mimeType": "text/yaml", "buffer": b"model: !!python/name:os.system"}
    )
    page.get_by_text("YAML tags such as !name are not read").wait_for()
    page.keyboard.press("Escape")
    page.wait_for_url(re.compile("basket="))

    page.get_by_text("Other hardware").click()
    before = changed(page, "")
    page.get_by_role("slider", name="peak FLOP/s").press("ArrowRight")
    after = changed(page, before)
    settled(page)
    rows = table(downloaded(page, "CSV"))
    assert {row["factor"] for row in rows} == {"0.5", "2.0"}

    assert opened(page, page.url) == after
    assert page.get_by_role("combobox", name="The step of").input_value() == "Own <b>bold</b>"
