"""Runs of nccl-tests that others published, a few rows of each: what a prediction of a collective is drawn beside.

Small facts with their source in every row. The shipped fits rest on larger tables, these runs among them.
"""

from functools import cache
from pathlib import Path
from typing import Final

from calibrate.importers import Reading, read

NCCL_TESTS: Final = Path(__file__).with_name("nccl_tests.csv")


@cache
def nccl_tests() -> Reading:
    """All rows, as samples of the links that they were measured on."""
    return read(NCCL_TESTS, None, None)
