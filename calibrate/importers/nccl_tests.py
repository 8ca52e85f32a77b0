"""What nccl-tests prints, as a table.

A log may hold several tests, one after another, of several collectives. A header names the ranks with their hosts and
GPUs; then each row has a size and, twice (out of place and in place), a time in microseconds, two bandwidths and how
many values were wrong. Formats: NVIDIA/nccl-tests, src/common.cu and src/util.cu, from 2.0 to 2.17.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from calibrate.importers.nccl_runs import CPU_TIMES, Measured, Rows, Run, number, told_by
from calibrate.importers.reading import Skipped
from calibrate.importers.table import Table

_PREFIX = re.compile(r"^\[\d+(?:,\d+)*\]<std(?:out|err)>: ?")
_RANK = re.compile(r"#\s+Rank\s+(\d+)(?:\s+Group\s+(\d+))?\s+Pid\s+\d+ on\s+(\S+) device\s+\d+ \[[^\]]*\] (.+)")
_BEFORE_TIMES = ("size", "count", "type", "redop", "root")
_TIMES = ("time", "cputime")
_TELLING = ("_perf", "NCCL_ALGO", "nccl-library", "NCCL version")
_NBYTES = {
    "int8": 1, "uint8": 1, "char": 1, "f8e4m3": 1, "f8e5m2": 1, "half": 2, "bfloat16": 2, "int32": 4, "uint32": 4,
    "int": 4, "float": 4, "int64": 8, "uint64": 8, "double": 8,
}  # fmt: skip


def is_log(text: str) -> bool:
    """Whether a text is what nccl-tests prints: its header, or the heads of its columns."""
    return "# nThread" in text or ("algbw" in text and "busbw" in text and "\n#" in f"\n{text}")


def read_log(text: str, name: str, gpu: str | None, fabric: str | None) -> tuple[Table, tuple[Skipped, ...]]:
    """The rows of a log, and those that are not used, with reasons.

    `gpu` and `fabric` say what the log leaves open: it names its GPUs, but not what joins its hosts. Raises InputError
    where that is missing, and where no row can be used.
    """
    rows, run = Rows(name, gpu, fabric), Run()
    for line, said in enumerate(text.splitlines(), start=1):
        said = _PREFIX.sub("", said)
        if run.columns and said.lstrip(" -")[:1].isdigit():
            _take(rows, run, line, said.split())
        else:
            run = _told(run, said)
    return rows.table(), tuple(rows.skipped)


def _told(run: Run, said: str) -> Run:
    """What is known of the run once the line has been read; a new header begins a new run."""
    rank = _RANK.search(said)
    if rank:
        groups = run.groups | {rank[2] or "0"}
        return replace(run, hosts=(*run.hosts, rank[3]), gpus=(*run.gpus, rank[4].strip()), groups=groups)
    if "Avg bus bandwidth" in said or "test concluded" in said:
        return Run(version=run.version, algorithm=run.algorithm)
    if "# nThread" in said or "# Using devices" in said:
        return replace(run, hosts=(), gpus=(), groups=frozenset(), columns=())
    if said.startswith("#") and "algbw" in said:
        return replace(run, columns=tuple(said[1:].split()))
    return told_by(run, said) if any(word in said for word in _TELLING) else run


def _take(rows: Rows, run: Run, line: int, cells: Sequence[str]) -> None:
    """One row of a log; `cells` stand under the run's columns, of which the last, a time stamp, may have two."""
    if len(cells) < len(run.columns):
        rows.skip(line, "the line is cut off")
        return
    named = dict(zip(run.columns, cells, strict=False))
    places = [index for index, column in enumerate(run.columns) if column in _TIMES]
    if "cputime" in run.columns:
        rows.skip(line, CPU_TIMES)
        return
    wrong = [number(cells[index + 3]) for index in places if cells[index + 3].upper() != "N/A"]
    times = [cells[index] for index in places]
    row = Measured(
        line=line,
        nbytes=named["size"],
        dtype=named.get("type", ""),
        out_of_place=times[0],
        in_place=times[1] if len(times) > 1 else "",
        num_wrong=max(wrong, default=0.0),
    )
    rows.add(_with_collective(run, named), row)


def _with_collective(run: Run, named: Mapping[str, str]) -> Run:
    """What a log does not name is told by an operator without a root: one adds up all, or deals out the sum.

    The count of elements is then that of the buffer, or of one rank's share.
    """
    added = named.get("redop", "none") != "none" and named.get("root", "-1") == "-1"
    if run.collective or not added or named.get("type") not in _NBYTES:
        return run
    whole = number(named["count"]) * _NBYTES[named["type"]] == number(named["size"])
    return replace(run, collective="all_reduce" if whole else "reduce_scatter")
