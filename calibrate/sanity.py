"""What measurements and fits must obey beside physical limits: more work does not take less time.

A point that is larger in every size than another, and alike in all else, may be a little faster (a better kernel, other
tiles, noise), but not by a third. A few such points are noise, and are left out; many say that the rows or the times
are not what they are taken for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calibrate import domains, journal, limits, subjects
from calibrate.domains import SIZES
from calibrate.importers.reading import Reading, Skipped
from calibrate.machines.machine import check_hardware
from calibrate.samples import Samples
from sim.costs.law import Array
from sim.costs.laws import check_fits
from topologies.document import InputError, Value, closest
from topologies.fits import Fits, hardware_of, profile
from topologies.hardware import Fit
from topologies.quantity import MICROSECOND

FALL: Final = 0.3
"""How much faster the larger of two may be."""
FALL_OF_UNITS: Final = 0.99
"""Units of time differ by a thousand; nothing else makes the larger of two a hundred times as fast."""
SLACK: Final = 5 * MICROSECOND
"""And by how much time: starts of kernels and of collectives differ by that."""
MOST_SHARE: Final = 0.05
FEW: Final = 3
"""So many points are noise in a file of any length."""
REASON: Final = "a third slower or faster than what is larger or smaller allows"
OTHER_UNIT: Final = "a hundred times slower or faster than what is larger or smaller allows"
ROOM: Final = 0.9
"""A fit may lie this far below a limit: it is no finer than that where kernels come near to one."""
MOST_POINTS: Final = 3000
"""More points of one kind are compared in chunks of these."""

Flags = NDArray[np.bool_]


def without_nonsense(readings: Sequence[Reading], names: Sequence[str]) -> list[Reading]:
    """The readings without the few points that contradict others; these are among the skipped, with reasons.

    Raises InputError where more than 5 % of a file's points do: names two rows. In journals of our own sizes are known,
    and on a busy processor times do scatter: there only what is of another unit counts.
    """
    return [
        _without_nonsense(reading, name, FALL_OF_UNITS if name.endswith(journal.SUFFIX) else FALL)
        for reading, name in zip(readings, names, strict=True)
    ]


def _without_nonsense(reading: Reading, name: str, fall: float) -> Reading:
    wrong = [contradicting(samples, fall) for samples in reading.samples]
    if not any(flags.any() for flags in wrong):
        return reading
    if sum(flags.sum() for flags in wrong) > max(FEW, MOST_SHARE * sum(map(len, wrong))):
        most = max(range(len(wrong)), key=lambda place: int(wrong[place].sum()))
        raise InputError(f"{name}:{_example(reading.samples[most], fall)}")
    skipped = [
        Skipped(row=int(row), reason=f"{samples.operation}: {REASON if fall == FALL else OTHER_UNIT}")
        for samples, flags in zip(reading.samples, wrong, strict=True)
        for row in samples.rows[flags]
    ]
    kept = (samples.where(~flags) for samples, flags in zip(reading.samples, wrong, strict=True))
    told = sorted((*reading.skipped, *skipped), key=lambda one: one.row)
    return Reading(samples=tuple(samples for samples in kept if len(samples)), skipped=tuple(told))


def _example(samples: Samples, fall: float) -> str:
    """Two rows that contradict each other, and what may be wrong."""
    for group in _alike(samples):
        against = _against(samples, group, fall)
        if against.any():
            small, large = (int(group[place]) for place in np.argwhere(against)[0])
            times = [f"{samples.seconds[place] / MICROSECOND:.4g} us" for place in (large, small)]
            return (
                f"{samples.rows[large]}: {samples.operation}: {times[0]}, but the smaller one of row "
                f"{samples.rows[small]} took {times[1]}, and more such; are sizes or times in two units, or of several "
                "machines?"
            )
    raise AssertionError("no row contradicts another")


def contradicting(samples: Samples, fall: float = FALL) -> Flags:
    """The fewest points without which none is larger in every size than another and yet faster by `fall`."""
    wrong = np.zeros(len(samples), np.bool_)
    for group in _alike(samples):
        against = _against(samples, group, fall)
        both = against | against.T
        while both.any():
            worst = int(both.sum(axis=1).argmax())
            wrong[group[worst]] = True
            both[worst, :] = both[:, worst] = False
    return wrong


def _alike(samples: Samples) -> Iterator[NDArray[np.int64]]:
    """The points that differ in sizes only, a chunk at a time."""
    others = [column for name, column in sorted(samples.points.items()) if name not in SIZES]
    places = np.arange(len(samples))
    groups = [places]
    if others:
        _, which = np.unique(np.column_stack(others), axis=0, return_inverse=True)
        which = which.reshape(-1)
        groups = [places[which == group] for group in range(which.max() + 1)]
    for group in groups:
        for begin in range(0, len(group), MOST_POINTS):
            yield group[begin : begin + MOST_POINTS]


def _against(samples: Samples, group: NDArray[np.int64], fall: float) -> Flags:
    """[i, j]: whether j is larger than i in every size and yet faster by `fall`."""
    seconds = samples.seconds[group]
    faster = seconds[None, :] < np.minimum((1 - fall) * seconds, seconds - SLACK)[:, None]
    larger = np.ones_like(faster)
    for column in _sizes(samples, group):
        larger &= column[None, :] >= column[:, None]
    return faster & larger


def _sizes(samples: Samples, group: NDArray[np.int64]) -> list[Array]:
    return [column[group] for name, column in samples.points.items() if name in SIZES]


def checked(path: Path) -> Mapping[str, Fits]:
    """The fits in a file or folder that `calibrate` wrote, by part.

    Raises InputError where there are none, laws do not allow them, or they predict what cannot be.
    """
    found, hardware = profile(path), hardware_of(path)
    check_hardware(path.name, hardware)
    check_fits(path.name, found)
    check_profile(path.name, found, hardware)
    return found


def check_profile(name: str, fits_by_part: Mapping[str, Fits], hardware: Mapping[str, Value]) -> None:
    """Raises InputError where a fit predicts what cannot be over the sizes that it was made from: nothing, less than
    physics allows, or far less for more work.

    `hardware` has the sheets of what no catalogue has. A link of which nobody can tell what it joins is not checked.
    """
    for part, fits in fits_by_part.items():
        for operation, fit in fits.items():
            _check_domain(f"{name}: {part}: {operation}", part, operation, fit)
            samples = domains.over(part, operation, fit.domain, hardware)
            if samples is not None:
                _check_predictions(f"{name}: {part}: {operation}", samples, {part: fits})


def _check_domain(at: str, part: str, operation: str, fit: Fit) -> None:
    known = domains.inputs_of(part, operation)
    for name, (low, _) in fit.domain.items():
        if name not in known:
            raise InputError(
                f"{at}: domain.{name}: no such input{closest(name, known) or '; there are ' + ', '.join(known)}"
            )
        if low < 0:
            raise InputError(f"{at}: domain.{name}: {low:g} is no size; write 0 or more")


def _check_predictions(at: str, samples: Samples, profile: Mapping[str, Fits]) -> None:
    try:
        seconds = subjects.predicted(samples, profile)
    except InputError:  # the part, or what it joins, is in no catalogue
        return
    wrong = np.flatnonzero(~np.isfinite(seconds) | (seconds <= 0))
    if len(wrong):
        raise InputError(f"{at}: predicts {seconds[wrong[0]]:g} s for {_point(samples, wrong[0])}; calibrate again")
    found = replace(samples, seconds=seconds)
    least = limits.least_seconds(found) / limits.TOLERANCE
    wrong = np.flatnonzero(seconds < ROOM * least)
    if len(wrong):
        times = f"{seconds[wrong[0]] / MICROSECOND:.4g} us where physics allows {least[wrong[0]] / MICROSECOND:.4g} us"
        raise InputError(f"{at}: predicts {times}, for {_point(samples, wrong[0])}; calibrate again")
    if contradicting(found).sum() > max(FEW, MOST_SHARE * len(found)):
        raise InputError(f"{at}: predicts far less time for more work; calibrate again")


def _point(samples: Samples, place: int) -> str:
    return ", ".join(f"{name} {column[place]:g}" for name, column in samples.points.items())
