"""A run: the ranks measure, every point goes into the journal at once, and at the end the points become a profile.

Whatever ends it - the plan's end, the budget's, Ctrl-C, a rank that dies, a lost machine - what was measured is kept,
and `--resume` goes on from there.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from calibrate import journal, limits, sanity
from calibrate.fitting import Fitted, Left, fit_all
from calibrate.journal import Journal
from calibrate.launching.launch import launch
from calibrate.machines import at_hand
from calibrate.machines.machine import Machine
from calibrate.measurement import LeftOut, Measurement
from calibrate.profile import Counts, write_profile, write_whole
from calibrate.running import cluster_file
from calibrate.running.asked import Asked, Planned, Told
from calibrate.samples import Samples
from calibrate.subjects import is_known
from sim.costs.law import TIMED
from topologies.document import InputError

PROFILE: Final = "profile.yaml"
CLUSTER: Final = "cluster.yaml"
SLOW: Final = 0.03
"""A GPU that is slower than the middle one by more than this is named."""
OFTEN: Final = 2 / 3
"""It must be the slowest in more than this part of the kernels: one of them is always a little slower."""


@dataclass(slots=True)
class Taken:
    """What rank 0 told so far, in a run that goes on; measurements go on to the journal at once.

    The plan was told when it `began`, the `last` point then; the journal had so many points `before`.
    """

    folder: Path
    command: str
    tell: Callable[[str], None]
    machine: Machine | None = None
    plan: Planned = field(default_factory=lambda: Planned(families=()))
    measured: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    journal: Journal | None = None
    began: float = field(default_factory=time.monotonic)
    last: float = field(default_factory=time.monotonic)
    before: int = 0

    def take(self, told: Told) -> None:
        """Keep it: the machine comes first, then the plan, then points."""
        match told:
            case Machine():
                self.machine = told
            case Planned():
                self.plan, self.began, self.last = told, time.monotonic(), time.monotonic()
            case Measurement():
                self._journal().add(told, took=self._lap())
                self.measured += 1
                self._tell_progress(told.operation)
            case LeftOut():
                self.left_out.append(told)
                self._tell_progress(told.operation)

    def _journal(self) -> Journal:
        """Opened for the first point: a run that has none leaves nothing behind."""
        if self.journal is None:
            assert self.machine is not None
            self.journal = Journal(self.folder / journal.NAME, self.machine, command=self.command)
        return self.journal

    def _lap(self) -> float:
        """Seconds since the last point that is written."""
        before, self.last = self.last, time.monotonic()
        return self.last - before

    @property
    def unmeasured(self) -> int:
        """The points of the plan that were not walked."""
        return self.plan.points - self.measured - len(self.left_out)

    def _tell_progress(self, operation: str) -> None:
        done = self.plan.points - self.unmeasured
        self.tell(f"{done} of {self.plan.points} points, {operation}, about {self._left():.0f} s to go")

    def _left(self) -> float:
        """By the plan, corrected by how long it took so far."""
        done = self.plan.points - self.unmeasured
        return (time.monotonic() - self.began) / done * self.unmeasured

    def close(self) -> None:
        if self.journal is not None:
            self.journal.close()


def folder_of(asked: Asked, out: Path | None) -> Path:
    """Where it is written: `--out`, or a folder named after the part."""
    return out or Path(f"calibration-{at_hand.part_at_hand(asked.backend, asked.gpu)}")


def resumed(asked: Asked, folder: Path, *, resume: bool) -> Asked:
    """The run with what its folder holds already; InputError where there is something and nobody said `--resume`."""
    path = folder / journal.NAME
    if asked.is_plan and not resume:
        return asked
    _check_writable(folder)
    if not resume:
        for present in (path, folder / PROFILE):
            if present.exists():
                raise InputError(f"{present} is there already; add --resume to go on with it, or write another --out")
        return asked
    if not path.exists() or not journal.begins(path):
        return asked
    found, measured = journal.read(path)
    return replace(asked, found=found, measured=measured)


def _check_writable(folder: Path) -> None:
    """Raises InputError where nothing could be written there, before anything is measured for it."""
    place = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    if not place.is_dir():
        raise InputError(f"{place} is a file, not a folder; write another --out")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{place}: nobody lets you write there; write another --out")


def measure(taken: Taken, asked: Asked, processes: int | None, *, resume: bool) -> bool | None:
    """Measure as asked, on all ranks; True where all points were walked, None in a process of another rank than 0.

    What was taken stays taken, whatever is raised.
    """
    taken.tell("starting the processes")

    def with_journal(given: Asked) -> Asked:
        found = resumed(given, taken.folder, resume=resume)
        taken.before = len(found.measured)
        return found

    try:
        from calibrate.bench.measuring import work

        return launch(work, asked, backend=asked.backend, take=taken.take, num_ranks=processes, prepare=with_journal)
    finally:
        taken.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a run: the fits, what is not fitted and why, and all measurements of the journal, of which some are
    `impossible`: faster than the part can be."""

    machine: Machine
    folder: Path
    counts: Counts
    measured: tuple[Measurement, ...]
    impossible: int
    done: tuple[Fitted | Left, ...]

    @property
    def fitted(self) -> tuple[Fitted, ...]:
        return tuple(one for one in self.done if isinstance(one, Fitted))


def finish(folder: Path, *, command: str, tell: Callable[[str], None]) -> Result:
    """Fit what the journal holds, and write the profile beside it, in one go.

    Raises InputError where nothing was measured yet.
    """
    header, measured = journal.read_whole(folder / journal.NAME)
    source = f"{TIMED} on {header.machine.device}, {header.date}"
    known = [one for one in journal.samples(header.machine, measured, source=source) if is_known(one.operation)]
    samples = [_possible(one) for one in known]
    done = tuple(_sound(one, header.machine) for one in fit_all(samples, tell=tell))
    counts = Counts(
        points=len(measured),
        throttled=sum(bool(one.throttled) for one in measured),
        wrong=sum(bool(one.wrong) for one in measured),
        seconds=round(header.seconds, 1),
    )
    result = Result(
        machine=header.machine,
        folder=folder,
        counts=counts,
        measured=measured,
        impossible=sum(map(len, known)) - sum(map(len, samples)),
        done=done,
    )
    if result.fitted:
        write_profile(folder / PROFILE, header.machine, result.fitted, counts, command=command)
    if has_own_gpu(header.machine):
        write_whole(folder / CLUSTER, cluster_file.text(header.machine))
    return result


def has_own_gpu(machine: Machine) -> bool:
    """Whether its GPU is in no catalogue: then a file says what a cluster of it is."""
    return not machine.is_cpu and "gpu" in machine.hardware


def _possible(samples: Samples) -> Samples:
    """The samples without those that are faster than the part can be."""
    broken = [index for index, _ in limits.broken(samples)]
    return samples.where(~np.isin(np.arange(len(samples)), broken))


def _sound(one: Fitted | Left, machine: Machine) -> Fitted | Left:
    """The fit, unless it predicts what cannot be where it was measured."""
    if isinstance(one, Fitted):
        try:
            sanity.check_profile("fit", {one.part: {one.operation: one.fit}}, machine.hardware)
        except InputError as error:
            return Left(operation=one.operation, part=one.part, reason=str(error))
    return one


def install(result: Result, command: str) -> list[Path]:
    """Lay the fits among the user's own, a file per part."""
    from calibrate.fitting import by_part
    from calibrate.profile import merge_fits
    from topologies.fits import users_folder

    written = []
    for part, fits in by_part(result.fitted).items():
        written.append(users_folder() / f"{part}.yaml")
        merge_fits(written[-1], part, fits, command=command)
    return written


def slow_gpu(measured: Sequence[Measurement]) -> tuple[int, float] | None:
    """The rank of a GPU that is slower than the middle one throughout, and by how much; None where all are alike."""
    ratios = [(one.slowest_rank, one.slowest / one.seconds - 1) for one in measured if one.slowest == one.slowest]
    if not ratios:
        return None
    rank, count = Counter(rank for rank, _ in ratios).most_common(1)[0]
    behind = median(ratio for one, ratio in ratios if one == rank)
    return (rank, behind) if count > OFTEN * len(ratios) and behind > SLOW else None
