"""What nccl-tests measured, in two layouts: a row per size on 2, 4 or 8 GPUs of one node, and published logs.

Inside a node the link between its GPUs was measured, over several nodes their NIC. A published row has two times, out
of place and in place; the smaller is taken, since the first call of a size is now and then several times too slow.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

import topologies
from calibrate.importers.table import Table
from calibrate.samples import Samples
from sim.costs.collectives.nccl import NETWORK_LAW, NODE_LAW, OPERATIONS, VERSION_BASE
from sim.costs.law import Array
from topologies.document import InputError
from topologies.hardware import Cluster
from topologies.parts import NCCL_VERSION
from topologies.quantity import MICROSECOND

COLUMNS = frozenset({"gpu", "num_gpus", "nccl_version", "collective", "dtype", "size_bytes"})
LEFT_OUT = "of nccl-tests all_reduce, all_gather, reduce_scatter, broadcast and alltoall are read, on 2 GPUs or more"

ALL_TO_ALL = "alltoall"
_INTEGERS = ("int8", "uint8", "char")
_MOST_GPUS = 100_000
_TYPES_TIMES = ("time_us", "time_us_oop", "time_us_ip")


def read(table: Table, gpu: str | None) -> list[Samples]:
    """One Samples for each link measured in each kind of cluster; rows of other collectives are left out."""
    del gpu  # a row names its GPU, or was given the caller's
    table = table.where(table.numbers("num_gpus", low=1, high=_MOST_GPUS) > 1)
    seconds, points = _seconds(table), _points(table)
    return [_samples(table, seconds, points, *found) for found in _parts(table, points)]


def _parts(table: Table, points: Mapping[str, Array]) -> Iterator[tuple[str, str, bool, NDArray[np.int64]]]:
    """The GPU, the fabric, whether it is an all-to-all, and the rows of each kind of cluster."""
    exchange = table.texts("collective") == ALL_TO_ALL
    known = exchange | np.isin(table.texts("collective"), OPERATIONS)
    several = points["num_nodes"] > 1
    keys = np.array(
        [
            f"{g}\t{f}\t{int(e)}\t{int(s)}\t{w:.0f}"
            for g, f, e, s, w in zip(
                table.texts("gpu"), _fabrics(table), exchange, several, points["gpus_per_node"], strict=True
            )
        ]
    )
    for key in dict.fromkeys(map(str, keys[known])):
        name, fabric, is_exchange, _, _ = key.split("\t")
        yield name, fabric, is_exchange == "1", np.flatnonzero((keys == key) & known)


def _samples(
    table: Table,
    seconds: Array,
    points: Mapping[str, Array],
    gpu: str,
    fabric: str,
    is_exchange: bool,
    chosen: NDArray[np.int64],
) -> Samples:
    own = {name: column[chosen] for name, column in points.items()}
    several = bool(own["num_nodes"][0] > 1)
    cluster = _cluster(table, gpu, fabric, own, int(chosen[0]))
    link = cluster.node.nic if several else cluster.node.scale_up
    assert link is not None
    kind = "network" if several else "node"
    if is_exchange:
        own.pop("operation")
    law = f"nccl all-to-all {kind}" if is_exchange else (NETWORK_LAW if several else NODE_LAW).operation
    return Samples(
        operation=law,
        part=link.name,
        gpu=gpu,
        fabric=fabric,
        points=own,
        seconds=seconds[chosen],
        rows=table.rows[chosen],
        source=_source(table, chosen),
    )


def _cluster(table: Table, gpu: str, fabric: str, points: Mapping[str, Array], first: int) -> Cluster:
    try:
        return topologies.build(
            gpu=gpu,
            gpus_per_node=int(points["gpus_per_node"].max()),
            fabric=fabric or None,
            nodes=int(points["num_nodes"].max()),
        )
    except InputError as error:
        raise table.error(first, "fabric", str(error)) from None


def _seconds(table: Table) -> Array:
    """The time of each row; the smaller where there are two."""
    if "time_us" in table:
        return np.asarray(table.numbers("time_us") * MICROSECOND)
    out_of_place, in_place = (table.numbers(name, empty=np.inf) for name in _TYPES_TIMES[1:])
    found = np.minimum(out_of_place, in_place)
    missing = np.flatnonzero(~np.isfinite(found))
    if len(missing):
        raise table.error(int(missing[0]), _TYPES_TIMES[1], "empty; write a number, or leave the row away")
    return np.asarray(found * MICROSECOND)


def _points(table: Table) -> dict[str, Array]:
    num_gpus, nodes = table.numbers("num_gpus", low=1, high=_MOST_GPUS), _nodes(table)
    operations = [OPERATIONS.index(name) if name in OPERATIONS else 0 for name in map(str, table.texts("collective"))]
    return {
        "operation": np.array(operations, float),
        "num_gpus": num_gpus,
        "num_nodes": nodes,
        "gpus_per_node": _per_box(table, num_gpus, nodes),
        "nbytes": table.numbers("size_bytes"),
        "is_integer": np.isin(table.texts("dtype"), _INTEGERS).astype(float),
        "nccl_version": np.array([_version(table, index) for index in range(len(table))], float),
    }


def _nodes(table: Table) -> Array:
    """NVLink domains: the trays of one rack are one node."""
    if "nodes" not in table:
        return np.ones(len(table))
    domain = np.char.startswith(_fabrics(table), "nvl") & ~np.char.startswith(_fabrics(table), "nvlink")
    return np.where(domain, 1.0, table.numbers("nodes", low=1, high=_MOST_GPUS))


def _per_box(table: Table, num_gpus: Array, nodes: Array) -> Array:
    """GPUs of a whole box where a group uses fewer: the most that a row of the same GPU has in a node."""
    used = num_gpus / nodes
    uneven = np.flatnonzero(used != np.floor(used))
    if len(uneven):
        raise table.error(int(uneven[0]), "num_gpus", "not the same number of GPUs in every node; leave the row away")
    names = table.texts("gpu")
    most = {str(name): float(used[names == name].max()) for name in np.unique(names)}
    return np.array([most[str(name)] for name in names], float)


def _fabrics(table: Table) -> NDArray[np.str_]:
    return table.texts("fabric") if "fabric" in table else np.full(len(table), "", dtype=np.str_)


def _version(table: Table, index: int) -> int:
    """A version as the law's points have it; where none is said, the usual one."""
    text = str(table.texts("nccl_version")[index]) or NCCL_VERSION
    parts = text.split(".")
    if len(parts) < 2 or not all(part.isdigit() for part in parts):
        raise table.error(index, "nccl_version", f"{text} is not a version; write digits and dots, such as 2.27.3")
    return int(parts[0]) * VERSION_BASE + int(parts[1])


def _source(table: Table, chosen: NDArray[np.int64]) -> str:
    if "source" not in table:
        return f"nccl-tests on one node ({table.name})"
    return "; ".join(dict.fromkeys(map(str, table.texts("source")[chosen])))
