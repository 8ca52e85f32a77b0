"""The noun: what a served load leaves behind, as `Timeline` is what a training step leaves: columns, nothing decided.

Results (latencies, goodput, cost, series) are read from this alone.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.requests import Requests

CAUSES: Final = (
    "queue", "compute", "attention", "interference", "tp", "cp", "ep", "straggler", "bubble", "transfer", "host",
)  # fmt: skip
"""Where a request's milliseconds go. queue: not admitted, or preempted; compute and attention: its passes' own;
interference: its passes were longer for others' tokens, or others' passes ran before the next of its own; bubble: the
same in a pipeline, whose stages others' passes fill; transfer: its cache or a stage's output on the wires; host:
between passes, the scheduler."""

Times = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Columns, a row for each pass of a replica (dp rank), in order of their starts.

    replica; start and end in seconds, from when it was scheduled to when its tokens were out; busy: seconds of all its
    stages together; tokens: computed, of which prefill were of prompts; decodes: requests that decoded; running and
    waiting: requests when it was scheduled; used_blocks of the cache then.
    """

    replica: Counts
    start: Times
    end: Times
    busy: Times
    tokens: Counts
    prefill: Counts
    decodes: Counts
    running: Counts
    waiting: Counts
    used_blocks: Counts

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefilled:
    """What replicas leave that compute prompts alone: stage_busy and num_blocks as in Record, of their own ranks, which
    are numbered after those that decode; num_gpus of them all. By row bytes of the cache that was sent, and seconds
    that it took (NaN: none was)."""

    num_gpus: int
    stage_busy: Times
    num_blocks: int
    nbytes: Times
    seconds: Times


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """By row of the requests; times in seconds from the start, NaN for what never happened.

    sent: it reached the server; scheduled: its first pass was chosen; first_token and finished: its tokens were out.
    replica that answered it; preemptions; cached: tokens of its prompt that the prefix cache had.
    first_causes and causes: rows x CAUSES, seconds until the first token, and of the whole answer.
    gaps: seconds between two tokens of a request, and how often that gap occurred: two columns of equal length.
    refused: by row, why the server would never take it; empty for most.
    stage_busy: seconds that each stage of each replica (dp rank) was busy, ranks x stages; num_blocks: of each cache.
    prefill: the same of replicas for prompts alone, where there are any; then the others decode.
    """

    requests: Requests
    sent: Times
    scheduled: Times
    first_token: Times
    finished: Times
    replica: Counts
    preemptions: Counts
    cached: Counts
    first_causes: Times
    causes: Times
    gap_seconds: Times
    gap_counts: Counts
    steps: Steps
    stage_busy: Times
    num_blocks: int
    refused: dict[int, str]
    prefill: Prefilled | None = None

    @property
    def duration(self) -> float:
        """Seconds from the first request sent to the last token."""
        ends = self.finished[~np.isnan(self.finished)]
        return float(ends.max() - np.nanmin(self.sent)) if len(ends) else 0.0
