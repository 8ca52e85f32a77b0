"""Bandwidths of links in words: what was copied, between what. No cost is fitted to them, and each row says so."""

from calibrate.importers.table import Table
from calibrate.samples import Samples

COLUMNS = frozenset({"metric", "value", "unit", "setup"})
LEFT_OUT = "a bandwidth in words, without sizes and times; write it as a row of nccl-tests"


def read(table: Table, gpu: str | None) -> list[Samples]:
    """No samples."""
    del table, gpu
    return []
