"""NCCL's kernels of a trace as samples, by collective, size and group.

In a training step the kernel of a rank runs from its own start until the last rank has come and all is moved: most of
its time may be waiting. Of many repetitions the fastest tenth waited least; that is what is taken, and it is still an
upper bound. PyTorch writes sizes and ranks beside these kernels since 2.2 (kineto, libkineto/src/output_json.cpp).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from calibrate.importers import nccl
from calibrate.importers.nccl_runs import COLUMNS
from calibrate.importers.reading import Skipped
from calibrate.importers.table import Table
from calibrate.importers.trace_events import Event, Trace, arguments, seconds_of
from calibrate.samples import Samples
from topologies import gpu as gpu_named
from topologies.document import InputError, Value
from topologies.quantity import MICROSECOND

QUANTILE: Final = 0.1
LEAST_REPETITIONS: Final = 5
"""Of fewer nobody can tell how long the kernel waited."""
NAMES: Final = {
    "allreduce": "all_reduce",
    "all_reduce": "all_reduce",
    "_allgather_base": "all_gather",
    "all_gather": "all_gather",
    "_reduce_scatter_base": "reduce_scatter",
    "reduce_scatter": "reduce_scatter",
    "broadcast": "broadcast",
    "all_to_all": "alltoall",
    "all_to_allv": "alltoall",
}
"""What PyTorch calls a collective, and nccl-tests."""
NBYTES: Final = {
    "BFloat16": 2, "Half": 2, "Float": 4, "Double": 8, "Byte": 1, "Char": 1, "Bool": 1, "Short": 2, "Int": 4, "Long": 8,
    "Float8_e4m3fn": 1, "Float8_e5m2": 1,
}  # fmt: skip
_INTEGERS: Final = ("Byte", "Char")
_IN_FULL: Final = "all_gather"
"""Whose size is what comes out; of all others what goes in [nccl-tests, doc/PERFORMANCE.md]."""
_RANK = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class _Key:
    """What repetitions have in common; the sizes as nccl-tests counts them."""

    collective: str
    dtype: str
    nbytes: int
    num_gpus: int
    num_nodes: int


def collective_samples(trace: Trace, fabric: str, skipped: list[Skipped]) -> list[Samples]:
    """One Samples for each link; what cannot be used is told in `skipped`."""
    groups: dict[_Key, list[tuple[int, float]]] = {}
    for row, event in enumerate(trace.events, start=1):
        if event.get("cat") == "kernel" and str(event.get("name", "")).startswith("nccl"):
            key = _key(trace, arguments(event), fabric)
            if isinstance(key, str):
                skipped.append(Skipped(row=row, reason=key))
            else:
                groups.setdefault(key, []).append((row, seconds_of(event, f"{trace.name}: event {row}")))
    used = {key: runs for key, runs in groups.items() if len(runs) >= LEAST_REPETITIONS}
    few = f"a collective with fewer than {LEAST_REPETITIONS} repetitions: how long it waited cannot be told"
    skipped += [Skipped(row=row, reason=few) for key, runs in groups.items() if key not in used for row, _ in runs]
    return nccl.read(_table(trace, fabric, used), trace.gpu) if used else []


def _key(trace: Trace, told: Event, fabric: str) -> _Key | str:
    """What a kernel moved, or why that is not known."""
    if "Collective name" not in told:
        return "a kernel of NCCL without its size; PyTorch writes it since 2.2"
    name = NAMES.get(str(told["Collective name"]))
    if name is None:
        return f"{told['Collective name']}: messages and several collectives in one wait for their partners"
    dtype, num_gpus = str(told.get("dtype")), told.get("Group size")
    count = told.get("Out msg nelems" if name == _IN_FULL else "In msg nelems")
    if dtype not in NBYTES or not isinstance(count, int) or not isinstance(num_gpus, int) or count < 1:
        return f"{name}: no type, number of elements and size of its group"
    if num_gpus < 2:
        return f"{name}: a group of one"
    if len(set(_split(told.get("In split size")))) > 1:
        return f"{name}: shares of several sizes"
    num_nodes = _num_nodes(_ranks(told.get("Process Group Ranks"), num_gpus), trace.num_devices)
    if isinstance(num_nodes, str):
        return num_nodes
    if num_nodes > 1 and not fabric:
        return f"{name}: over {num_nodes} nodes, whose network the trace does not tell; say --fabric NAME"
    return _Key(name, dtype, count * NBYTES[dtype], num_gpus, num_nodes)


def _num_nodes(ranks: Sequence[int], num_devices: int) -> int | str:
    """How many nodes a group spans, where each has as many GPUs as the process saw; or why nobody knows."""
    if not ranks:
        return "the ranks of a group are not said; a newer PyTorch writes them"
    if num_devices < 2:
        return "one GPU was visible to the process: how many a node has is not known"
    nodes = [rank // num_devices for rank in ranks]
    counts = {nodes.count(node) for node in nodes}
    return len(set(nodes)) if len(counts) == 1 else "not as many ranks of a group in every node"


def _ranks(value: Value, size: int) -> list[int]:
    """The ranks of a group, of which a long list has only the first and the last: they are evenly apart."""
    text = str(value) if value is not None else ""
    ranks = [int(rank) for rank in _RANK.findall(text)]
    if len(ranks) == size:
        return ranks
    if "..." not in text or len(ranks) < 2:
        return []
    whole = [ranks[0] + place * (ranks[1] - ranks[0]) for place in range(size)]
    return whole if whole[-1] == ranks[-1] else []


def _split(value: Value) -> list[str]:
    return _RANK.findall(str(value)) if value else []


def _table(trace: Trace, fabric: str, groups: Mapping[_Key, Sequence[tuple[int, float]]]) -> Table:
    """The groups as rows of nccl-tests; the smallest times of many."""
    inside = "nvlink-only" if gpu_named(trace.gpu).nvlink else "pcie-only"
    rows = [
        {
            "gpu": trace.gpu,
            "num_gpus": str(key.num_gpus),
            "nodes": str(key.num_nodes),
            "gpus_per_node": str(key.num_gpus // key.num_nodes),
            "nccl_version": trace.nccl_version,
            "collective": key.collective,
            "dtype": "int8" if key.dtype in _INTEGERS else key.dtype,
            "size_bytes": str(key.nbytes),
            "time_us_oop": f"{_least(runs) / MICROSECOND:.6g}",
            "fabric": fabric if key.num_nodes > 1 else inside,
            "source": f"PyTorch profiler trace ({trace.name}), the fastest tenth of each collective",
        }
        for key, runs in groups.items()
    ]
    columns = {name: np.array([row.get(name, "") for row in rows], dtype=np.str_) for name in COLUMNS}
    places = np.array([runs[0][0] for runs in groups.values()], np.int64)
    return Table(name=trace.name, header=COLUMNS, rows=places, columns=columns)


def _least(runs: Sequence[tuple[int, float]]) -> float:
    least = float(np.quantile([seconds for _, seconds in runs], QUANTILE))
    if not least:
        raise InputError("a collective that took no time")
    return least
