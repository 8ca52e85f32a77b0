"""The page of `calibrate verify`, in a real browser: every block drawn, on wide and narrow screens."""

import pytest

from calibrate.verification.page import render
from tests.verified import LAYER, PIPELINE, verification

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("verify") / "verify.html"
    path.write_text(render(verification(LAYER, PIPELINE)), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser, file):
    pages = []

    def open_page(width=1280, scheme="light"):
        pages.append(browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme))
        pages[-1].complaints = []
        pages[-1].on("pageerror", lambda error: pages[-1].complaints.append(str(error)))
        pages[-1].goto(file.as_uri())
        return pages[-1]

    yield open_page
    for page in pages:
        assert page.complaints == []
        page.close()


def test_every_block_is_drawn_from_zero_to_the_end_of_its_longer_timeline(opened):
    page = opened()
    assert page.locator("canvas").count() == 2
    ends = page.evaluate("timelines.map((one) => one.view.to)")
    durations = page.evaluate(
        "[...document.querySelectorAll('.timeline + p + script')].map((e) => JSON.parse(e.text).duration)"
    )
    assert ends == pytest.approx(durations)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 420])
def test_nothing_is_wider_than_the_screen(opened, width, scheme):
    page = opened(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_table_leads_to_the_timelines(opened):
    page = opened()
    page.get_by_role("link", name=PIPELINE).click()
    assert page.evaluate("location.hash") == "#pipeline-1f1b"
    assert page.locator("#pipeline-1f1b canvas").is_visible()


def test_a_slice_says_whether_it_is_real(opened):
    page = opened()
    canvas = page.locator("#pipeline-1f1b canvas")
    canvas.focus()
    page.keyboard.press("Enter")
    assert "rank 0 real" in page.locator("#pipeline-1f1b [role=status]").inner_text()
