"""Replicas that follow the load of a day, each some minutes behind: what that saves, and when it is too late.

A controller looks at the rate every so often and orders or releases replicas; one that is ordered costs GPU-hours at
once and serves when its weights are loaded. Beside it stands the fleet that is always as large as the peak needs.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from math import ceil, pi

import numpy as np
from numpy.typing import NDArray
from simpy import Environment, Event

from topologies.quantity import DAY, HOUR, MINUTE

_GRID = 10.0
"""Seconds between the moments at which capacity is held against the rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diurnal:
    """Requests a second that rise and fall as a sine once in `period`: mean x (1 - swing) at night, at first, to mean x
    (1 + swing)."""

    mean: float
    swing: float
    period: float = DAY

    @property
    def peak(self) -> float:
        return self.mean * (1 + self.swing)

    def at(self, time: float) -> float:
        """Requests a second at a moment."""
        return float(self.over(np.array([time]))[0])

    def over(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Requests a second at many moments."""
        return self.mean * (1 - self.swing * np.cos(2 * pi * times / self.period))


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaler:
    """headroom: it orders for so much more than the present rate, as a share; review: seconds between two looks; floor:
    never fewer replicas; patience: seconds for which fewer must do before one is released."""

    headroom: float = 0.2
    review: float = MINUTE
    floor: int = 1
    patience: float = 5 * MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """What a day (or more) came to. `under_capacity`: the share of the time in which the rate was above what stood."""

    gpu_hours: float
    static_gpu_hours: float
    under_capacity: float
    fewest: int
    most: int
    static: int

    @property
    def saving(self) -> float:
        """The share of the GPU-hours of a fleet for the peak that was not used."""
        return 1 - self.gpu_hours / self.static_gpu_hours

    def result(self) -> dict[str, object]:
        """For JSON."""
        return {
            "gpu_hours": self.gpu_hours,
            "static_gpu_hours": self.static_gpu_hours,
            "saving": self.saving,
            "under_capacity": self.under_capacity,
            "replicas_fewest": self.fewest,
            "replicas_most": self.most,
            "replicas_static": self.static,
        }


def simulate_autoscaling(
    load: Diurnal, knee: float, gpus_per_replica: int, start_time: float, scaler: Autoscaler, *, days: float = 1.0
) -> Scaled:
    """Play a load of some days, from the replicas that its first moment needs.

    knee: requests a second that one replica takes; start_time: seconds until an ordered one serves
    (Replica.start_time). Raises ValueError if a number makes no sense.
    """
    if not (knee > 0 and load.mean > 0 and 0 <= load.swing <= 1):
        raise ValueError(f"knee={knee} and mean={load.mean} must be greater than 0, swing={load.swing} within 0 and 1")
    env, end = Environment(), days * DAY
    fleet = _Fleet(env, wanted(load.at(0.0), knee, scaler), start_time)
    env.process(_control(env, fleet, load, knee, scaler))
    env.run(until=end)
    moments = np.arange(0.0, end, _GRID)
    static = max(ceil(load.peak / knee), scaler.floor)
    return Scaled(
        gpu_hours=float(np.mean(_over(fleet.ordered, moments))) * gpus_per_replica * end / HOUR,
        static_gpu_hours=static * gpus_per_replica * end / HOUR,
        under_capacity=float(np.mean(load.over(moments) > _over(fleet.serving, moments) * knee)),
        fewest=min(count for _, count in fleet.ordered),
        most=max(count for _, count in fleet.ordered),
        static=static,
    )


def wanted(rate: float, knee: float, scaler: Autoscaler) -> int:
    """Replicas for a rate, with the headroom."""
    return max(ceil(rate * (1 + scaler.headroom) / knee), scaler.floor)


def _over(steps: Sequence[tuple[float, int]], moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """A count that changes at (since, count), at many moments."""
    times, counts = (np.array(column, dtype=np.float64) for column in zip(*steps, strict=True))
    return np.take(counts, np.searchsorted(times, moments, side="right") - 1)


class _Fleet:
    """Replicas that are paid for and replicas that serve, as steps in time: (since, count)."""

    def __init__(self, env: Environment, count: int, start_time: float) -> None:
        self.env, self.start_time = env, start_time
        self.ordered: list[tuple[float, int]] = [(0.0, count)]
        self.serving: list[tuple[float, int]] = [(0.0, count)]
        self.starting: list[Event] = []

    def resize(self, target: int) -> None:
        """Order what is missing; of what is too many let go those first that do not serve yet, the newest first."""
        count = self.ordered[-1][1]
        if target == count:
            return
        self.ordered.append((self.env.now, target))
        for _ in range(target - count):
            self.starting.append(self.env.process(self._start()))
        kept = max(len(self.starting) - max(count - target, 0), 0)
        del self.starting[kept:]
        self._serve(target - len(self.starting))

    def _start(self) -> Generator[Event, object, None]:
        own = self.env.active_process
        yield self.env.timeout(self.start_time)
        if own in self.starting:
            self.starting.remove(own)
            self._serve(self.serving[-1][1] + 1)

    def _serve(self, count: int) -> None:
        self.serving.append((self.env.now, count))


def _control(
    env: Environment, fleet: _Fleet, load: Diurnal, knee: float, scaler: Autoscaler
) -> Generator[Event, object, None]:
    """Order at once; release what was not wanted for as long as the patience lasts."""
    recent: list[tuple[float, int]] = []
    while True:
        yield env.timeout(scaler.review)
        recent = [(time, count) for time, count in recent if time > env.now - scaler.patience]
        recent.append((env.now, wanted(load.at(env.now), knee, scaler)))
        fleet.resize(max(count for _, count in recent))
