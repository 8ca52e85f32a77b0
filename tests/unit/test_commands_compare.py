"""`shardsim compare` and `shardsim explain` as commands: what they read, print, write and refuse."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from tests.command import ROOT, SCENARIO, STEP, Shardsim, assert_refused

RUN = SCENARIO + "plan: {tp: 4}\nbatch: {global: 8}\n"


def test_set_changes_the_second_scenario_only(shardsim: Shardsim, folder: Path) -> None:
    (folder / "run.yaml").write_text(RUN)
    answer = shardsim("compare", "run.yaml", "run.yaml", "--set", "plan.tp=2", "--format", "json")
    data = json.loads(answer.out)
    assert (answer.code, answer.err) == (0, "")
    assert {"field": "plan.tp", "a": "4", "b": "2"} in data["scenario_changes"]
    assert data["a"]["scenario"]["plan"]["tp"] == 4
    assert sum(part["difference_s"] for part in data["waterfall"]) == pytest.approx(data["difference_s"], rel=1e-9)
    assert all(part["bound_by"] for part in data["waterfall"])


def test_a_folder_its_result_and_its_scenario_are_the_same(shardsim: Shardsim, folder: Path) -> None:
    (folder / "run.yaml").write_text(RUN)
    assert shardsim("train", "run.yaml", "--out", "out").code == 0
    for other in ("out", "out/result.json", "out/scenario.yaml", "run.yaml"):
        data = json.loads(shardsim("compare", "out", other, "--format", "json").out)
        assert (data["ratio"], data["scenario_changes"]) == (1.0, []), other
    (folder / "alone").mkdir()
    (folder / "alone/result.json").write_bytes((folder / "out/result.json").read_bytes())
    assert json.loads(shardsim("compare", "out", "alone/result.json", "--format", "json").out)["ratio"] == 1.0


def test_csv_has_a_line_for_each_cause(shardsim: Shardsim, folder: Path) -> None:
    (folder / "run.yaml").write_text(RUN)
    answer = shardsim("compare", "run.yaml", "run.yaml", "--set", "plan.tp=2", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert {"products", "exposed_tp", "bubble"} <= {row["cause"] for row in rows}
    assert all(float(row["b_s"]) - float(row["a_s"]) == float(row["difference_s"]) for row in rows)


def test_out_writes_a_page_and_the_same_json(shardsim: Shardsim, folder: Path) -> None:
    (folder / "run.yaml").write_text(RUN)
    answer = shardsim("compare", "run.yaml", "run.yaml", "--set", "plan.tp=2", "--out", "both", "--format", "json")
    assert answer.err == "wrote comparison.json, compare.html to both\n"
    assert (folder / "both/comparison.json").read_text() == answer.out
    assert "<svg" in (folder / "both/compare.html").read_text()


def test_a_step_that_does_not_fit_is_compared_all_the_same(shardsim: Shardsim, folder: Path) -> None:
    (folder / "run.yaml").write_text(RUN)
    sets = ("--set", "model=llama3-70b", "--set", "plan.recompute=full")
    answer = shardsim("compare", "run.yaml", "run.yaml", *sets)
    assert answer.code == 3
    assert "does not fit" in answer.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run.yaml missing.yaml", "B: missing.yaml: there is no such file; write two scenario files, or folders that"),
        ("llama3-8b dgx-h100", "A: llama3-8b: there is no such file; write two scenario files"),
        ("run.yaml empty", "B: empty: no scenario.yaml in this folder; `shardsim train ... --out empty` writes one"),
        ("run.yaml run.yaml --set plan.tp=3", "B: tp=3 does not divide"),
        ("run.yaml run.yaml --format xml", "--format 'xml' is not known"),
        ("run.yaml run.yaml --detail fine", "--detail 'fine' is not known"),
        ("run.yaml", "Missing argument"),
    ],
)
def test_bad_input_is_refused(shardsim: Shardsim, folder: Path, arguments: str, message: str) -> None:
    (folder / "run.yaml").write_text(RUN)
    (folder / "empty").mkdir()
    assert_refused(shardsim("compare", *arguments.split()), message)


def test_explain_takes_the_flags_of_train_and_a_scenario_alike(shardsim: Shardsim, folder: Path) -> None:
    (folder / "run.yaml").write_text(RUN)
    by_flags = shardsim("explain", *STEP, "--format", "json")
    by_file = shardsim("explain", "run.yaml", "--format", "json")
    assert (by_flags.code, by_flags.err) == (0, "")
    assert by_flags.out == by_file.out
    step = json.loads(shardsim("train", *STEP, "--format", "json").out)["step_time_s"]
    assert json.loads(by_flags.out)["step_time_s"] == step


def test_explain_ends_as_train_does(shardsim: Shardsim) -> None:
    assert shardsim("explain", "llama3-70b", "dgx-h100", "--gpus", "8", "--tp", "8", "--quiet").code == 3
    assert_refused(shardsim("explain", *STEP, "--format", "xml"), "--format 'xml' is not known")
    assert_refused(shardsim("explain", "llama3-8b"), "no cluster given")


def test_the_kernels_of_explain_as_csv(shardsim: Shardsim) -> None:
    rows = list(csv.DictReader(io.StringIO(shardsim("explain", *STEP, "--format", "csv").out)))
    assert {"flash forward", "qkv input gather"} <= {row["name"] for row in rows}
    assert all(row["bound_by"] for row in rows)


def documented(heading: str) -> set[str]:
    """The words in code of the first column of a table of docs/explain.md."""
    rows = (ROOT / "docs/explain.md").read_text(encoding="utf-8").split(heading, 1)[1].split("\n\n", 1)[0].splitlines()
    return {name for row in rows if row.startswith("|") for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_the_keys_in_the_page_are_those_of_the_json(shardsim: Shardsim, folder: Path) -> None:
    (folder / "run.yaml").write_text(RUN)
    compared = json.loads(shardsim("compare", "run.yaml", "run.yaml", "--format", "json").out)
    explained = json.loads(shardsim("explain", "run.yaml", "--format", "json").out)
    assert documented("| key of `compare` | meaning |") == set(compared)
    assert documented("| key of `explain` | meaning |") == set(explained)
