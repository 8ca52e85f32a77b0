"""Fixtures for all tests of the command line."""

import sys
from pathlib import Path

import pytest

from sim import cli
from tests.command import Answer, Shardsim


@pytest.fixture
def shardsim(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shardsim:
    """Runs the command in this process, as in a pipe of no known width unless the test gives one."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["shardsim", *arguments])
        code = cli.main()
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path
