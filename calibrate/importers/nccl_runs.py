"""A run of nccl-tests, however it was written down: who took part, and the rows that it measured, as a table.

The columns are those of published logs, so that one reader (nccl.py) makes samples of both. A row that cannot be used
is told with its reason: wrong results, times of the CPU, several groups at once, collectives that are not simulated.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from calibrate.importers.reading import Skipped
from calibrate.importers.table import Table
from topologies import gpu as gpu_named
from topologies.document import InputError

COLUMNS = (
    "run", "gpu", "num_gpus", "nodes", "gpus_per_node", "interconnect", "nccl_version", "algo_hint", "collective",
    "dtype", "size_bytes", "time_us_oop", "time_us_ip", "algbw_GBps", "busbw_GBps", "busbw_printed", "note", "source",
    "fabric",
)  # fmt: skip
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "alltoall", "broadcast", "sendrecv")
CPU_TIMES = "times of the CPU (-C 1), not of the collective"

_PROGRAM = re.compile(r"([a-z_]+)_perf\b")
_LIBRARY = re.compile(r"nccl-library=(\d+)")
_VERSION = re.compile(r"NCCL version (\d+\.\d+\.\d+)")
_ALGORITHM = re.compile(r"\bNCCL_ALGO=(\w+)")
_NEW_CODES = 10_000
"""From 2.9 on a version's code is 10000 x major + 100 x minor + patch; before, 1000 x major."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is known of one test before its rows: `hosts` and `gpus` have an element for each rank."""

    collective: str = ""
    version: str = ""
    algorithm: str = ""
    hosts: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    groups: frozenset[str] = frozenset()
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One row: times in microseconds as text, empty where it has none, and how many values were wrong."""

    line: int
    nbytes: str
    dtype: str
    out_of_place: str
    in_place: str
    num_wrong: float = 0.0


@dataclass(slots=True)
class Rows:
    """The rows as they are read; `gpu` and `fabric` are what the caller says of them."""

    name: str
    gpu: str | None
    fabric: str | None
    cells: list[dict[str, str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def skip(self, line: int, reason: str) -> None:
        self.skipped.append(Skipped(row=line, reason=reason))

    def add(self, run: Run, row: Measured) -> None:
        """Take a row in, or tell why not; InputError where the GPU or the fabric is not known."""
        reason = _reason(run, row)
        if reason:
            self.skip(row.line, reason)
            return
        self.cells.append(_cells(self, run, row))
        self.lines.append(row.line)

    def table(self) -> Table:
        """All rows; InputError where there is none."""
        if not self.cells:
            why = f": {self.skipped[0].reason}" if self.skipped else "; keep the log as nccl-tests prints it"
            raise InputError(f"{self.name}: no row of nccl-tests that can be used{why}")
        columns = {name: np.array([cells[name] for cells in self.cells], dtype=np.str_) for name in COLUMNS}
        return Table(name=self.name, header=COLUMNS, rows=np.array(self.lines, np.int64), columns=columns)


def told_by(run: Run, words: str) -> Run:
    """The run with what a command line, an environment or a line of NCCL's says of it."""
    programs = _PROGRAM.findall(words)
    library, version, algorithm = _LIBRARY.search(words), _VERSION.search(words), _ALGORITHM.search(words)
    return replace(
        run,
        collective=programs[-1] if programs else run.collective,
        version=version_of(int(library[1])) if library else version[1] if version else run.version,
        algorithm=algorithm[1] if algorithm else run.algorithm,
    )


def version_of(code: int) -> str:
    """NCCL's version from its code: 22703 is 2.27.3."""
    major, rest = divmod(code, _NEW_CODES if code >= _NEW_CODES else _NEW_CODES // 10)
    return f"{major}.{rest // 100}.{rest % 100}"


def number(text: str) -> float:
    """A cell as a number; infinite where it is none."""
    try:
        return float(text)
    except ValueError:
        return float("inf")


def _reason(run: Run, row: Measured) -> str:
    """Why a row is not used; empty where it is."""
    if not run.hosts:
        return "which GPUs ran is not said (lines '# Rank 0 ... device 0 ...'); keep the header of the log"
    if len(run.groups) > 1:
        return f"{len(run.groups)} groups ran at once and shared the wires; measure one alone"
    if run.collective not in COLLECTIVES:
        unknown = "which collective ran is not said; keep the line with the command, such as all_gather_perf"
        return f"{run.collective} is not simulated" if run.collective else unknown
    if row.num_wrong >= 1:
        return "#wrong is not 0: the result was not right"
    if number(row.nbytes) == 0:
        return "a size of 0 bytes"
    if len(run.hosts) % len(set(run.hosts)):
        return f"{len(run.hosts)} GPUs on {len(set(run.hosts))} hosts: not as many on each"
    return ""


def _cells(rows: Rows, run: Run, row: Measured) -> dict[str, str]:
    num_gpus, num_hosts = len(run.hosts), len(set(run.hosts))
    gpu = rows.gpu or _gpu(rows.name, run.gpus, row.line)
    return dict.fromkeys(COLUMNS, "") | {
        "run": rows.name,
        "gpu": gpu,
        "num_gpus": str(num_gpus),
        "nodes": str(num_hosts),
        "gpus_per_node": str(num_gpus // num_hosts),
        "nccl_version": run.version,
        "algo_hint": run.algorithm,
        "collective": run.collective,
        "dtype": row.dtype,
        "size_bytes": row.nbytes,
        "time_us_oop": row.out_of_place,
        "time_us_ip": row.in_place,
        "source": rows.name,
        "fabric": rows.fabric or _fabric(rows.name, gpu, num_hosts),
    }


def _gpu(name: str, gpus: Sequence[str], line: int) -> str:
    """The catalogue's name of the GPUs that ran."""
    if len(set(gpus)) > 1:
        raise InputError(f"{name}:{line}: GPUs of several kinds ran; say --gpu NAME which to take them for")
    try:
        return gpu_named(gpus[0]).name
    except InputError:
        raise InputError(f"{name}:{line}: {gpus[0]} is not in the catalogue; say --gpu NAME") from None


def _fabric(name: str, gpu: str, num_hosts: int) -> str:
    if num_hosts > 1:
        said = "which nccl-tests does not tell the network of; add for example --fabric ib-ndr400x8"
        raise InputError(f"{name}: {num_hosts} hosts, {said}")
    return "nvlink-only" if gpu_named(gpu).nvlink else "pcie-only"
