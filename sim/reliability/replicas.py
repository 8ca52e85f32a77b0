"""Servers that fail: how many replicas must stand so that enough of them are up.

A replica is up for an exponential time, then down until the failure is seen, a node found and its weights loaded.
Replicas fail one by one, so the number that is up is binomial, whatever the distribution of the time that one is down.
"""

from collections.abc import Generator
from dataclasses import dataclass
from math import ceil, exp, lgamma, log, log1p

import numpy as np
from simpy import Environment, Event

from sim.reliability.failures import Failures, Fleet
from topologies.quantity import DAY, GB, HOUR, MINUTE

_MOST = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One server of a model. Times in seconds, bandwidth in bytes a second.

    failures: of the hardware (`of_hardware` of a training run's rates), and of the server's own software where known.
    nbytes: its weights, read at `storage_bandwidth`; fixed_start: to start the process, capture graphs and warm up (an
    assumption); detection: until a dead replica is noticed; replacement: until a node is there, 0 where one stands by.
    """

    fleet: Fleet
    failures: Failures
    nbytes: float
    storage_bandwidth: float = 10 * GB
    fixed_start: float = MINUTE
    detection: float = 15.0
    replacement: float = 0.0

    @property
    def start_time(self) -> float:
        """Seconds from a free node to the first request served."""
        return self.fixed_start + self.nbytes / self.storage_bandwidth

    @property
    def down_time(self) -> float:
        """Seconds from a failure to the next request served."""
        return self.detection + self.replacement + self.start_time

    @property
    def up_time(self) -> float:
        """Mean seconds between failures; infinite where nothing fails."""
        return self.failures.mean_time_between(self.fleet)

    @property
    def availability(self) -> float:
        """The share of the time in which it serves."""
        return 1 / (1 + self.down_time / self.up_time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """How many replicas serve a rate (`needed`), how many must stand for the promise, and how often enough are up."""

    needed: int
    provisioned: int
    availability: float
    replica: Replica

    def result(self) -> dict[str, object]:
        """For JSON."""
        return {
            "replicas_needed": self.needed,
            "replicas": self.provisioned,
            "spare_replicas": self.provisioned - self.needed,
            "gpus": self.provisioned * self.replica.fleet.num_gpus,
            "availability": self.availability,
            "replica_availability": self.replica.availability,
            "replica_mean_time_between_failures_h": None
            if not self.replica.failures.causes
            else self.replica.up_time / HOUR,
            "replica_down_s": self.replica.down_time,
            "replica_start_s": self.replica.start_time,
        }


def replicas_needed(
    rate: float, knee: float, replica: Replica, *, availability: float = 0.999, down: int = 0
) -> Replicas:
    """The fewest replicas of which, with the promised probability, enough are up to serve a rate.

    rate: requests a second in all; knee: what one replica takes before its latency runs away. down: that many may be
    down at once in any case (1: the usual N-1). Raises ValueError if a number makes no sense.
    """
    if not (rate > 0 and knee > 0):
        raise ValueError(f"rate={rate} and knee={knee} must be greater than 0")
    if not 0 < availability < 1:
        raise ValueError(f"availability={availability} must lie between 0 and 1: 0.999 is three nines")
    needed = ceil(rate / knee)
    provisioned = next(
        count
        for count in range(needed + down, needed + down + _MOST)
        if at_least_up(needed, count, replica.availability) >= availability
    )
    reached = at_least_up(needed, provisioned, replica.availability)
    return Replicas(needed=needed, provisioned=provisioned, availability=reached, replica=replica)


def at_least_up(needed: int, provisioned: int, availability: float) -> float:
    """The probability that at least so many of all replicas are up, each with this availability of its own."""
    return min(1.0, sum(_exactly_up(up, provisioned, availability) for up in range(needed, provisioned + 1)))


def _exactly_up(up: int, provisioned: int, availability: float) -> float:
    """The binomial probability, by logarithms: the number of ways may be larger than any float."""
    if availability in (0.0, 1.0):
        return float(up == provisioned * availability)
    ways = lgamma(provisioned + 1) - lgamma(up + 1) - lgamma(provisioned - up + 1)
    return exp(ways + up * log(availability) + (provisioned - up) * log1p(-availability))


def simulate_availability(
    needed: int, provisioned: int, replica: Replica, *, days: float = 365.0, seed: int = 0
) -> float:
    """The share of the time in which at least `needed` replicas were up, played in SimPy: each fails and comes back."""
    env, state = Environment(), _Up(needed, provisioned)
    for random in np.random.default_rng(seed).spawn(provisioned):
        env.process(_fail_and_return(env, replica, state, random))
    env.run(until=days * DAY)
    state.change(env.now, 0)
    return state.enough / env.now


class _Up:
    """How many replicas are up, and for how long there were enough."""

    __slots__ = ("enough", "needed", "since", "up")

    def __init__(self, needed: int, up: int) -> None:
        self.needed, self.up, self.since, self.enough = needed, up, 0.0, 0.0

    def change(self, now: float, by: int) -> None:
        if self.up >= self.needed:
            self.enough += now - self.since
        self.up += by
        self.since = now


def _fail_and_return(
    env: Environment, replica: Replica, state: _Up, random: np.random.Generator
) -> Generator[Event, object, None]:
    while True:
        yield env.timeout(random.exponential(replica.up_time) if replica.failures.causes else float("inf"))
        state.change(env.now, -1)
        yield env.timeout(replica.down_time)
        state.change(env.now, 1)
