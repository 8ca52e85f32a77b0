"""What `calibrate run` measured: its journal, samples.jsonl. Throttled points and wrong results are kept apart there,
and are told here as rows that are not used."""

from pathlib import Path

from calibrate import journal
from calibrate.importers.reading import Reading, Skipped
from topologies.document import InputError


def is_journal(path: Path) -> bool:
    """Whether a file is named as a journal is."""
    return path.suffix == journal.SUFFIX


def read(path: Path) -> Reading:
    """The samples of a journal; rows are its lines. Raises InputError for what is no measurement, or none."""
    machine, measurements = journal.read(path)
    if not measurements:
        raise InputError(f"{path}: nothing was measured yet; `calibrate run --out {path.parent} --resume` goes on")
    skipped = [
        Skipped(row=row, reason=f"the result was wrong: {one.wrong}" if one.wrong else f"throttled: {one.throttled}")
        for row, one in enumerate(measurements, start=2)
        if one.wrong or one.throttled
    ]
    return Reading(samples=tuple(journal.samples(machine, measurements)), skipped=tuple(skipped))
