"""Our own layout: a row per measurement, as `calibrate import` writes it and anybody can.

Columns: operation, part, seconds, source; gpu and fabric where the part is a link; and the inputs of the operation's
law, in SI units. Inputs that an operation does not have are empty.
"""

import csv
import io
from collections.abc import Iterator, Sequence

import numpy as np

from calibrate.importers.table import Table
from calibrate.samples import Samples
from topologies.document import InputError

COLUMNS = frozenset({"operation", "part", "seconds"})
_OURS = ("operation", "part", "gpu", "fabric", "seconds", "source")
_COLUMN_OF = {"operation": "collective"}
"""What an input is called where its own name is a column of ours: NCCL's, a place in its list of operations."""
_INPUT_OF = {column: name for name, column in _COLUMN_OF.items()}


def read(table: Table, gpu: str | None) -> list[Samples]:
    """One Samples for each operation on each part, measured in each cluster."""
    del gpu  # a row of this layout names its part
    seconds = table.numbers("seconds")
    told = [_cells(table, name) for name in _OURS if name != "seconds"]
    keys = np.array(["\t".join(key) for key in zip(*told, strict=True)])
    return [_samples(table.where(keys == key), seconds[keys == key]) for key in dict.fromkeys(map(str, keys))]


def write(samples: Sequence[Samples]) -> str:
    """The samples as CSV: every digit, so that they are read again as they are."""
    inputs = list(dict.fromkeys(name for part in samples for name in part.points))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_OURS, *(_COLUMN_OF.get(name, name) for name in inputs)])
    for part in samples:
        writer.writerows(_rows(part, inputs))
    return text.getvalue()


def _rows(samples: Samples, inputs: Sequence[str]) -> Iterator[list[str]]:
    for index, seconds in enumerate(samples.seconds):
        told = [samples.operation, samples.part, samples.gpu, samples.fabric, f"{seconds:.6g}", samples.source]
        points = [_exact(samples.points[name][index]) if name in samples.points else "" for name in inputs]
        yield [*told, *points]


def _exact(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(float(number))


def _cells(table: Table, name: str) -> list[str]:
    return list(map(str, table.texts(name))) if name in table else [""] * len(table)


def _samples(table: Table, seconds: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Samples:
    inputs = [name for name in table.header if name not in _OURS and bool((table.texts(name) != "").any())]
    if not inputs:
        raise InputError(f"{table.name}:{table.rows[0]}: no input of the operation has a value; docs/calibration.md")
    return Samples(
        operation=str(table.texts("operation")[0]),
        part=str(table.texts("part")[0]),
        gpu=_cells(table, "gpu")[0],
        fabric=_cells(table, "fabric")[0],
        points={_INPUT_OF.get(name, name): table.numbers(name, low=-np.inf) for name in inputs},
        seconds=seconds,
        rows=table.rows,
        source=_cells(table, "source")[0],
    )
