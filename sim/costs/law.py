"""A law: how long one operation takes on a part, with parameters that measurements decide.

The simulator evaluates the very function that `calibrate` fits. Parameters are ratios to the data sheet wherever
physics allows it (a share of the peak, not FLOP/s), so that a GPU that nobody measured can borrow those of its nearest
relative.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from sim.instructions import Basis
from topologies.document import InputError
from topologies.hardware import Cluster, Fit, Gpu, Link, Origin

Array = NDArray[np.float64]
Points = Mapping[str, Array]
"""Measured or asked-for sizes, a column per input, all of one length, in SI units."""
Values = Mapping[str, float]
Part = TypeVar("Part", Gpu, Link, Cluster)

TIMED: Final = "measured by calibrate run"
"""So begins what a fit says of its source where `calibrate run` timed PyTorch's own kernels on that very part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What a fit looks for: where it starts, and between which limits. `meaning` says it in words, with the unit.

    A fit to points with few different values of one of the inputs in `along` leaves it where it starts: a curve through
    those few says nothing of sizes beside them.
    """

    start: float
    low: float
    high: float
    meaning: str
    along: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Law(Generic[Part]):
    """`seconds(part, values, points)` is how long each point takes, an array.

    `inputs` are the columns of the points; a point beyond what was measured in one of them is extrapolated. At most 200
    parameters. `on_processor` holds in its place where a processor stands for a GPU.
    """

    operation: str
    inputs: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    seconds: Callable[[Part, Values, Points], Array]
    on_processor: "Law[Part] | None" = None


def law_on(part: Gpu | Link | Cluster, law: Law[Part]) -> Law[Part]:
    """The law of an operation that holds on a part."""
    is_processor = isinstance(part, Gpu) and part.is_processor
    return law.on_processor if is_processor and law.on_processor else law


def fit_of(part: Gpu | Link, law: Law[Part]) -> Fit:
    """The part's fit of an operation; where nobody measured any part of its kind, what the law starts from."""
    law = law_on(part, law)
    found = part.fits.get(law.operation)
    if found is None:
        return starting_fit(law)
    for missing in law.parameters.keys() - found.values.keys():
        raise InputError(
            f"{found.part}: the fit of {law.operation} has no {missing}: another version made it; `calibrate fit` again"
        )
    return found


def starting_fit(law: Law[Part]) -> Fit:
    """What the law says before any measurement."""
    values = {name: parameter.start for name, parameter in law.parameters.items()}
    return Fit(values=values, sources={name: parameter.meaning for name, parameter in law.parameters.items()})


def basis_of(gpu: Gpu, law: Law[Gpu], seconds: float, *, is_measured: bool = True, **point: float) -> tuple[Basis, ...]:
    """What a kernel's seconds rest on; one that no table has (`is_measured` is False) is extrapolated from those."""
    origin = origin_of(fit_of(gpu, law), gpu.name, point)
    return (Basis(law.operation, origin if is_measured or origin == "datasheet" else "extrapolated", seconds),)


def origin_of(fit: Fit, part_name: str, point: Mapping[str, float]) -> Origin:
    """What a prediction at that point rests on: a fit of another part counts as data-sheet values."""
    if fit.origin == "datasheet" or fit.part not in ("", part_name):
        return "datasheet"
    inside = all(low <= point[name] <= high for name, (low, high) in fit.domain.items() if name in point)
    return fit.origin if inside else "extrapolated"
