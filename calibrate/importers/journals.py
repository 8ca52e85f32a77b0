"""What `calibrate run` measured: its journal, samples.jsonl. Throttled points and wrong results are kept apart there,
and are told here as rows that are not used."""

from pathlib import Path

from calibrate import journal
from calibrate.importers.reading import Reading, Skipped


def is_journal(path: Path) -> bool:
    """Whether a file is named as a journal is."""
    return path.suffix == journal.SUFFIX


def read(path: Path) -> Reading:
    """The samples of a journal; rows are its lines. Raises InputError for a line that is no measurement."""
    machine, measurements = journal.read(path)
    skipped = [
        Skipped(row=row, reason=f"the result was wrong: {one.wrong}" if one.wrong else f"throttled: {one.throttled}")
        for row, one in enumerate(measurements, start=2)
        if one.wrong or one.throttled
    ]
    return Reading(samples=tuple(journal.samples(machine, measurements)), skipped=tuple(skipped))
