"""One of two things that are compared: what was measured on a machine, what was fitted to it, or both.

Beside a profile lies the journal that it was made from: then points are compared, and not two fits of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import topologies.fits
from calibrate import importers, journal, limits, sanity
from calibrate.importers.reading import Reading
from calibrate.machines.machine import CPU_PREFIX, LOOPBACK, Machine
from calibrate.measurement import Measurement
from calibrate.records import machine_in
from calibrate.samples import Samples
from topologies import document
from topologies.document import InputError, Value
from topologies.fits import Fits

PROFILE: Final = "profile.yaml"
SHIPPED: Final = "the shipped fits"
_FITS: Final = (".yaml", ".yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """`noise` is half of what 80 % of the repetitions of a point spread over, as a share of its time, by its row.

    `fits` are by part, `hardware` the sheets of what no catalogue has.
    """

    name: str
    machine: Machine | None = None
    measurements: tuple[Measurement, ...] = ()
    samples: tuple[Samples, ...] = ()
    noise: Mapping[int, float] = field(default_factory=dict)
    fits: Mapping[str, Fits] = field(default_factory=dict)
    hardware: Mapping[str, Value] = field(default_factory=dict)

    @property
    def parts(self) -> list[str]:
        """The GPUs and links that it speaks of."""
        return list(dict.fromkeys((*(samples.part for samples in self.samples), *self.fits)))

    @property
    def is_cpu(self) -> bool:
        """Whether processes on a processor were measured."""
        return any(part.startswith(CPU_PREFIX) or part == LOOPBACK for part in self.parts)


def load(path: Path, gpu: str | None, fabric: str | None) -> Side:
    """A profile, a folder of one or of fits, a journal, or any file of measurements that can be imported.

    Raises InputError for what is none of them, or says what cannot be.
    """
    if path.is_dir():
        return _of_folder(path)
    if path.suffix in _FITS:
        return _of_profile(path, path.with_name(journal.NAME))
    if path.suffix == journal.SUFFIX:
        return _of_journal(path)
    reading = importers.read(path, gpu, fabric)
    limits.check([reading], [path.name])
    return Side(name=path.name, samples=reading.samples)


def shipped(parts: list[str]) -> Side:
    """The fits of these parts that the package has. Raises InputError where it has none."""
    files = {part: topologies.fits.FOLDER / f"{part}.yaml" for part in parts}
    found = {part: topologies.fits.profile(file)[part] for part, file in files.items() if file.exists()}
    if not found:
        raise InputError(f"no fits of {', '.join(parts)} are shipped; name a profile to compare with: --against FILE")
    return Side(name=SHIPPED, fits=found)


def _of_folder(path: Path) -> Side:
    if (path / PROFILE).exists():
        return _of_profile(path / PROFILE, path / journal.NAME)
    if (path / journal.NAME).exists():
        return _of_journal(path / journal.NAME)
    return _of_profile(path, path / journal.NAME)


def _of_profile(path: Path, beside: Path) -> Side:
    fits, hardware = sanity.checked(path), topologies.fits.hardware_of(path)
    if not beside.exists():
        return Side(name=str(path), fits=fits, hardware=hardware, machine=_machine(path))
    measured = _of_journal(beside)
    return Side(
        name=str(path),
        machine=measured.machine,
        measurements=measured.measurements,
        samples=measured.samples,
        noise=measured.noise,
        fits=fits,
        hardware={**measured.hardware, **hardware},
    )


def _machine(path: Path) -> Machine | None:
    """The machine of a profile; a file of fits has none."""
    data = document.read(path).data if path.is_file() else None
    if not isinstance(data, dict) or "machine" not in data:
        return None
    return machine_in(path.name, data["machine"])


def _of_journal(path: Path) -> Side:
    machine, measurements = journal.read(path)
    samples = tuple(journal.samples(machine, measurements))
    limits.check([Reading(samples=samples)], [path.name])
    return Side(
        name=str(path),
        machine=machine,
        measurements=measurements,
        samples=samples,
        noise={row: (one.high - one.low) / 2 / one.seconds for row, one in enumerate(measurements, start=2)},
        hardware=machine.hardware,
    )
