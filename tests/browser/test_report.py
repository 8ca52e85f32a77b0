"""The page in a real browser: drawn at once, at 1,280 and 420 pixels, light and dark, usable by key and by wheel."""

import re

import numpy as np
import pytest

import topologies
from sim import models
from sim.memory import HOLDINGS, MemoryOverTime
from sim.plan import Plan
from sim.reports import html, slices
from sim.timeline import Label, Timeline, Track

COMMAND = "shardsim train gpt-1t dgx-a100 --gpus 512 --tp 8 --pp 64 --global-batch 512 --recompute full"
LABELS = (Label(name="bubble", category="bubble"), Label(name="layers", category="compute"))

pytestmark = pytest.mark.browser


def pipeline(num_ranks, num_microbatches, with_bubble=False):
    """Ranks begin one after another, then take turns: F 1 s, B 2 s; two spans a microbatch; the first F may be none."""
    turn = np.arange(num_microbatches * 2)
    start = np.tile(turn // 2 * 3.0 + turn % 2, num_ranks) + np.repeat(np.arange(num_ranks), len(turn))
    kind = np.tile(turn % 2, num_ranks)
    rank = np.repeat(np.arange(num_ranks), len(turn))
    return Timeline(
        tracks=tuple(Track(rank=8 * r, stream="compute", ranks_folded=8) for r in range(num_ranks)),
        labels=LABELS,
        track=rank.astype(np.int32),
        label=(np.tile(turn, num_ranks) >= with_bubble).astype(np.int32),
        kind=kind.astype(np.int8),
        stage=rank.astype(np.int32),
        microbatch=np.tile(turn // 2, num_ranks).astype(np.int32),
        start=start,
        end=start + 1 + kind,
        duration=float(start.max() + 2),
    )


def over_time(rank):
    """10 GB of weights, up to 20 GB of activations."""
    nbytes = np.zeros((5, len(HOLDINGS)))
    nbytes[:, HOLDINGS.index("weights")] = 1e10
    nbytes[1:4, HOLDINGS.index("activations")] = 1e10, 2e10, 1e10
    return MemoryOverTime(rank=rank, times=np.arange(5.0), nbytes=nbytes)


class Report:
    """What html.render reads of a sim.training.TrainingReport."""

    def __init__(self, timeline, num_ranks):
        shares = {"compute": 0.8, "exposed_pp": 0.05, "bubble": 0.15}
        self.timeline = timeline
        self.scenario = {"model": "gpt-1t", "cluster": "dgx-a100", "gpus": 512, "plan": {"tp": 8, "pp": num_ranks}}
        self.model = models.load("gpt-1t")
        self.cluster = topologies.load("dgx-a100", 8 * num_ranks)
        self.plan = Plan(
            tp=8, sp=True, pp=num_ranks, vpp=1, dp=1, zero=1, recompute="full", schedule="1f1b", micro_batch=1,
            global_batch=512,
        )  # fmt: skip
        self.command = COMMAND
        figures = ("tokens_per_s", "tokens_per_s_per_gpu", "model_tflops_per_gpu", "hardware_tflops_per_gpu")
        self.result = dict.fromkeys(figures, 123456.7) | {
            "step_time_s": timeline.duration,
            "mfu": 0.5,
            "hfu": 0.6,
            "mfu_causal": 0.4,
            "breakdown": shares,
            "peak_memory_gib": [30.0] * num_ranks,
            "peak_reserved_gib": [33.0] * num_ranks,
            "fits": True,
        }
        self.memory = ({"weights": 1e10, "activations": 2e10},) * num_ranks
        self.memory_capacity_gib = (74.5,) * num_ranks
        self.rank_busy = (shares,) * num_ranks
        self.critical_path = (("F on rank 0, " + "a long name " * 12, 1.0),)
        self.memory_over_time = tuple(over_time(rank) for rank in range(num_ranks))
        self.notes = ("A source with an address: " + "x" * 200,)


@pytest.fixture
def open_page(browser, tmp_path):
    contexts = []

    def opened(num_ranks=4, num_microbatches=8, width=1280, scheme="light", with_bubble=False):
        path = tmp_path / "report.html"
        timeline = pipeline(num_ranks, num_microbatches, with_bubble)
        path.write_text(html.render(Report(timeline, num_ranks)), encoding="utf-8")
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda request: page.complaints.append(request.url) if "http" in request.url[:5] else None)
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()


def colors(page):
    """The set of opaque colours on the canvas, as #rrggbb."""
    return set(
        page.evaluate(
            """() => {
              const canvas = document.querySelector("#timeline canvas");
              const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
              const seen = new Set();
              for (let i = 0; i < data.length; i += 4) if (data[i + 3] === 255)
                seen.add("#" + [0, 1, 2].map((c) => data[i + c].toString(16).padStart(2, "0")).join(""));
              return [...seen];
            }"""
        )
    )


def middle_of(page, rank, time):
    """Where on the page a rank's compute stream is at a time (four ranks, rows of 28 pixels, 3 between them)."""
    box = page.locator("#timeline canvas").bounding_box()
    gutter = 118 if box["width"] >= 560 else 58
    duration = page.evaluate("timeline.view.to")
    return box["x"] + gutter + time / duration * (box["width"] - gutter), box["y"] + 24 + 3 + 31 * rank + 14


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 420])
def test_page_fits_its_window_and_draws_both_kinds(open_page, width, scheme):
    page = open_page(width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert {"#0072b2", "#e69f00"} <= colors(page)
    assert page.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 420])
def test_memory_over_the_step_is_drawn_with_its_letters_inside(open_page, width, scheme):
    """Four ranks, of which all are shown; each picture is as wide as its place, and its letters lie within it."""
    page = open_page(width=width, scheme=scheme)
    drawn = page.locator(".drawn")
    assert drawn.count() == 4
    for index in range(4):
        frame, svg = drawn.nth(index).bounding_box(), drawn.nth(index).locator("svg").bounding_box()
        assert svg["width"] == pytest.approx(frame["width"])
        assert svg["height"] > 100
        letters = drawn.nth(index).locator("b")
        assert letters.all_inner_texts() == ["W", "A"]
        for letter in letters.all():
            box = letter.bounding_box()
            assert frame["x"] <= box["x"] <= frame["x"] + frame["width"] - box["width"]
            assert frame["y"] <= box["y"] <= frame["y"] + frame["height"] - box["height"]
    assert page.complaints == []


@pytest.mark.parametrize("width", [1280, 420])
def test_the_cluster_is_drawn_and_nothing_of_it_is_cut_off(open_page, width):
    """Four nodes of eight GPUs; neither numbers nor labels are wider than what they stand in."""
    page = open_page(width=width)
    gpus = page.locator("#cluster .node .gpu")
    assert gpus.count() == 32
    assert gpus.nth(13).get_attribute("title") == "GPU 13: node 1, slot 5, tp 5, dp 0, pp 1"
    assert gpus.nth(13).inner_text().split() == ["1", "13"]
    parts = "#cluster .gpu, #cluster .group, #cluster .shared, #cluster .joint"
    cut_off = f"[...document.querySelectorAll('{parts}')].filter((e) => e.scrollWidth > e.clientWidth).length"
    assert page.evaluate(cut_off) == 0
    assert page.complaints == []


def test_a_large_cluster_is_drawn_in_part(open_page):
    page = open_page(num_ranks=64)
    assert page.locator("#cluster .node .gpu").count() == 64
    assert page.locator("#cluster .gap").inner_text() == "56 more: nodes 6 to 61, pipeline ranks 6 to 61"


def press_copy(page, clipboard):
    """Press the button by key, with a clipboard of ours; returns what the page says then."""
    page.evaluate(f"() => {{ navigator.clipboard.writeText = (text) => {clipboard}; }}")
    page.locator("#copy").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.getElementById('copied').textContent !== ''")
    return page.locator("#copied").inner_text()


def test_the_command_is_copied_by_key(open_page):
    page = open_page()
    assert press_copy(page, "{ window.copied = text; return Promise.resolve(); }") == "copied"
    assert page.evaluate("copied") == COMMAND


def test_where_the_clipboard_is_denied_the_command_is_selected(open_page):
    page = open_page()
    press_copy(page, "Promise.reject()")
    assert page.evaluate("String(getSelection())") == COMMAND


def test_every_table_has_headers_and_every_bar_and_row_has_words(open_page):
    page = open_page()
    assert page.locator("table").count() == page.locator("table:has(thead th[scope=col])").count() == 3
    unnamed = "[...document.querySelectorAll('[role=img]')].filter((e) => !e.ariaLabel).length"
    assert page.evaluate(unnamed) == 0
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.locator("#cluster .slots").first.get_attribute("aria-label") == (
        "tensor-parallel group of GPUs 0 to 7: replica dp 0, pipeline rank 0"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_timeline_shows_the_bubble_in_the_colour_of_its_legend(open_page, scheme):
    page = open_page(scheme=scheme, with_bubble=True)
    swatch = page.locator(".sst-key", has_text="bubble").locator("b")
    color = swatch.evaluate("(one) => getComputedStyle(one).backgroundColor")
    assert "#" + "".join(f"{int(channel):02x}" for channel in re.findall(r"\d+", color)) in colors(page)


def test_dark_and_light_differ(open_page):
    background = "getComputedStyle(document.body).backgroundColor"
    assert open_page(scheme="light").evaluate(background) != open_page(scheme="dark").evaluate(background)


def test_a_hundred_thousand_slices_are_drawn_in_less_than_four_seconds(open_page):
    """50 ranks of 1,000 microbatches; from opening the file to the picture, and every later picture in a fraction."""
    page = open_page(num_ranks=50, num_microbatches=1000)
    drawn = page.evaluate("performance.now()")
    assert (
        page.evaluate("JSON.parse(document.getElementById('timeline-data').textContent).columns.start.length")
        == 100_000
    )
    assert drawn < 4000
    assert page.evaluate("timeline.draw()") < 1000
    assert {"#0072b2", "#e69f00"} <= colors(page)


def test_every_row_shows_something_however_many_slices_it_holds(open_page):
    """Slices far below a pixel are added up, not dropped: the middle of each of 8 rows is coloured."""
    page = open_page(num_ranks=8, num_microbatches=6000)
    filled = page.evaluate(
        """() => {
          const canvas = document.querySelector("#timeline canvas"), paint = canvas.getContext("2d");
          const column = paint.getImageData(canvas.width / 2, 0, 1, canvas.height).data, seen = [];
          for (let i = 0; i < column.length; i += 4) seen.push([column[i], column[i + 1], column[i + 2]].join());
          return seen.filter((color, i) => color === "0,114,178" && seen[i - 1] !== color).length;
        }"""
    )
    assert filled == 8


def test_hovering_a_slice_tells_what_it_is(open_page):
    """Rank 16 begins 2 s late; its first backward runs from 3 s to 5 s of a step of 3 + 22 + 2 = 27 s."""
    page = open_page()
    page.mouse.move(*middle_of(page, rank=2, time=4))
    tip = page.locator("#timeline [role=tooltip]").inner_text()
    assert tip.splitlines()[:5] == ["layers", "backward", "rank 16, compute (as on 8 ranks)", "stage 2", "microbatch 0"]
    assert "starts at 3.000 s" in tip
    assert "takes 2.000 s" in tip
    assert "7.4 % of the step" in tip
    page.mouse.move(5, 5)
    assert page.locator("#timeline [role=tooltip]").is_hidden()


def test_keys_zoom_move_and_reset(open_page):
    page = open_page()
    whole = page.evaluate("({...timeline.view})")
    page.locator("#timeline canvas").focus()
    page.keyboard.press("+")
    near = page.evaluate("({...timeline.view})")
    assert near["to"] - near["from"] == pytest.approx(0.7 * (whole["to"] - whole["from"]))
    page.keyboard.press("ArrowRight")
    assert page.evaluate("timeline.view.from") > near["from"]
    page.keyboard.press("0")
    assert page.evaluate("({...timeline.view})") == whole


def test_wheel_zooms_about_the_pointer_once_the_timeline_has_the_focus(open_page):
    page = open_page()
    page.mouse.move(*middle_of(page, rank=0, time=7))
    page.mouse.wheel(0, 0)
    before = page.evaluate("timeline.view.to")
    page.mouse.wheel(0, -100)
    page.wait_for_timeout(100)
    assert page.evaluate("timeline.view.to") == before
    page.evaluate("scrollTo(0, 0)")
    x, y = middle_of(page, rank=0, time=7)
    page.mouse.click(x, y)
    page.mouse.wheel(0, -300)
    page.wait_for_function("timeline.view.to < 25")
    view = page.evaluate("timeline.view")
    assert view["from"] < 7 < view["to"]


def test_dragging_moves_the_view_and_never_beyond_the_step(open_page):
    page = open_page()
    page.evaluate("timeline.show(10, 15)")
    x, y = middle_of(page, rank=0, time=8)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 100, y)
    moved = page.evaluate("timeline.view.from")
    page.mouse.move(x + 5000, y)
    page.mouse.up()
    assert moved > 10
    assert page.evaluate("timeline.view.from") >= 0


def test_the_timeline_can_be_reached_by_key_and_has_a_name(open_page):
    canvas = open_page().locator("#timeline canvas")
    assert canvas.get_attribute("tabindex") == "0"
    assert "64 slices on 4 streams" in canvas.get_attribute("aria-label")


def test_tall_rows_make_room_for_letters(open_page):
    page = open_page(num_ranks=64)
    low = page.evaluate("document.querySelector('.sst-scroll').scrollHeight")
    page.get_by_role("button", name="Tall rows").click()
    page.wait_for_function(f"document.querySelector('.sst-scroll').scrollHeight > {2 * low}")


def test_a_page_with_too_much_says_what_it_leaves_out(open_page):
    page = open_page(num_ranks=50, num_microbatches=slices.MOST_SPANS // 100 + 10)
    assert "Shown are the first 100,000 spans" in page.locator(".note").inner_text()
