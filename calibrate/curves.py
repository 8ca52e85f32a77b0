"""What a fit says over the sizes that it was made from, as lines to draw: one for each of a few usual settings; and
points that somebody measured, beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from calibrate import domains, subjects
from calibrate.domains import Domain
from calibrate.families import Family, Setting, family
from calibrate.samples import Samples
from sim.costs.law import Array
from sim.costs.memory_bound import ROW_KERNELS, ROW_NBYTES
from topologies.document import Value
from topologies.fits import Fits
from topologies.hardware import Fit

STEPS: Final = 49
"""Points of a line, evenly in the logarithm of its size."""
MOST_LINES: Final = 12
"""More settings than these are not told apart: points are then drawn over the work that each does."""
USUAL: Final[Setting] = {
    "batch": 1, "num_heads": 32, "num_kv_heads": 8, "head_dim": 128, "causal": 1, "hidden": 7168, "ffn": 14336,
    "top_k": 2, "topk": 8, "num_experts": 256, "tp": 1, "ep": 1, "skew": 0, "untuned": 0, "is_integer": 0,
    "nccl_version": np.inf, "graph": 1, "num_sms": 24, "rows": 4096, "width": 8192, "num_nodes": 0, "num_gpus": 8,
}  # fmt: skip
"""What a line is drawn for where it is not said otherwise, or the nearest to it that was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """`seconds` over `sizes`, and the rate (in the family's unit; empty where there is none)."""

    label: str
    sizes: Array
    seconds: Array
    rates: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Points that somebody measured, as columns beside what the fit says of each. `sizes` are of the input that grows,
    or, where the settings are too many to be told apart, the points' work; `words` say which."""

    words: str
    labels: tuple[str, ...]
    sizes: Array
    measured: Array
    predicted: Array
    measured_rates: Array
    predicted_rates: Array


def lines(
    part: str, operation: str, fit: Fit, profile: Mapping[str, Fits], hardware: Mapping[str, Value]
) -> list[Line]:
    """What the fit says of an operation on a part, by the fits of `profile` or else as predictions take it now.

    Empty where the operation has no size, or nobody knows what the link joins.
    """
    drawn = family(operation)
    if drawn is None or any(name not in fit.domain for name in domains.inputs_of(part, operation)):
        return []
    found = []
    for setting in drawn.settings(operation, fit.domain):
        samples = _along(part, operation, drawn, fit.domain, setting, hardware)
        if samples is not None:
            found.append(_line(drawn, samples, setting, profile))
    return found


def measured(samples: Samples, predicted: Array) -> Measured | None:
    """Points beside their predictions, as they are drawn; None for an operation that has no size."""
    drawn = family(samples.operation)
    if drawn is None or drawn.grows not in samples.points:
        return None
    labels = _labels(drawn, samples)
    is_told = len(set(labels)) <= MOST_LINES
    work = _work(drawn, samples)
    return Measured(
        words=drawn.words if is_told or work is None else f"work of a kernel ({_work_unit(drawn)})",
        labels=labels if is_told else ("all shapes",) * len(samples),
        sizes=samples.points[drawn.grows] if is_told or work is None else work,
        measured=samples.seconds,
        predicted=predicted,
        measured_rates=_rates(drawn, work, samples.seconds),
        predicted_rates=_rates(drawn, work, predicted),
    )


def _along(
    part: str, operation: str, drawn: Family, domain: Domain, setting: Setting, hardware: Mapping[str, Value]
) -> Samples | None:
    """The points of a line: one input grows, the others stay where the setting or what is usual has them."""
    low, high = domain[drawn.grows]
    sizes = np.unique(np.round(np.geomspace(max(low, 1.0), high, STEPS)))
    points = {
        name: sizes if name == drawn.grows else np.full(len(sizes), _within(name, bounds, setting))
        for name, bounds in domain.items()
    }
    if operation == "memory bound" and points["kind"][0]:
        points["rows"] = np.ceil(sizes / (ROW_NBYTES[ROW_KERNELS[int(points["kind"][0]) - 1]] * points["width"]))
    samples = Samples(
        operation=operation,
        part=part,
        points=points,
        seconds=np.ones(len(sizes)),
        rows=np.arange(len(sizes)),
        hardware=hardware,
    )
    return samples if not _is_collective(operation) else domains.in_cluster(_with_group(samples))


def _with_group(samples: Samples) -> Samples:
    """With nodes of eight GPUs, where the points say how many nodes and not how many GPUs."""
    points = dict(samples.points)
    if "num_nodes" in points and "num_gpus" not in points:
        points["num_gpus"] = USUAL["num_gpus"] * points["num_nodes"]
    elif "num_gpus" not in points:
        points["num_gpus"] = np.full(len(samples), USUAL["num_gpus"])
    return replace(samples, points=points)


def _within(name: str, bounds: tuple[float, float], setting: Setting) -> float:
    low, high = bounds
    return float(np.clip(setting.get(name, USUAL.get(name, low)), low, high))


def _is_collective(operation: str) -> bool:
    return operation.startswith(("nccl", "gloo", "custom all-reduce", "deepep"))


def _line(drawn: Family, samples: Samples, setting: Setting, profile: Mapping[str, Fits]) -> Line:
    seconds = subjects.predicted(samples, profile)
    label = drawn.label(samples.operation, {**setting, **_constant(drawn, samples)})
    return Line(
        label=label,
        sizes=samples.points[drawn.grows],
        seconds=seconds,
        rates=_rates(drawn, _work(drawn, samples), seconds),
    )


def _constant(drawn: Family, samples: Samples) -> Setting:
    return {name: float(samples.points[name][0]) for name in drawn.told_by if name in samples.points}


def _labels(drawn: Family, samples: Samples) -> tuple[str, ...]:
    """The label of each point, by the inputs that tell lines apart."""
    names = [name for name in drawn.told_by if name in samples.points]
    rows = zip(*(samples.points[name].tolist() for name in names), strict=True) if names else [()] * len(samples)
    return tuple(drawn.label(samples.operation, dict(zip(names, row, strict=True))) for row in rows)


def _work(drawn: Family, samples: Samples) -> Array | None:
    return None if drawn.work is None else drawn.work(samples.operation, samples.points)


def _work_unit(drawn: Family) -> str:
    return "FLOP" if "FLOP" in drawn.unit else "bytes"


def _rates(drawn: Family, work: Array | None, seconds: Array) -> Array:
    return np.zeros(0) if work is None else work / seconds / drawn.per_unit
