"""Why one step takes longer than another: from A's time to B's, cause by cause.

Causes are the parts of a GPU's step (the mean over all), the computing by families of kernels; what kernels took longer
than alone on an even GPU is a part for itself, by why they did. So parts sum to each step, and differences to the
difference. Errors of what both steps rest on cancel as far as both rest on it equally.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from sim.inventory import FAMILIES, Inventory, Resource, inventory, largest
from sim.scenario import Scenario, with_plan
from sim.timeline import BREAKDOWN
from sim.training import TrainingReport
from sim.uncertainty import UNMODELLED, shares

SLOWED: Final = "slowed"
"""What kernels take longer than alone because they share SMs and memory with communication."""
SLOW_GPUS: Final = "slow_gpus"
"""What they take longer because GPUs are not equally fast, and wait for the slowest."""

CAUSES: Final = (*FAMILIES, SLOWED, SLOW_GPUS, *(key for key in BREAKDOWN if key != "compute"))
_BOUNDS: Final[Mapping[str, Resource]] = {"bubble": "waiting", "host": "host", "other": "host", "optimizer": "hbm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One cause: seconds of A's step and of B's, and what bounds it where it is larger."""

    key: str
    a: float
    b: float
    bound_by: Resource

    @property
    def difference(self) -> float:
        return self.b - self.a


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two steps; `causes` in the order of CAUSES, and how many times as long B takes as A: 10th and 90th percentile."""

    a: TrainingReport
    b: TrainingReport
    causes: tuple[Cause, ...]
    interval: tuple[float, float]

    @property
    def ratio(self) -> float:
        """How many times as long B takes as A."""
        return self.b.timeline.duration / self.a.timeline.duration

    @property
    def is_certain(self) -> bool:
        """Whether the 80 % interval leaves no doubt which of them is faster."""
        low, high = self.interval
        return low > 1 or high < 1


def compare(a: Scenario, b: Scenario, report_a: TrainingReport, report_b: TrainingReport) -> Comparison:
    """Compare the reports of two scenarios."""
    sides = [
        (report, inventory(with_plan(one, report.plan), report.plan)) for one, report in ((a, report_a), (b, report_b))
    ]
    (of_a, bounds_a), (of_b, bounds_b) = [(seconds_by_cause(*side), _bounds(side[1])) for side in sides]
    causes = (
        Cause(
            key=key,
            a=of_a[key],
            b=of_b[key],
            bound_by=(bounds_a if of_a[key] > of_b[key] else bounds_b).get(key, "latency"),
        )
        for key in CAUSES
    )
    is_same = replace(with_plan(a, report_a.plan), run=b.run) == with_plan(b, report_b.plan)
    return Comparison(
        a=report_a, b=report_b, causes=tuple(causes), interval=ratio_interval(report_a, report_b, is_same)
    )


def seconds_by_cause(report: TrainingReport, found: Inventory) -> dict[str, float]:
    """A GPU's step by the keys of CAUSES, in seconds, the mean over all GPUs; they sum to the step."""
    parts = report.result["breakdown"]
    assert isinstance(parts, Mapping)
    seconds = {key: share * report.timeline.duration for key, share in parts.items()}
    families: dict[str, float] = {str(family): time for family, time in found.family_seconds().items()}
    slowed = seconds.pop("compute") - sum(families.values()) - found.slow_gpus
    return families | {SLOWED: slowed, SLOW_GPUS: found.slow_gpus} | seconds


def _bounds(found: Inventory) -> dict[str, Resource]:
    """What bounds most of each cause."""
    sums: defaultdict[str, defaultdict[Resource, float]] = defaultdict(lambda: defaultdict(float))
    for entry in found.entries:
        key = entry.family or (entry.key if entry.is_kernel else f"exposed_{entry.key}")
        for resource, share in entry.mix.items():
            sums[key][resource] += entry.total * share
    slowed: dict[str, Resource] = {SLOWED: "hbm", SLOW_GPUS: "compute"}
    return slowed | dict(_BOUNDS) | {key: largest(seconds) for key, seconds in sums.items()}


def ratio_interval(a: TrainingReport, b: TrainingReport, is_same: bool) -> tuple[float, float]:
    """10th and 90th percentile of how many times as long B takes as A.

    A cause of error that both steps share, such as the fit of products on one GPU, counts with the difference of its
    shares; causes are independent of each other. What no cost knows of counts for each step by itself, unless they are
    the same.
    """
    errors: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for sign, report in ((-1.0, a), (1.0, b)):
        for one in shares(report.timeline, report.cluster):
            cause = f"{one.cause} on {report.cluster.gpu.name}"
            errors[cause] = [
                end + sign * one.share * spread for end, spread in zip(errors[cause], one.spread, strict=True)
            ]
    unknown = [] if is_same else [list(UNMODELLED), [-end for end in UNMODELLED]]
    ends = [sorted(error) for error in (*errors.values(), *unknown)]
    low, high = (math.hypot(*(end[which] for end in ends)) for which in (0, 1))
    ratio = b.timeline.duration / a.timeline.duration
    return ratio * math.exp(-low), ratio * math.exp(high)
