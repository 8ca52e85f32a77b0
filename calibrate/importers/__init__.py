"""Measurements that other tools made, read into samples: which reader a file wants is seen from what is in it.

Each reader knows its layouts by their columns, and gives one Samples for each operation and part. A row names its own
GPU and fabric where it can; what it leaves out the caller says. A row that nothing can read is told, with the reason.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibrate.importers import (
    attention,
    best_products,
    bus_bandwidths,
    custom_all_reduce,
    deepep,
    flash_attention,
    gemm,
    journals,
    link_bandwidths,
    mamf,
    memory_bound,
    moe,
    nccl,
    nccl_json,
    nccl_tests,
    operators,
    traces,
    written,
)
from calibrate.importers.reading import Reading, Skipped
from calibrate.importers.table import Table, read_text, table_of
from calibrate.samples import Samples
from topologies import gpu as gpu_named
from topologies import network
from topologies.catalogue import named
from topologies.document import InputError, closest

__all__ = ["Reading", "Skipped", "read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A layout: the columns that it is known by, how it is read, and what is said of rows that are left out."""

    columns: frozenset[str]
    read: Callable[[Table, str | None], list[Samples]]
    left_out: str = ""


OURS = Reader(columns=written.COLUMNS, read=written.read)
READERS = (
    OURS,
    Reader(columns=nccl.COLUMNS, read=nccl.read, left_out=nccl.LEFT_OUT),
    Reader(columns=bus_bandwidths.COLUMNS, read=bus_bandwidths.read, left_out=bus_bandwidths.LEFT_OUT),
    Reader(columns=link_bandwidths.COLUMNS, read=link_bandwidths.read, left_out=link_bandwidths.LEFT_OUT),
    Reader(columns=custom_all_reduce.COLUMNS, read=custom_all_reduce.read, left_out=custom_all_reduce.LEFT_OUT),
    Reader(columns=deepep.COLUMNS, read=deepep.read, left_out=deepep.LEFT_OUT),
    Reader(columns=moe.COLUMNS, read=moe.read, left_out=moe.LEFT_OUT),
    Reader(columns=attention.COLUMNS, read=attention.read, left_out=attention.LEFT_OUT),
    Reader(columns=flash_attention.COLUMNS, read=flash_attention.read, left_out=flash_attention.LEFT_OUT),
    Reader(columns=memory_bound.COLUMNS, read=memory_bound.read, left_out=memory_bound.LEFT_OUT),
    Reader(columns=gemm.COLUMNS, read=gemm.read, left_out=gemm.LEFT_OUT),
    Reader(columns=operators.BY_TOKENS, read=operators.read_products, left_out=operators.PRODUCTS_ONLY),
    Reader(columns=operators.BY_SEQUENCES, read=operators.read_products, left_out=operators.PRODUCTS_ONLY),
    Reader(columns=operators.OF_ATTENTION, read=operators.read_attention, left_out=operators.ONE_KIND_ONLY),
    Reader(columns=best_products.COLUMNS, read=best_products.read, left_out=best_products.LEFT_OUT),
)


def read(path: Path, gpu: str | None, fabric: str | None) -> Reading:
    """The samples in a file: a CSV in a known layout, a text log or the JSON of nccl-tests, a log of mamf-finder, a
    trace of PyTorch's profiler, or the journal of `calibrate run`.

    `gpu` and `fabric` stand for what rows do not say themselves. Raises InputError where no reader knows the file, and
    for a cell that cannot be.
    """
    gpu = None if gpu is None else gpu_named(gpu).name
    if fabric is not None:
        network(fabric)
    if journals.is_journal(path):
        return journals.read(path)
    if traces.is_trace(path):
        return traces.read(path, gpu, fabric)
    text = read_text(path)
    if mamf.is_log(text):
        return mamf.read_log(text, path.name, gpu)
    if text.lstrip().startswith("{"):
        return _from_table(*nccl_json.read_json(text, path.name, gpu, fabric), gpu, fabric)
    if nccl_tests.is_log(text):
        return _from_table(*nccl_tests.read_log(text, path.name, gpu, fabric), gpu, fabric)
    return _from_table(table_of(text, path.name), (), gpu, fabric)


def _from_table(table: Table, skipped: Sequence[Skipped], gpu: str | None, fabric: str | None) -> Reading:
    """The samples that the reader of the table's layout finds, and every row that is in none of them."""
    if "hardware" in table and "gpu" not in table:
        table = table.with_column("gpu", table.texts("hardware"))
    filled = _filled(_filled(table, "gpu", gpu), "fabric", fabric)
    reader = _reader(filled)
    table = table if reader is OURS else filled
    known, unknown = _of_known_parts(table) if reader is not OURS else (table, ())
    samples = tuple(_samples(reader, known, gpu))
    used = {int(row) for part in samples for row in part.rows}
    left = [Skipped(row=int(row), reason=reader.left_out) for row in known.rows if int(row) not in used]
    return Reading(samples=samples, skipped=tuple(sorted((*skipped, *unknown, *left), key=lambda one: one.row)))


def _samples(reader: Reader, table: Table, gpu: str | None) -> Iterator[Samples]:
    """What the reader makes of the rows of each GPU, or of all where they do not name theirs."""
    if not len(table):
        return
    if "gpu" not in table or reader is OURS:
        yield from reader.read(table, gpu)
        return
    names = table.texts("gpu")
    for name in dict.fromkeys(map(str, names)):
        yield from reader.read(table.where(names == name), name)


def _reader(table: Table) -> Reader:
    """The reader whose columns the table has; of several the one that asks for most."""
    columns = set(table.header)
    fitting = [reader for reader in READERS if columns >= reader.columns]
    if not fitting:
        raise InputError(f"{table.name}:1: {_unknown_layout(table)}; docs/calibration.md lists the layouts")
    return max(fitting, key=lambda reader: len(reader.columns))


def _unknown_layout(table: Table) -> str:
    """Which columns are missing from the layout that comes nearest."""
    columns = set(table.header)
    nearest = max(READERS, key=lambda reader: len(reader.columns & columns) / len(reader.columns))
    missing = sorted(nearest.columns - columns)
    alike = next((name for name in table.header if closest(missing[0], [name])), None)
    said = f"; it has {alike}" if alike else ""
    return f"no layout has these columns; the nearest also has {', '.join(missing)}{said}"


def _of_known_parts(table: Table) -> tuple[Table, tuple[Skipped, ...]]:
    """The rows whose GPU and fabric are known, the GPU by its name in the catalogue; and what is said of the others."""
    skipped: list[Skipped] = []
    for column, known in (("gpu", _gpu), ("fabric", _fabric)):
        if column in table:
            cells = table.texts(column)
            found = {str(cell): known(str(cell)) for cell in np.unique(cells)}
            good = np.array([not found[str(cell)][1] for cell in cells])
            skipped += [
                Skipped(row=int(row), reason=found[str(cell)][1])
                for row, cell in zip(table.rows[~good], cells[~good], strict=True)
            ]
            names = np.array([found[str(cell)][0] for cell in cells], dtype=np.str_)
            table = table.with_column(column, names).where(good)
    return table, tuple(skipped)


def _gpu(name: str) -> tuple[str, str]:
    """The catalogue's name of a GPU, or why there is none."""
    if not name:
        return "", "the row names no GPU; say --gpu NAME"
    try:
        return named("gpus", name), ""
    except InputError:
        return "", f"unknown GPU {name}"


def _fabric(name: str) -> tuple[str, str]:
    try:
        if name:
            network(name)
    except InputError as error:
        return "", str(error)
    return name, ""


def _filled(table: Table, column: str, value: str | None) -> Table:
    """The table with `value` where the column is empty, or missing."""
    if value is None:
        return table
    cells = table.texts(column) if column in table else np.full(len(table), "", dtype=np.str_)
    return table.with_column(column, np.where(cells == "", value, cells))


def samples_of(readings: Sequence[Reading]) -> list[Samples]:
    """The samples of several files, one after another."""
    return [samples for reading in readings for samples in reading.samples]
