"""A walk through the Communication lab: each control changes the figures, a link restores them, files can be read."""

import pytest

from tests.browser import walk
from tests.unit.test_importers_nccl_tests import log

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

FIGURES = "() => [...document.querySelectorAll('[data-testid=stMetric]')].map(one => one.innerText).join('|')"
IDLE = "document.querySelector('[data-test-script-state=notRunning]')"
CHANGED = f"before => {{ const now = ({FIGURES})(); return {IDLE} && now && now !== before; }}"
CHART = "[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg"


def opened(page, app: str, query: str = "") -> str:
    page.goto(f"{app}/links{query}")
    page.locator(CHART).first.wait_for()
    page.wait_for_function(IDLE)
    return page.evaluate(FIGURES)


def changed(page, before: str) -> str:
    page.wait_for_function(CHANGED, arg=before)
    return page.evaluate(FIGURES)


def choose(page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()


def downloaded(page, name: str) -> list[dict[str, str]]:
    return walk.table(walk.downloaded(page, name))


def test_a_collective_by_size(page, app, tmp_path) -> None:
    shown = opened(page, app)
    assert "NVLSTree Simple" in shown
    page.get_by_role("slider", name="GPUs").press("ArrowRight")
    shown = changed(page, shown)
    page.get_by_role("slider", name="Message").press("ArrowRight")
    shown = changed(page, shown)
    for label, option in (("GPUs lie", "one to a node: a rail"), ("Operation", "all-gather"), ("NCCL", "2.20")):
        choose(page, label, option)
        shown = changed(page, shown)
    choose(page, "Go where somebody measured", "16 × a100-80gb-sxm, 2 nodes, efa-100")
    shown = changed(page, shown)
    page.get_by_text("Of 15 published points").wait_for()
    assert "on=aws-p4de" in page.url
    assert {row["taken"] for row in downloaded(page, "Curves (CSV)")} == {"true", "false"}
    assert len(downloaded(page, "Measured points (CSV)")) == 15
    assert opened(page, app, page.url.removeprefix(f"{app}/links")) == shown
    file = tmp_path / "nccl.log"
    file.write_text(log(hosts=2))
    page.get_by_role("button", name="Your own measurements").click()
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_text("Your log measured something else").wait_for()


def test_tensor_parallelism_and_contention(page, app) -> None:
    opened(page, app, "?lab=Tensor+parallelism&layer=llama3-70b")
    page.get_by_text("With tp = 8 inside a node").wait_for()
    page.get_by_text("Not possible: tp = 16, 32, 64.").wait_for()
    assert {row["placement"] for row in downloaded(page, "Table (CSV)")} == {"side by side", "one to a node"}
    page.get_by_role("tab", name="Contention").click()
    page.get_by_text("Busiest wire").wait_for()
    shown = page.evaluate(FIGURES)
    assert "NIC 0 of node 0" in shown
    for name, key in (("Groups at once", "Left"), ("Message of each", "Left"), ("NICs of a node", "Right")):
        page.get_by_role("slider", name=name).press(f"Arrow{key}")
        shown = changed(page, shown)
    page.get_by_role("radio", name="The way to the spine").click()
    shown = changed(page, shown)
    page.get_by_role("slider", name="Taken by others").press("ArrowRight")
    shown = changed(page, shown)
    assert len(downloaded(page, "Times (CSV)")) == 3
    assert opened(page, app, page.url.removeprefix(f"{app}/links")) == shown
