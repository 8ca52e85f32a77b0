"""Goodput: requests a second that kept every limit [DistServe, OSDI 2024]. Objectives: met or not, by how much."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.objectives import Limits, Objective
from sim.serving.results.latency import Latencies, statistic, with_failed
from topologies.quantity import MILLISECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Attainment:
    """`value`: the seconds that came of an objective; `share` of the requests (ITL: of the gaps) that kept its time."""

    objective: Objective
    value: float
    share: float

    @property
    def met(self) -> bool:
        return self.value <= self.objective.seconds

    @property
    def margin(self) -> float:
        """How much is left, as a fraction of what was allowed: negative where it is missed."""
        return 1 - self.value / self.objective.seconds


def attainments(found: Latencies, objectives: Iterable[Objective]) -> tuple[Attainment, ...]:
    """What came of each objective. Whoever was refused or never answered misses them all: its time (ITL: one gap) is
    infinite."""
    return tuple(_attainment(found, each) for each in objectives)


def good(found: Latencies, limits: Limits) -> NDArray[np.bool_]:
    """By completed request: it kept every limit. An answer of one token keeps any TPOT, as in vLLM's tool."""
    kept = np.ones(len(found.rows), bool)
    if "ttft" in limits:
        kept &= found.ttft <= limits["ttft"]
    if "tpot" in limits:
        kept &= ~(found.tpot > limits["tpot"])
    if "e2el" in limits:
        kept &= found.e2el <= limits["e2el"]
    return kept


def described(attained: Attainment) -> dict[str, object]:
    """As a result's JSON says it."""
    return {
        "objective": str(attained.objective),
        "value_ms": None if np.isinf(attained.value) else attained.value / MILLISECOND,
        "met": attained.met,
        "margin": None if np.isinf(attained.value) else attained.margin,
        "share_of_requests": attained.share,
    }


def _attainment(found: Latencies, objective: Objective) -> Attainment:
    values = with_failed(found.samples[objective.metric], found.failed)
    if len(found.rows) == 0:
        return Attainment(objective=objective, value=np.inf, share=0.0)
    within = int(np.searchsorted(values.values, objective.seconds, side="right"))
    share = int(values.ends[within - 1]) / len(values) if within else 0.0 if len(values) else 1.0
    return Attainment(objective=objective, value=statistic(values, objective), share=share)
