"""Latencies of a served load, as `vllm bench serve` defines them [vllm/benchmarks/serve.py at 009e6d4a].

TTFT: from sending a request to its first token; E2EL: to its last one; TPOT: (E2EL - TTFT) / (n - 1) of an answer of
n > 1 tokens; ITL: every single gap between two tokens. Requests that never finished count nowhere but as failed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.objectives import Metric, Objective
from sim.serving.record import Record

PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rising `values`, the first of them `ends[0]` times, the next ends[1] - ends[0] times, and so on."""

    values: NDArray[np.float64]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """Seconds by completed request, which are `rows` of the record's. TPOT is NaN for an answer of one token.

    `queue`: from sending to the first pass. `samples` hold the values of each metric, sorted. `failed`: how many others
    there are, refused or never answered.
    """

    rows: NDArray[np.intp]
    failed: int
    ttft: NDArray[np.float64]
    tpot: NDArray[np.float64]
    e2el: NDArray[np.float64]
    queue: NDArray[np.float64]
    samples: Mapping[Metric, Sample]


def latencies(record: Record) -> Latencies:
    """Of the requests that finished, in the record's order."""
    rows = np.flatnonzero(~np.isnan(record.finished))
    sent, output = record.sent[rows], record.requests.output[rows]
    ttft, e2el = record.first_token[rows] - sent, record.finished[rows] - sent
    tpot = np.where(output > 1, (e2el - ttft) / np.maximum(output - 1, 1), np.nan)
    return Latencies(
        rows=rows,
        failed=len(record.requests) - len(rows),
        ttft=ttft,
        tpot=tpot,
        e2el=e2el,
        queue=record.scheduled[rows] - sent,
        samples={
            "ttft": sample(ttft),
            "tpot": sample(tpot[output > 1]),
            "itl": sample(record.gap_seconds, record.gap_counts),
            "e2el": sample(e2el),
        },
    )


def sample(values: NDArray[np.float64], counts: NDArray[np.int64] | None = None) -> Sample:
    """Values and how often each occurred (once, where nothing is said), in any order."""
    if counts is None:
        return Sample(values=np.sort(values), ends=np.arange(1, len(values) + 1))
    order = np.argsort(values, kind="stable")
    return Sample(values=values[order], ends=np.cumsum(counts[order]))


def percentile(values: Sample, percent: float) -> float:
    """As numpy.percentile of all values does: linear between the two of nearest rank; 0 for none, as vLLM's tool."""
    if len(values) == 0:
        return 0.0
    rank = percent / 100 * (len(values) - 1)
    low, high = _at(values, int(rank)), _at(values, min(int(rank) + 1, len(values) - 1))
    return low if low == high or rank == int(rank) else low + (high - low) * (rank - int(rank))


def mean(values: Sample) -> float:
    """0 for none, as vLLM's tool says."""
    return float(values.values @ _counts(values)) / len(values) if len(values) else 0.0


def deviation(values: Sample) -> float:
    """The standard deviation of the population, as numpy.std; 0 for none."""
    if len(values) == 0:
        return 0.0
    return float(np.sqrt((values.values - mean(values)) ** 2 @ _counts(values) / len(values)))


def statistic(values: Sample, objective: Objective) -> float:
    """Seconds of what an objective is about."""
    return mean(values) if objective.percentile is None else percentile(values, objective.percentile)


def with_failed(values: Sample, failed: int) -> Sample:
    """The same and so many that took for ever."""
    if not failed:
        return values
    return Sample(values=np.append(values.values, np.inf), ends=np.append(values.ends, len(values) + failed))


def _at(values: Sample, index: int) -> float:
    return float(values.values[np.searchsorted(values.ends, index, side="right")])


def _counts(values: Sample) -> NDArray[np.int64]:
    return np.diff(values.ends, prepend=0)
