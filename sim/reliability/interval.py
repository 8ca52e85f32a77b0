"""How often to write a checkpoint: searched on the simulation, beside the closed forms of Young and Daly.

Each interval meets the same failures (common random numbers), so two intervals differ by what they do and not by luck.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, expm1, log, sqrt

import numpy as np

from sim.reliability.report import DEFAULT_SEEDS, RunReport, simulate_run
from sim.reliability.run import Run

SEARCH_SEEDS = 8
_COARSE, _FINE = 9, 7
_SPREAD = 8.0
"""The search begins with intervals from Young's over this to Young's times this."""
_LONGEST = 3.0
"""No interval of more mean times between failures than this is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BestInterval:
    """Seconds of work between checkpoints, and the report of the run with it; `tried`: interval and goodput."""

    interval: float
    young: float
    daly: float
    report: RunReport
    tried: tuple[tuple[float, float], ...]

    def result(self) -> dict[str, object]:
        """For JSON."""
        return {
            "interval_s": self.interval,
            "young_s": self.young,
            "daly_s": self.daly,
            "goodput": self.report.goodput,
            "tried": [{"interval_s": interval, "goodput": goodput} for interval, goodput in self.tried],
        }


def young(block: float, mean_time: float) -> float:
    """Seconds between checkpoints that block for `block`, failures `mean_time` apart [Young 1974]: sqrt(2 C M)."""
    return sqrt(2 * block * mean_time)


def daly(block: float, mean_time: float) -> float:
    """The same to a higher order, for blocks not short beside the time between failures [Daly 2006, eq. 37]."""
    if block >= 2 * mean_time:
        return mean_time
    ratio = block / (2 * mean_time)
    return young(block, mean_time) * (1 + sqrt(ratio) / 3 + ratio / 9) - block


def expected_time(work: float, block: float, rate: float, *, down: float = 0.0, start: float = 0.0) -> float:
    """Expected seconds to get through `work` and its checkpoint, where a failure throws back to the beginning.

    e^(start rate) (1/rate + down) (e^(rate (work + block)) - 1): failures of that rate strike at work, checkpoint and
    start, not while the job is down [Daly 2006; Bougeret et al. 2011, theorem 1]. The rate must be greater than 0.
    """
    return exp(rate * start) * (1 / rate + down) * expm1(rate * (work + block))


def with_interval(run: Run, interval: float) -> Run:
    """The same run with another checkpoint interval, in seconds of work."""
    return replace(run, checkpointing=replace(run.checkpointing, interval=interval))


def best_interval(run: Run, seeds: int = DEFAULT_SEEDS, *, search_seeds: int = SEARCH_SEEDS) -> BestInterval:
    """The interval with the best goodput: a coarse search over orders of magnitude around Young's, then a fine one.

    Each interval is tried on `search_seeds` lives, the best one then lived with all `seeds`.

    Without failures that is the whole run. A checkpoint that costs nothing is taken to cost a step, in Young's formula.
    """
    mean_time = run.failures.mean_time_between(run.fleet)
    block = run.checkpointing.block_time(run.fleet) or run.step_time
    if not mean_time < float("inf"):
        return _found(run, mean_time, block, _tried(run, [run.work], 1), seeds)
    centre = young(block, mean_time)
    longest = min(centre * _SPREAD, _LONGEST * mean_time, run.work)
    shortest = min(max(centre / _SPREAD, run.step_time), longest)
    coarse = _tried(run, _geometric(shortest, longest, _COARSE), search_seeds)
    at = max(range(len(coarse)), key=lambda index: coarse[index].goodput)
    low, high = coarse[max(at - 1, 0)], coarse[min(at + 1, len(coarse) - 1)]
    between = _geometric(low.run.checkpointing.interval, high.run.checkpointing.interval, _FINE + 2)[1:-1]
    return _found(run, mean_time, block, [*coarse, *_tried(run, between, search_seeds)], seeds)


def _tried(run: Run, intervals: Sequence[float], seeds: int) -> list[RunReport]:
    return [simulate_run(with_interval(run, interval), seeds) for interval in intervals]


def _geometric(low: float, high: float, count: int) -> list[float]:
    return [float(interval) for interval in np.exp(np.linspace(log(low), log(high), count))]


def _found(run: Run, mean_time: float, block: float, reports: Sequence[RunReport], seeds: int) -> BestInterval:
    best = max(reports, key=lambda report: report.goodput).run
    tried = sorted((report.run.checkpointing.interval, report.goodput) for report in reports)
    never_fails = not mean_time < float("inf")
    return BestInterval(
        interval=best.checkpointing.interval,
        young=run.work if never_fails else young(block, mean_time),
        daly=run.work if never_fails else daly(block, mean_time),
        report=simulate_run(best, seeds),
        tried=tuple(tried),
    )
