"""The canvas by itself, as any page may show it: quick with many slices, and told apart by eye, by key and by ear."""

from collections import Counter
from importlib.resources import files

import numpy as np
import orjson
import pytest

from sim.reports.slices import canvas_data, cut
from sim.timeline import Label, Timeline, Track

BLUE, ORANGE, PURPLE = "#0072b2", "#e69f00", "#cc79a7"
AXIS, GUTTER = 26, 118
LABELS = (
    Label(name="bubble", category="bubble"),
    Label(name="layers", category="compute"),
    Label(name="qkv gather", category="exposed_tp", operation="all_gather", group="tp", nbytes=2.0**20),
)
BUBBLE, LAYERS, GATHER = range(3)
F, B = range(2)

pytestmark = pytest.mark.browser


def timeline_of(rows, num_ranks):
    """Rows of rank, label, kind, microbatch, start, end, in order."""
    rank, label, kind, microbatch, start, end = np.array(rows, dtype=float).reshape(-1, 6).T
    return Timeline(
        tracks=tuple(Track(rank=8 * r, stream="compute", ranks_folded=8) for r in range(num_ranks)),
        labels=LABELS,
        track=rank.astype(np.int32),
        label=label.astype(np.int32),
        kind=kind.astype(np.int8),
        stage=rank.astype(np.int32),
        microbatch=microbatch.astype(np.int32),
        start=start,
        end=end,
        duration=float(end.max()),
    )


def steady(num_ranks, num_microbatches):
    """Every rank takes turns from the first to the last moment: F 1 s, B 2 s."""
    return timeline_of(
        [
            (rank, LAYERS, kind, m, 3 * m + kind, 3 * m + 1 + 2 * kind)
            for rank in range(num_ranks)
            for m in range(num_microbatches)
            for kind in (F, B)
        ],
        num_ranks,
    )


def kernels():
    """Two microbatches of forward, 0 to 100 s and 100 to 200 s, each of 100 kernels with a collective after each one;
    then the rank is idle."""
    rows = [
        (0, label, F, kernel // 100, kernel + begin, kernel + end)
        for kernel in range(200)
        for label, begin, end in ((LAYERS, 0, 0.75), (GATHER, 0.75, 1))
    ]
    return timeline_of([*rows, (0, BUBBLE, -1, -1, 200, 400)], 1)


@pytest.fixture
def shown(browser, tmp_path):
    """A page with nothing but the timeline, as wide as the window."""
    contexts = []

    def show(timeline, width=1280, touch=False):
        data = orjson.dumps(canvas_data(cut(timeline)), option=orjson.OPT_SERIALIZE_NUMPY).decode()
        script = files("sim.reports").joinpath("assets", "timeline.js").read_text(encoding="utf-8")
        path = tmp_path / "timeline.html"
        path.write_text(
            '<!doctype html><body style="margin:0"><div id="timeline"></div>'
            f"<script>{script}</script><script>const data = {data};"
            'const timeline = ShardSimTimeline(document.getElementById("timeline"), data);</script>',
            encoding="utf-8",
        )
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, has_touch=touch))
        page = contexts[-1].new_page()
        page.complaints = []
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield show
    for context in contexts:
        assert all(page.complaints == [] for page in context.pages)
        context.close()


def column(page, x, row=0, height=28):
    """The colours of one column of pixels of a rank's row, from above, without repeats."""
    box = {"x": x, "y": AXIS + 3 + row * (height + 3), "height": height}
    seen = page.evaluate(
        """({x, y, height}) => {
          const paint = document.querySelector("canvas").getContext("2d");
          const data = paint.getImageData(x, y, 1, height).data, colors = [];
          for (let i = 0; i < data.length; i += 4)
            colors.push("#" + [0, 1, 2].map((c) => data[i + c].toString(16).padStart(2, "0")).join(""));
          return colors;
        }""",
        box,
    )
    return [color for index, color in enumerate(seen) if index == 0 or seen[index - 1] != color]


def view(page):
    return page.evaluate("({...timeline.view})")


def press(page, *keys):
    page.locator("canvas").focus()
    for key in keys:
        page.keyboard.press(key)


def top(page):
    """Where the canvas begins, below its legend."""
    return page.locator("canvas").bounding_box()["y"]


def said(page):
    return page.locator("[role=status]").inner_text()


def test_a_hundred_thousand_slices_are_drawn_anew_within_50_ms_at_every_zoom(shown):
    """50 ranks of 1,000 microbatches: the best of five pictures, since other work shares the machine."""
    page = shown(steady(50, 1000))
    assert page.evaluate("data.columns.start.length") == 100_000
    for zoom in (1, 3, 30, 300, 3000):
        times = page.evaluate(
            """(zoom) => {
              timeline.show(1000, 1000 + 3000 / zoom);
              return [1, 2, 3, 4, 5].map(() => timeline.draw());
            }""",
            zoom,
        )
        assert min(times) < 50, f"{zoom} times nearer: {times}"


def test_a_regular_schedule_looks_regular_however_far_away(shown):
    """A third of the time is forward, so a third of each column is, with no pattern that is not in the schedule; only
    the lines of the time axis, one pixel wide, cross it."""
    page = shown(steady(4, 5000))
    looks = Counter(tuple(column(page, x)) for x in range(GUTTER + 20, 1260, 7))
    assert looks[BLUE, ORANGE] >= 0.95 * looks.total()


def test_an_action_of_many_kernels_is_one_block_with_the_share_of_its_communication(shown):
    """Each kernel is 2 pixels wide, each action 290: blue above, purple for the last quarter, and a gap between two."""
    page = shown(kernels())
    per_second = (1280 - GUTTER) / 400
    assert column(page, GUTTER + 55 * per_second) == [BLUE, PURPLE]
    around = [column(page, x) for x in range(GUTTER + int(99 * per_second), GUTTER + int(101 * per_second) + 1)]
    assert any(PURPLE not in colors and BLUE not in colors for colors in around)


def test_buttons_lead_to_windows_in_which_actions_can_be_read(shown):
    """An action fills 28 pixels, so 1,162 pixels hold 41.5 actions of 1.5 s: the first 62 s, the last, and between."""
    page = shown(steady(4, 1000))
    for where, begin in {"start": 0, "middle": 1500 - 31.1, "end": 3000 - 62.25}.items():
        page.get_by_role("button", name=f"{where} of the step").click()
        assert view(page)["from"] == pytest.approx(begin, abs=1)
        assert view(page)["to"] - view(page)["from"] == pytest.approx(62.25, rel=0.01)
    page.get_by_role("button", name="whole step").click()
    assert view(page) == {"from": 0, "to": 3000}


def test_a_short_step_needs_no_close_up(shown):
    page = shown(steady(4, 8))
    assert page.get_by_role("button", name="middle of the step").is_hidden()
    assert page.get_by_role("button", name="whole step").is_visible()


def test_keys_go_from_slice_to_slice_and_each_is_said_aloud(shown):
    """At 12 s, the middle, the backward of microbatch 3 ends and the forward of microbatch 4 begins."""
    page = shown(steady(4, 8))
    press(page, "Enter")
    assert said(page).startswith(
        "layers, forward, rank 0, compute (as on 8 ranks), stage 0, microbatch 4, starts at 12"
    )
    press(page, "ArrowLeft")
    assert "backward" in said(page)
    assert "microbatch 3" in said(page)
    press(page, "ArrowDown")
    assert "rank 8" in said(page)
    assert page.locator("[role=tooltip]").inner_text().replace("\n", ", ") == said(page)
    press(page, "Escape")
    assert said(page) == ""
    assert page.locator("[role=tooltip]").is_hidden()


def test_a_slice_that_is_chosen_by_key_is_brought_into_view_and_wide_enough_to_see(shown):
    page = shown(steady(64, 500))
    press(page, "Enter", *["ArrowDown"] * 63)
    assert "rank 504" in said(page)
    now = view(page)
    assert now["from"] < 750 < now["to"]
    assert 2 / (now["to"] - now["from"]) * (1280 - GUTTER) > 8
    press(page, "End", "ArrowRight")
    assert view(page)["from"] < 754 < view(page)["to"]


def test_after_the_last_slice_and_the_last_row_nothing_comes(shown):
    page = shown(steady(1, 2))
    press(page, "Enter", *["ArrowRight"] * 9, "ArrowDown")
    assert "microbatch 1" in said(page)
    press(page, *["ArrowLeft"] * 9, "ArrowUp")
    assert "microbatch 0" in said(page)


def test_communication_says_how_many_bytes_it_moves(shown):
    page = shown(kernels())
    page.evaluate("timeline.show(0, 4)")
    press(page, "Enter", "ArrowRight")
    text = page.locator("[role=tooltip]").inner_text().splitlines()
    assert text[:2] == ["qkv gather", "exposed tensor-parallel communication"]
    assert "1 MiB" in text
    assert "takes 250.0 ms" in text


def test_a_bar_shows_which_part_of_the_step_is_in_view_and_moves_it(shown):
    page = shown(steady(4, 1000))
    page.evaluate("timeline.show(0, 300)")
    page.mouse.move(GUTTER + 10, top(page) + 2)
    page.mouse.down()
    page.mouse.move(GUTTER + (1280 - GUTTER) / 2, top(page) + 2)
    page.mouse.up()
    assert view(page)["from"] == pytest.approx(1350, abs=5)
    assert view(page)["to"] - view(page)["from"] == pytest.approx(300)


def test_two_fingers_zoom_about_the_point_between_them(shown):
    page = shown(steady(4, 100), width=420, touch=True)
    touch = page.context.new_cdp_session(page)

    def fingers(kind, *xs):
        points = [{"x": x, "y": top(page) + AXIS + 20, "id": finger} for finger, x in enumerate(xs)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", 200, 240)
    for far in range(0, 81, 20):
        fingers("touchMove", 200 - far, 240 + far)
    fingers("touchEnd")
    now = view(page)
    middle = (220 - 58) / (420 - 58) * 300
    assert now["to"] - now["from"] == pytest.approx(300 / 5, rel=0.1)
    assert now["from"] < middle < now["to"]


def test_a_tap_tells_what_a_slice_is(shown):
    page = shown(steady(4, 4), width=420, touch=True)
    page.touchscreen.tap(58 + 10, top(page) + AXIS + 3 + 14)
    assert said(page).startswith("layers, forward, rank 0")
    assert page.locator("[role=tooltip]").is_visible()


def test_letters_stand_on_blocks_that_have_room(shown):
    """A forward has room for its microbatch, a backward for its name too."""
    page = shown(steady(2, 8))
    written = page.evaluate(
        """() => {
          const paint = CanvasRenderingContext2D.prototype, write = paint.fillText, words = [];
          paint.fillText = function (text) { words.push(text); return write.apply(this, arguments); };
          timeline.draw();
          return words;
        }"""
    )
    assert {f"B{m} layers" for m in range(8)} | {f"F{m}" for m in range(8)} <= set(written)
