"""The record while it grows: rows of passes and requests, appended in place and turned into columns at the end."""

import math
from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sim.requests import Requests
from sim.serving.record import CAUSES, Record, Steps
from sim.serving.sequence import Sequence

STEP_FIELDS = tuple(Steps.__dataclass_fields__)
SECONDS = ("start", "end", "busy")


class Columns:
    """What happened so far. `passes`: an array for each of STEP_FIELDS; `gaps`: of seconds, and of how often."""

    def __init__(self, requests: Requests) -> None:
        num_rows = len(requests)
        self._requests = requests
        self.sent = array("d", [math.nan]) * num_rows
        self.scheduled = array("d", [math.nan]) * num_rows
        self.first_token = array("d", [math.nan]) * num_rows
        self.finished = array("d", [math.nan]) * num_rows
        self.replica = array("q", [-1]) * num_rows
        self._preemptions = np.zeros(num_rows, dtype=np.int64)
        self._cached = np.zeros(num_rows, dtype=np.int64)
        self._first_causes = np.zeros((num_rows, len(CAUSES)))
        self._causes = np.zeros((num_rows, len(CAUSES)))
        self.passes = tuple(array("d") for _ in STEP_FIELDS)
        self.gaps = array("d"), array("q")
        self.refused: dict[int, str] = {}

    def add_pass(self, row: tuple[float, ...]) -> None:
        """A row of Steps."""
        for column, value in zip(self.passes, row, strict=True):
            column.append(value)

    def add_passes(self, rows: Iterable["array[float]"]) -> None:
        """Rows of Steps, by column."""
        for column, values in zip(self.passes, rows, strict=True):
            column.extend(values)

    def add_gap(self, seconds: float, count: int) -> None:
        """Tokens that came so long after the ones before."""
        self.gaps[0].append(seconds)
        self.gaps[1].append(count)

    def first(self, sequence: Sequence, now: float) -> None:
        """The sequence's first token is out; its causes are settled until then."""
        self.first_token[sequence.row] = now
        self._first_causes[sequence.row] = sequence.causes

    def last(self, sequence: Sequence, now: float) -> None:
        """The sequence's last token is out; its causes are settled until then."""
        row = sequence.row
        self.finished[row] = now
        self._preemptions[row] = sequence.num_preemptions
        self._cached[row] = sequence.cached
        self._causes[row] = sequence.causes

    def record(self, stage_busy: NDArray[np.float64], num_blocks: int) -> Record:
        """All of it, passes in order of their starts."""
        gap_seconds, gap_counts = self.gaps
        return Record(
            requests=self._requests,
            sent=np.array(self.sent),
            scheduled=np.array(self.scheduled),
            first_token=np.array(self.first_token),
            finished=np.array(self.finished),
            replica=np.array(self.replica),
            preemptions=self._preemptions,
            cached=self._cached,
            first_causes=self._first_causes,
            causes=self._causes,
            gap_seconds=np.array(gap_seconds),
            gap_counts=np.array(gap_counts),
            steps=self._steps(),
            stage_busy=stage_busy,
            num_blocks=num_blocks,
            refused=self.refused,
        )

    def _steps(self) -> Steps:
        rows: dict[str, NDArray[np.float64]] = dict(zip(STEP_FIELDS, map(np.array, self.passes), strict=True))
        order = np.argsort(rows["start"], kind="stable")
        counts = {name: column[order].astype(np.int64) for name, column in rows.items() if name not in SECONDS}
        return Steps(start=rows["start"][order], end=rows["end"][order], busy=rows["busy"][order], **counts)
