"""All-reduce as serving frameworks do it, measured on one node: by a kernel of the framework's, or by NCCL.

The version decides which kernel ran. Over PCIe frameworks leave more than two GPUs to NCCL: those rows, timed in a CUDA
graph as nccl-tests times, are measurements of NCCL. What frameworks did over several trays of a rack is not read.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

import topologies
from calibrate.importers.table import Table
from calibrate.samples import Samples
from sim.costs.collectives import nccl
from sim.costs.collectives.all_to_all import version_code
from sim.costs.collectives.custom_all_reduce import LAW_OF, has_grace
from sim.costs.collectives.custom_kernels import CHOICES, KERNELS, Kernel
from sim.costs.law import Array
from topologies.catalogue import named
from topologies.hardware import Cluster
from topologies.networks import GPUS_PER_TRAY
from topologies.quantity import MIB, MICROSECOND

COLUMNS = frozenset({"gpu", "num_gpus", "framework", "version", "kernel", "backend", "size_bytes", "time_us"})
LEFT_OUT = "only vllm, sglang and trtllm in a node are read, over PCIe with more than 2 GPUs or 16 MiB in a CUDA graph"

_MOST_GPUS = 1024
_MOST_BY_PAIRS = 16 * MIB
"""Above this no framework's own kernel serves two GPUs on PCIe."""
_SINCE: Mapping[str, tuple[tuple[tuple[int, ...], Kernel], ...]] = {
    "vllm": (((0, 16), "vllm"), ((0,), "vllm before 0.16")),
    "sglang": (((0, 5, 12), "sglang"), ((0,), "sglang before 0.5.12")),
    "trtllm": (((1, 3), "trtllm"), ((0,), "trtllm before 1.3")),
}
"""By framework the kernel of each version, the newest first."""


def read(table: Table, gpu: str | None) -> list[Samples]:
    """One Samples for each GPU and framework's code, and for NCCL over PCIe."""
    kernels = np.array([_kernel(table, index) for index in range(len(table))])
    num_gpus = table.numbers("num_gpus", low=2, high=_MOST_GPUS)
    names = np.array([named("gpus", gpu or str(name)) for name in table.texts("gpu")])
    found: list[Samples] = []
    for name in dict.fromkeys(map(str, names)):
        found += _of_gpu(table, name, np.flatnonzero((names == name) & (kernels >= 0)), kernels, num_gpus)
    return found


def _of_gpu(
    table: Table, gpu: str, rows: NDArray[np.int64], kernels: NDArray[np.int64], num_gpus: Array
) -> Iterator[Samples]:
    if not len(rows):
        return
    cluster = topologies.build(gpu=gpu, gpus_per_node=int(num_gpus[rows].max()), nodes=1)
    graph = ~np.char.endswith(table.texts("backend"), "eager")
    if cluster.node.layout == "pcie":
        large = table.numbers("size_bytes", low=1) > _MOST_BY_PAIRS
        by_nccl = rows[((num_gpus[rows] > 2) | large[rows]) & graph[rows]]
        rows = rows[(num_gpus[rows] == 2) & ~(large[rows] & graph[rows])]
        if len(by_nccl):
            yield _samples(table, cluster, nccl.NODE_LAW.operation, by_nccl, num_gpus, _nccl(cluster, len(by_nccl)))
    elif has_grace(cluster.gpu):
        rows = rows[num_gpus[rows] <= GPUS_PER_TRAY]
    families = np.array([CHOICES[KERNELS[kernel]].family for kernel in kernels[rows]])
    for family, law in LAW_OF.items():
        chosen = rows[families == family]
        if len(chosen):
            own = {"kernel": kernels[chosen].astype(float), "graph": graph[chosen].astype(float)}
            yield _samples(table, cluster, law.operation, chosen, num_gpus, own)


def _nccl(cluster: Cluster, count: int) -> dict[str, Array]:
    constants = {
        "operation": float(nccl.OPERATIONS.index("all_reduce")),
        "is_integer": 0.0,
        "nccl_version": version_code(cluster),
    }
    return {name: np.full(count, value) for name, value in constants.items()}


def _samples(
    table: Table,
    cluster: Cluster,
    operation: str,
    rows: NDArray[np.int64],
    num_gpus: Array,
    own: Mapping[str, Array],
) -> Samples:
    shared = {
        "num_gpus": num_gpus[rows],
        "num_nodes": np.ones(len(rows)),
        "gpus_per_node": np.full(len(rows), float(cluster.node.num_gpus)),
        "nbytes": table.numbers("size_bytes", low=1)[rows],
    }
    return Samples(
        operation=operation,
        part=cluster.node.scale_up.name,
        gpu=cluster.gpu.name,
        points={**shared, **own},
        seconds=table.numbers("time_us")[rows] * MICROSECOND,
        rows=table.rows[rows],
        source=f"all-reduce of serving frameworks ({table.name})",
    )


def _kernel(table: Table, index: int) -> int:
    """The place in KERNELS of what ran; -1 where nobody knows the framework."""
    framework, backend = str(table.texts("framework")[index]), str(table.texts("backend")[index])
    since = _SINCE.get("trtllm" if "trtllm" in backend else framework)
    if since is None:
        return -1
    version = _numbers(table, index) if framework in backend else (0,)
    return KERNELS.index(next(kernel for first, kernel in since if version >= first))


def _numbers(table: Table, index: int) -> tuple[int, ...]:
    """A version's leading numbers: 1.3.0rc10 is 1, 3, 0."""
    parts = str(table.texts("version")[index]).split(".")
    digits = ["".join(c for c in part if c.isdigit()) if part.isdigit() else part[:1] for part in parts[:3]]
    if not digits or not all(part.isdigit() for part in digits):
        raise table.error(index, "version", "not a version; write for example 0.5.14")
    return tuple(map(int, digits))
