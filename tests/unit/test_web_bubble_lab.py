"""What the Bubble lab shows is what was played, and what it gives away is what the command line reads."""

import csv
import json
import shlex
from io import StringIO
from pathlib import Path

import pytest

from sim.schedules import SCHEDULES
from sim.schedules.closed_forms import PassTimes
from sim.schedules.exchange import load
from tests.command import Shardsim
from topologies.document import InputError
from web.answers.bubbles import as_csv, as_json, bubbles, schedule_file, trial
from web.answers.step import step

TIMES = PassTimes(forward=0.01, input_gradient=0.01, weight_gradient=0.01)


def test_all_schedules_of_the_first_screen_agree_with_what_is_published() -> None:
    shown = bubbles(tuple(SCHEDULES), 4, 8, 2, TIMES)
    assert [one.name for one in shown.figures] == list(SCHEDULES)
    assert {one.why for one in shown.figures} == {""}
    for one in shown.figures:
        assert one.idle_s == pytest.approx(one.formula_idle_s)
        assert one.held_most == one.held_formula_most


def test_what_cannot_be_made_of_the_numbers_says_why_in_stages_and_microbatches() -> None:
    shown = bubbles(("1f1b", "interleaved", "dualpipe"), 3, 8, 2, TIMES)
    assert [one.name for one in shown.figures] == ["1f1b"]
    assert shown.refused == {
        "interleaved": "schedule interleaved: groups of 3 leave 2 of 8 microbatches, fewer than 3 stages; make them "
        "6, 9, 12, ..., or use 1f1b",
        "dualpipe": "schedule dualpipe needs an even number of stages, not 3; use 4, or dualpipev",
    }


def test_where_nothing_can_be_made_the_first_reason_is_told() -> None:
    with pytest.raises(InputError, match="100 stages x 512 microbatches"):
        bubbles(tuple(SCHEDULES), 100, 512, 2, TIMES)


def test_the_figures_come_as_csv_and_json() -> None:
    shown = bubbles(("1f1b", "dualpipe"), 3, 8, 2, TIMES)
    (row,) = csv.DictReader(StringIO(as_csv(shown).decode()))
    content = json.loads(as_json(shown))
    assert row["held"] == "3 2 1"
    assert float(row["bubble_fraction"]) == content["schedules"][0]["bubble_fraction"] == pytest.approx(2 / 10)
    assert list(content["refused"]) == ["dualpipe"]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_that_is_downloaded_is_the_one_that_was_played(name: str, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(schedule_file(name, 4, 8, 2))
    chunks = 2 if name in ("interleaved", "looped", "zb-v", "v-half", "v-min", "dualpipev") else 1
    assert load(path) == SCHEDULES[name](4, chunks, 8)


def test_the_command_and_the_link_train_the_same(shardsim: Shardsim) -> None:
    command, text = trial("zb-v", 4, 8, 2)
    assert "--schedule zb-v --vpp 2" in command
    answer = shardsim(*shlex.split(command)[1:], "--format", "json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["step_time_s"] == step(text).result["step_time_s"]


def test_a_pipeline_of_more_stages_than_any_model_has_layers_is_told_so() -> None:
    with pytest.raises(InputError, match="use fewer stages or chunks"):
        trial("interleaved", 64, 64, 4)
