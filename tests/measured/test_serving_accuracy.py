"""The half on serving of docs/accuracy.md says what is predicted: a sample of its rows here, all by `make accuracy`."""

import re

import pytest

from tests.measured import serving_accuracy as ledger
from tests.measured.accuracy import DOCS

pytestmark = pytest.mark.skipif(not ledger.is_here(), reason="the measured tables are not beside the repository")

PAGE = (DOCS / "accuracy.md").read_text(encoding="utf-8").partition(ledger.HEADING)[2]
CELL = re.compile(r"(?<=\| )\d[\d,]*\.?\d*(?= \|)")
FEW_USERS = 32
EVERY = 2


def numbers(line: str) -> list[float]:
    """Of the cells that hold one alone: users, times, throughputs."""
    return [float(number.replace(",", "")) for number in CELL.findall(line)]


def few(line: str) -> bool:
    """Whether it is played at once."""
    users = re.findall(r"\| (\d+|all) \|", line)
    return users[0] != "all" and int(users[0]) <= FEW_USERS


FOUND = re.findall(r"^\| ((?:dense|moe|throughput)-\d+) (.*)$", PAGE, re.MULTILINE)
LINES = {name: f"| {name} {rest}" for name, rest in FOUND}
SAMPLE = [name for name, line in LINES.items() if few(line)][::EVERY]


@pytest.mark.parametrize("name", SAMPLE)
def test_a_row_that_is_written_is_what_is_predicted(name: str) -> None:
    """To the digits that are written; where this fails, `make accuracy` writes the page anew."""
    assert numbers(ledger.line_of(name)) == pytest.approx(numbers(LINES[name]), rel=2e-3)


def test_the_caches_that_are_written_are_those_predicted() -> None:
    assert all(line in PAGE for line in ledger.caches())


def test_every_table_has_its_worst_rows() -> None:
    assert {name.partition("-")[0] for name in LINES} == {"dense", "moe", "throughput"}
