"""Two machines, or one machine twice, side by side: how much longer each operation takes, by the size of its work.

Points that both measured are compared one by one, else the fit of one with the points of the other, or two fits over
the sizes that both know. Small work shows latencies, large work bandwidths and clocks: a shift is told for each, with
the range of 80 % of the points, and whether it is beyond what repetitions, or points that fits left out, scatter by.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calibrate import domains, subjects
from calibrate.comparison.sides import Side
from calibrate.samples import Samples
from sim.costs.collectives import gloo
from sim.costs.collectives.nccl import OPERATIONS
from sim.costs.law import Array
from topologies.document import InputError
from topologies.hardware import Fit
from topologies.quantity import GIGA, KIB, MIB

Flags = NDArray[np.bool_]

LEAST_COMMON: Final = 3
"""Fewer points in common say less than two fits."""
LEAST_NOISE: Final = 0.01
"""No two runs of one machine agree better."""
MOST_NOISE: Final = 0.5
"""Where times scatter by more nobody can say that one is as long as another."""
FLOPS: Final = (GIGA, 100 * GIGA)
"""Between small, medium and large products and attentions: some us and some 100 us of a GPU."""
BYTES: Final = (256 * KIB, 16 * MIB)
"""Between collectives that wait for steps and those that fill their wires."""
STREAMED: Final = (16 * MIB, 256 * MIB)
"""Between bytes that an L2 holds and those that only the memory does."""
COLLECTIVES: Final = ("nccl ", "gloo", "custom all-reduce ", "deepep ")
CLASSES: Final = ("small", "medium", "large")
ALL: Final = "all sizes"
"""Where nobody knows what is much work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """One operation and size on both sides: `ratio` is the time of the second over that of the first, the median of
    `points`, of which 80 % lie between `low` and `high`.

    `collective` is which of them, where one law is of several. `size` is one of small, medium and large, `where` says
    it in words; `noise` is a share of the ratio.
    """

    operation: str
    collective: str = ""
    part: str
    size: str
    where: str
    points: int
    ratio: float
    low: float
    high: float
    noise: float
    measured: bool

    @property
    def is_told(self) -> bool:
        """Whether the noise lets anything be told."""
        return self.noise <= MOST_NOISE

    @property
    def is_beyond_noise(self) -> bool:
        return abs(float(np.log(self.ratio))) > float(np.log1p(self.noise))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairs:
    """The same points on both sides: times of the one and the other, and by how much each ratio scatters."""

    samples: Samples
    one: Array
    other: Array
    noise: Array
    measured: bool


def is_within(shift: Shift, tolerance: float) -> bool:
    """Whether the second is slower by no more than the tolerance beyond the noise."""
    return shift.ratio <= (1 + tolerance) * (1 + shift.noise)


def shifts(one: Side, other: Side) -> list[Shift]:
    """Every operation that both sides have, by part and size of work. InputError where there is none."""
    found = [
        shift
        for operation, part, counterpart in _operations(one, other)
        for pairs in _pairs(one, other, operation, part, counterpart)
        for shift in _by_size(pairs)
    ]
    if not found:
        raise InputError(f"{one.name} and {other.name} have no operation and sizes in common; measure both alike")
    return found


def _operations(one: Side, other: Side) -> Iterator[tuple[str, str, str]]:
    """Operations with the part of the one and that of the other: the same part, or the only one of each."""
    ours, theirs = _parts(one), _parts(other)
    for operation in ours:
        if operation in theirs:
            shared = [part for part in ours[operation] if part in theirs[operation]]
            yield from ((operation, part, part) for part in shared)
            if not shared and len(ours[operation]) == len(theirs[operation]) == 1:
                yield operation, ours[operation][0], theirs[operation][0]


def _parts(side: Side) -> Mapping[str, list[str]]:
    """The parts that each operation was measured or fitted on."""
    known = [(samples.operation, samples.part) for samples in side.samples]
    known += [(operation, part) for part, fits in side.fits.items() for operation in fits]
    parts: dict[str, list[str]] = {}
    for operation, part in dict.fromkeys(known):
        parts.setdefault(operation, []).append(part)
    return parts


def _pairs(one: Side, other: Side, operation: str, part: str, counterpart: str) -> list[_Pairs]:
    ours, theirs = _of(one, operation, part), _of(other, operation, counterpart)
    common = [pairs for a in ours for b in theirs if (pairs := _common(one, other, a, b)) is not None]
    our_fit, their_fit = _fit(one, operation, part), _fit(other, operation, counterpart)
    if sum(len(pairs.one) for pairs in common) >= LEAST_COMMON or not (our_fit or their_fit):
        return common
    if theirs and our_fit:
        return [_flipped(pairs) for pairs in _against_fit(other, theirs, one, part, our_fit)]
    if ours and their_fit:
        return _against_fit(one, ours, other, counterpart, their_fit)
    return _of_fits(one, other, operation, (part, counterpart), (our_fit, their_fit)) if our_fit and their_fit else []


def _of(side: Side, operation: str, part: str) -> list[Samples]:
    return [samples for samples in side.samples if (samples.operation, samples.part) == (operation, part)]


def _fit(side: Side, operation: str, part: str) -> Fit | None:
    return side.fits.get(part, {}).get(operation)


def _common(one: Side, other: Side, ours: Samples, theirs: Samples) -> _Pairs | None:
    """The points that both measured."""
    names = sorted(ours.points.keys() & theirs.points.keys())
    if ours.points.keys() != theirs.points.keys():
        return None
    places = {key: place for place, key in enumerate(_keys(theirs, names))}
    both = [(place, places[key]) for place, key in enumerate(_keys(ours, names)) if key in places]
    if not both:
        return None
    here, there = (np.array(column) for column in zip(*both, strict=True))
    noise = np.hypot(_noise(one, ours.where(here)), _noise(other, theirs.where(there)))
    return _Pairs(
        samples=theirs.where(there),
        one=ours.seconds[here],
        other=theirs.seconds[there],
        noise=noise,
        measured=True,
    )


def _keys(samples: Samples, names: Sequence[str]) -> list[tuple[float, ...]]:
    return [tuple(row) for row in np.column_stack([samples.points[name] for name in names]).tolist()]


def _noise(side: Side, samples: Samples) -> Array:
    return np.array([side.noise.get(int(row), np.nan) for row in samples.rows])


def _against_fit(side: Side, measured: Sequence[Samples], other: Side, part: str, fit: Fit) -> list[_Pairs]:
    """Points of one side, and what the fit of the other says of those that lie within its domain."""
    found = []
    for samples in measured:
        inside = samples.where(_inside(samples, fit))
        predicted = _predicted(other, replace(inside, part=part)) if len(inside) else None
        if predicted is not None:
            noise = np.full(len(inside), _spread(fit))
            found.append(_Pairs(samples=inside, one=inside.seconds, other=predicted, noise=noise, measured=False))
    return found


def _inside(samples: Samples, fit: Fit) -> Flags:
    inside = np.ones(len(samples), np.bool_)
    for name, (low, high) in fit.domain.items():
        if name in samples.points:
            inside &= (samples.points[name] >= low) & (samples.points[name] <= high)
    return inside


def _of_fits(one: Side, other: Side, operation: str, parts: tuple[str, str], fits: tuple[Fit, Fit]) -> list[_Pairs]:
    """What both fits say of the sizes that both know."""
    domain = domains.common(*fits)
    ours, theirs = (
        domains.over(part, operation, domain, side.hardware) for part, side in zip(parts, (one, other), strict=True)
    )
    if ours is None or theirs is None:
        return []
    here, there = _predicted(one, ours), _predicted(other, theirs)
    if here is None or there is None:
        return []
    noise = np.full(len(here), float(np.hypot(_spread(fits[0]), _spread(fits[1]))))
    return [_Pairs(samples=theirs, one=here, other=there, noise=noise, measured=False)]


def _predicted(side: Side, samples: Samples) -> Array | None:
    """Seconds by a side's fits; None where the part stands in no catalogue."""
    hardware = {**samples.hardware, **side.hardware}
    try:
        return subjects.predicted(replace(samples, hardware=hardware), side.fits)
    except InputError:
        return None


def _spread(fit: Fit) -> float:
    """Half of what 80 % of the points left out were off by."""
    return (fit.spread[1] - fit.spread[0]) / 2 if fit.spread else 0.0


def _flipped(pairs: _Pairs) -> _Pairs:
    return replace(pairs, one=pairs.other, other=pairs.one)


def _by_size(pairs: _Pairs) -> Iterator[Shift]:
    """A shift for each collective and size of work that has points."""
    limits, words = _classes(pairs.samples)
    sizes = np.digitize(_work(pairs.samples), limits, right=True)
    logs = np.log(pairs.other / pairs.one)
    for name, flags in _collectives(pairs.samples):
        for index, size in enumerate(CLASSES):
            chosen = flags & (sizes == index)
            if chosen.any():
                shift = _shift(pairs, logs[chosen], pairs.noise[chosen], size, words[index])
                yield replace(shift, collective=name)


def _collectives(samples: Samples) -> Iterator[tuple[str, Flags]]:
    """The name of each collective, and which points are of it."""
    if "operation" not in samples.points:
        yield "", np.ones(len(samples), np.bool_)
        return
    names = gloo.OPERATIONS if samples.operation == "gloo" else OPERATIONS
    for number in np.unique(samples.points["operation"]):
        yield names[int(number)].replace("_", "-"), samples.points["operation"] == number


def _shift(pairs: _Pairs, logs: Array, noise: Array, size: str, where: str) -> Shift:
    low, middle, high = np.quantile(logs, [0.1, 0.5, 0.9])
    known = noise[np.isfinite(noise)]
    scatter = float(np.median(known)) if len(known) else float(high - low) / 2
    return Shift(
        operation=pairs.samples.operation,
        part=pairs.samples.part,
        size=size,
        where=where,
        points=len(logs),
        ratio=float(np.exp(middle)),
        low=float(np.exp(low)),
        high=float(np.exp(high)),
        noise=max(LEAST_NOISE, scatter),
        measured=pairs.measured,
    )


def _work(samples: Samples) -> Array:
    """FLOPs of products and attention, bytes of all else."""
    points = samples.points
    if "m" in points and "n" in points and "k" in points:
        return 2 * points["m"] * points["n"] * points["k"]
    if "seq_len" in points:
        scores = points["batch"] * points["num_heads"] * points["seq_len"] ** 2
        return 4 * scores * points["head_dim"]
    return points["nbytes"] if "nbytes" in points else np.zeros(len(samples))


def _classes(samples: Samples) -> tuple[tuple[float, float], tuple[str, str, str]]:
    """Where small ends and large begins, and how that is said."""
    if "nbytes" not in samples.points:
        if not _work(samples).any():
            return FLOPS, (ALL, "", "")
        return FLOPS, ("below 1 GFLOP", "1 to 100 GFLOP", "above 100 GFLOP")
    if not samples.operation.startswith(COLLECTIVES):
        return STREAMED, ("below 16 MiB", "16 to 256 MiB", "above 256 MiB")
    return BYTES, ("below 256 KiB", "256 KiB to 16 MiB", "above 16 MiB")
