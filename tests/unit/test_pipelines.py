"""Bare pipelines: what a chunk takes, what is refused, the formula in numbers, and what a page draws of them."""

import numpy as np
import pytest

from sim.pipelines import chunks_of, held, measured, pipeline, play, published
from sim.reports.panels import SHOWN, panels_data
from sim.schedules import SCHEDULES
from sim.schedules.closed_forms import CLOSED_FORMS, PassTimes, symbols_of, unmet, value_of, with_numbers
from sim.timeline import picture
from topologies.document import InputError

TIMES = PassTimes(forward=0.01, input_gradient=0.01, weight_gradient=0.01)
SLOW = PassTimes(forward=0.01, input_gradient=0.01, weight_gradient=0.01, message=0.005)


def test_a_step_of_1f1b_is_what_the_textbook_draws() -> None:
    """(m + p - 1)(F + B) = (3 + 1) x 30 ms; a character is 10 ms."""
    timeline = play(pipeline("1f1b", 2, 1, 3), TIMES)
    assert timeline.duration == pytest.approx(0.12)
    assert picture(timeline, width=12).splitlines() == ["rank   0 | FF..BBFBB.BB", "rank   1 | .FBBFBBFBB.."]


def test_each_chunk_takes_its_part_of_a_ranks_times() -> None:
    """So that all schedules do the same work: 4 microbatches x 30 ms on each of 2 ranks."""
    for name in SCHEDULES:
        schedule = pipeline(name, 2, 2, 4)
        one = measured(name, schedule, TIMES)
        assert chunks_of(name, 2) == schedule.model_stages // 2
        assert one.seconds * (1 - one.bubble) == pytest.approx(0.12)


def test_every_schedule_has_a_closed_form_and_an_idea() -> None:
    assert list(CLOSED_FORMS) == list(SCHEDULES)


def test_a_formula_is_shown_with_its_numbers() -> None:
    symbols = symbols_of(4, 2, 8, PassTimes(forward=10, input_gradient=12, weight_gradient=8))
    assert with_numbers("max(0, (p - 1) × (F + B) / v)", symbols) == "max(0, (4 - 1) × (10 + 20) / 2)"
    assert value_of("max(0, (p - 1) × (F + B) / v)", symbols) == 45
    assert value_of("(p + 2) div 2 + p mod 3 + 2 × (p mod 3 = 1)", symbols) == 3 + 1 + 2
    assert value_of("F&B", symbols) == 30
    assert unmet(CLOSED_FORMS["zb-v"], symbols) == ("F = I = W",)
    assert unmet(CLOSED_FORMS["zb-h2"], symbols) == ()


def test_where_formula_and_play_differ_it_is_said_why() -> None:
    """Three microbatches are fewer than zb-h2 of 4 ranks is drawn for, and messages are in no formula."""
    one = measured("zb-h2", pipeline("zb-h2", 4, 1, 3), SLOW)
    said = published(one, SLOW)
    assert said.idle < one.idle
    assert said.bubble == "max(0, (4 - 1) × (10 + 10 - 2 × 10))"
    assert said.why == "messages, of which the formula knows nothing, take time; the formula is for m ≥ 2 × p - 1"


def test_stages_of_two_models_count_whole() -> None:
    """dualpipe of 4 ranks holds p + 1 microbatches of its stages, dualpipev of 2 p + 1/2 of its two chunks."""
    assert held(pipeline("dualpipe", 4, 1, 8)) == (5.0,) * 4
    assert held(pipeline("dualpipev", 2, 1, 8)) == (2.5,) * 2


@pytest.mark.parametrize(("stages", "microbatches"), [(100, 512), (10**9, 10**9)])
def test_what_nobody_could_draw_is_refused_at_once(stages: int, microbatches: int) -> None:
    with pytest.raises(InputError, match="too many to draw; at most 12,000: use fewer microbatches"):
        pipeline("1f1b", stages, 1, microbatches)


def test_a_panel_has_the_passes_and_the_waits_for_messages_and_no_bubble() -> None:
    """gpipe on two ranks: 3 forwards and backwards each; rank 1 waits for the first message, rank 0 for each that
    comes back while it has nothing else to do."""
    data = panels_data([measured("gpipe", pipeline("gpipe", 2, 1, 3), SLOW)], {"naive": "<b>no</b>"})
    columns = data["columns"]
    assert isinstance(columns, dict)
    kinds = [SHOWN[kind] for kind in columns["kind"]]
    assert {key: kinds.count(key) for key in SHOWN} == {"F": 6, "B": 6, "I": 0, "W": 0, "pp": 2, "bubble": 0}
    assert np.all(columns["end"] > columns["start"])
    panels = data["panels"]
    assert isinstance(panels, list)
    assert panels[0]["held"] == [3.0, 3.0]
    assert [fact["text"] for fact in panels[0]["facts"]] == ["130 ms", "bubble 26.9 %", "holds 3"]
    assert panels[1] == {"name": "naive", "idea": "one microbatch at a time", "why": "<b>no</b>"}
