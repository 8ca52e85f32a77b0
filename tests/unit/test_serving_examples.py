"""The worked cases of examples/serving: every figure of their page is what the command says today."""

import shlex
from pathlib import Path

import pytest

from tests.command import ROOT, Shardsim
from tests.serving_tables import CONSOLE, README, Table, cells, served, tables

TEXT = README.read_text(encoding="utf-8")
TABLES = list(tables(TEXT))
FILES = sorted(path.name for path in README.parent.glob("*.yaml"))
CONSOLES = CONSOLE.findall(TEXT)


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the page's commands are typed; nothing is written."""
    monkeypatch.chdir(ROOT)


def test_every_file_is_explained_once() -> None:
    assert sorted(table.file for table in TABLES) == FILES


@pytest.mark.parametrize("table", TABLES, ids=[table.file for table in TABLES])
def test_the_figures_of_a_case_are_those_that_come_out(table: Table, shardsim: Shardsim) -> None:
    now = {flags: cells(served(shardsim, table.file, flags), table.columns) for flags in table.rows}
    assert now == table.rows


@pytest.mark.parametrize(("command", "shown"), CONSOLES, ids=[command.split()[1] for command, _ in CONSOLES])
def test_what_does_not_fit_is_refused_in_the_words_of_the_page(command: str, shown: str, shardsim: Shardsim) -> None:
    answer = shardsim(*shlex.split(command))
    assert (answer.code, answer.out) == (3, "")
    assert answer.err == shown


@pytest.mark.parametrize("file", FILES)
def test_a_case_says_how_to_run_itself(file: str) -> None:
    assert f"shardsim serve examples/serving/{file}" in Path(README.parent / file).read_text(encoding="utf-8")


def _figure(file: str, column: str) -> float:
    """Of the file as it is, from its table, which another test compares with what comes out."""
    (table,) = (table for table in TABLES if table.file == file)
    return float(table.rows[""][table.columns.index(column)].removesuffix(" %"))


def test_a_tuned_pipeline_keeps_every_stage_busy_for_three_quarters_of_the_time() -> None:
    assert _figure("llama3-70b-4-a100-2-nodes.yaml", "least busy") > 75


@pytest.mark.parametrize("file", ["mixtral-8x22b-16-a100.yaml", "kimi-k2-16-a100.yaml"])
def test_experts_on_16_gpus_keep_their_promise(file: str) -> None:
    assert _figure(file, "p95 TPOT, ms") < 100
