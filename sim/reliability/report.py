"""What a run comes to over many seeds: goodput, days, and where the rest of the time went.

Effective training time is "the time spent on useful training over the elapsed time" [Llama 3, section 3.3.4]: also
while a slow GPU holds the others up. Goodput counts steps at full speed, their number times the time of one over the
elapsed time, as MegaScale does [Jiang et al. 2024, section 6.3].
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import exp

import numpy as np

from sim.reliability.run import Run
from sim.reliability.simulation import PARTS, Life, Part, live
from topologies.quantity import DAY, HOUR

DEFAULT_SEEDS = 32
_HOPELESS = 1e3
"""A run that is expected to take so many times its work is not played."""


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """The lives of a run, one for each seed."""

    run: Run
    lives: tuple[Life, ...]

    @cached_property
    def parts(self) -> dict[Part, float]:
        """Mean seconds of each part of the wall time."""
        return {part: float(np.mean([life.parts[part] for life in self.lives])) for part in PARTS}

    @property
    def wall(self) -> float:
        """Mean seconds from start to finish."""
        return sum(self.parts.values())

    @property
    def goodput(self) -> float:
        """The share of the wall time whose progress was kept, counted at full speed."""
        return self.parts["progress"] / self.wall

    @property
    def effective_training_time(self) -> float:
        """The share of the wall time spent on training that was kept, at whatever speed."""
        return (self.parts["progress"] + self.parts["slow"]) / self.wall

    def quantile(self, share: float) -> float:
        """The seconds within which that share of the seeds was finished."""
        return float(np.quantile([life.wall for life in self.lives], share))

    @property
    def interruptions(self) -> dict[str, float]:
        """Mean number by cause, most frequent first."""
        names = {name for life in self.lives for name in life.interruptions}
        counts = {name: float(np.mean([life.interruptions.get(name, 0) for life in self.lives])) for name in names}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def result(self) -> dict[str, object]:
        """For JSON: keys carry their unit, shares have none."""
        checkpointing, fleet, total = self.run.checkpointing, self.run.fleet, sum(self.interruptions.values())
        return {
            "goodput": self.goodput,
            "effective_training_time": self.effective_training_time,
            "days": {
                "without_interruptions": self.run.work / DAY,
                "p10": self.quantile(0.1) / DAY,
                "p50": self.quantile(0.5) / DAY,
                "p90": self.quantile(0.9) / DAY,
            },
            "time_days": {part: seconds / DAY for part, seconds in self.parts.items()},
            "interruptions": total,
            "interruptions_by_cause": self.interruptions,
            "mean_time_between_interruptions_h": self.wall / HOUR / total if total else None,
            "checkpoint": {
                "interval_s": checkpointing.interval,
                "nbytes": checkpointing.nbytes,
                "block_s": checkpointing.block_time(fleet),
                "until_durable_s": checkpointing.block_time(fleet) + checkpointing.write_time(fleet),
                "read_s": checkpointing.transfer_time(fleet),
            },
            "spares": self.run.recovery.spares,
            "seeds": len(self.lives),
            "rates": self.run.failures.source,
        }


def simulate_run(run: Run, seeds: int | Iterable[int] = DEFAULT_SEEDS) -> RunReport:
    """Play a run once for each seed.

    Raises ValueError where failures come so much faster than checkpoints that it would not get on.
    """
    _check_hope(run)
    chosen = range(seeds) if isinstance(seeds, int) else seeds
    return RunReport(run=run, lives=tuple(live(run, seed) for seed in chosen))


def _check_hope(run: Run) -> None:
    """Going once from checkpoint to checkpoint, or through a start, must have some chance."""
    checkpointing, fleet, rate = run.checkpointing, run.fleet, run.failures.rate(run.fleet)
    longest = min(checkpointing.interval, run.work) + checkpointing.block_time(fleet) + checkpointing.write_time(fleet)
    if exp(min(700.0, rate * max(longest, run.start_time))) > _HOPELESS:
        raise ValueError(
            f"the run would hardly get on: it is interrupted every {1 / rate:,.0f} s, and needs {longest:,.0f} s from "
            f"one checkpoint to the next and {run.start_time:,.0f} s to start; shorten the interval or the start"
        )
