"""The frameworks' own all-reduce: one kernel that reads its peers' buffers, for messages that NCCL starts too slowly.

One shot: each GPU reads all of every other's buffer and adds it up. Two shots: each adds up its own n-th, then all
gather the sums. With symmetric memory an NVSwitch adds up and hands out. What is large, or served by no kernel of the
framework's, goes to NCCL. Outside of a CUDA graph the host has to start each one, and the result is copied.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.costs.collectives import all_reduce, alone, nccl
from sim.costs.collectives.all_to_all import version_code
from sim.costs.collectives.custom_kernels import CHOICES, KERNELS, Algorithm, Choice, Family, Kernel, limit
from sim.costs.collectives.exchange import inside, scaled
from sim.costs.collectives.group import Group, group_of
from sim.costs.collectives.parameters import microseconds, ratio
from sim.costs.law import Array, Law, Parameter, Points, Values, fit_of
from sim.instructions import Activity
from topologies.hardware import Cluster, Gpu

Times = tuple[Array, Array, Array]
"""Seconds in all (infinite where NCCL is to do it), those in which bytes move, and bytes out of a GPU's port."""

_ALGORITHMS: Final[Mapping[Family, tuple[Algorithm, ...]]] = {
    "vllm": ("one_shot", "two_shot", "symmetric"),
    "sglang": ("one_shot", "two_shot"),
    "trtllm": ("one_shot", "two_shot"),
}
NUM_SMS: Final = 36
"""Blocks that the kernels start at most [vLLM, csrc/custom_all_reduce.cuh]."""


def custom_all_reduce(
    cluster: Cluster, gpus: Sequence[int], nbytes: float, kernel: Kernel = "vllm", graph: bool = True
) -> Activity:
    """The sum of a buffer of `nbytes` of each GPU, as a framework does it: in a CUDA graph, or started by the host."""
    return _activity(cluster, tuple(gpus), nbytes, kernel, graph)


@lru_cache(maxsize=4096)
def _activity(cluster: Cluster, gpus: tuple[int, ...], nbytes: float, kernel: Kernel, graph: bool) -> Activity:
    if len(gpus) == 1 or nbytes == 0:
        return Activity(latency=0.0, loads=())
    group = group_of(cluster, gpus)
    values = fit_of(group.inside, LAW_OF[CHOICES[kernel].family]).values
    size = np.array([nbytes])
    seconds, moving, sent = (float(column[0]) for column in _own(group, values, CHOICES[kernel], size))
    if np.isinf(seconds):
        activity = all_reduce(cluster, gpus, nbytes)
    else:
        loads = scaled(inside(cluster, gpus), sent / (len(gpus) - 1))
        busiest = max(share for _, share in loads)
        activity = Activity(latency=seconds - moving, loads=loads, ceiling=busiest / moving, num_sms=NUM_SMS)
    if graph:
        return activity
    before = alone(cluster, activity)
    after = float(_eager(cluster, values, np.array([before]), size)[0])
    return replace(activity, latency=activity.latency + after - before)


def _own(group: Group, values: Values, choice: Choice, nbytes: Array) -> Times:
    """By the framework's own kernel."""
    seconds, moving, sent = (np.full(len(nbytes), np.inf) for _ in range(3))
    for algorithm in _ALGORITHMS[choice.family] if _can(group) else ():
        found = _by(algorithm, group, values, nbytes)
        below = nbytes < limit(choice, group.generation, algorithm, group.num_gpus)
        better = below & (found[0] < seconds if choice.takes_fastest else np.isinf(seconds))
        for column, new in zip((seconds, moving, sent), found, strict=True):
            column[better] = new[better]
    return seconds, moving, sent


def _can(group: Group) -> bool:
    """Whether frameworks use kernels of their own: in one node, over NVLink or between two GPUs."""
    return group.num_nodes == 1 and (group.is_nvlink or group.num_gpus == 2)


def _by(algorithm: Algorithm, group: Group, values: Values, nbytes: Array) -> Times:
    peers = group.num_gpus - 1
    factor = {"one_shot": peers, "two_shot": 2 * peers / group.num_gpus, "symmetric": 1.0}[algorithm]
    sent = factor * nbytes
    moving = sent / (values[f"{algorithm}_rate"] * group.inside.bandwidth)
    start = values[f"{algorithm}_start"] + values[f"{algorithm}_peer"] * peers
    return start + moving, moving, sent


def _eager(cluster: Cluster, values: Values, seconds: Array, nbytes: Array) -> Array:
    """Outside of a graph: not before the host has started it, and with the result copied, read and written."""
    copied = 2 * nbytes / (values["copy_rate"] * cluster.gpu.memory_bandwidth)
    host = values["host_grace" if has_grace(cluster.gpu) else "host"]
    return np.maximum(host, seconds + copied)


def has_grace(gpu: Gpu) -> bool:
    """Whether NVIDIA's Grace is the host, whose trays of 4 GPUs are joined to racks: GB200, GB300, GH200."""
    return gpu.name.startswith(("gb", "gh"))


def _seconds(cluster: Cluster, values: Values, points: Points) -> Array:
    total = np.empty(len(points["nbytes"]))
    for kernel, num_gpus, rows in _kinds(points):
        group = group_of(cluster, tuple(range(num_gpus)))
        nbytes = points["nbytes"][rows]
        own, _, _ = _own(group, values, CHOICES[kernel], nbytes)
        left = np.isinf(own)
        own[left] = _nccl_seconds(cluster, num_gpus, tuple(nbytes[left].tolist()))
        total[rows] = np.where(points["graph"][rows] > 0, own, _eager(cluster, values, own, nbytes))
    return total


def _kinds(points: Points) -> Iterator[tuple[Kernel, int, NDArray[np.int64]]]:
    table = np.column_stack([points["kernel"], points["num_gpus"]])
    for kernel, num_gpus in np.unique(table, axis=0):
        rows = np.flatnonzero((table == (kernel, num_gpus)).all(axis=1))
        yield KERNELS[int(kernel)], int(num_gpus), rows


@lru_cache(maxsize=256)
def _nccl_seconds(cluster: Cluster, num_gpus: int, nbytes: tuple[float, ...]) -> Array:
    """What NCCL takes for each size; a fit asks for the same ones again and again."""
    constants = {
        "operation": float(nccl.OPERATIONS.index("all_reduce")),
        "num_gpus": float(num_gpus),
        "num_nodes": 1.0,
        "is_integer": 0.0,
        "nccl_version": version_code(cluster),
    }
    points = {name: np.full(len(nbytes), value) for name, value in constants.items()} | {"nbytes": np.array(nbytes)}
    values = fit_of(cluster.node.scale_up, nccl.NODE_LAW).values
    return nccl.NODE_LAW.seconds(cluster, values, points) if nbytes else np.empty(0)


_PARAMETERS: Final[Mapping[str, Parameter]] = {
    "one_shot_start": microseconds(4.2, 0.5, 60, "to start one shot"),
    "one_shot_peer": microseconds(0.1, 0.001, 20, "more for each peer"),
    "one_shot_rate": ratio(0.6, 0.01, 1.2, "bytes that one shot reads, of the link's bandwidth"),
    "two_shot_start": microseconds(7, 0.5, 60, "to start two shots"),
    "two_shot_peer": microseconds(1, 0.001, 20, "more for each peer"),
    "two_shot_rate": ratio(0.6, 0.01, 1.2, "bytes that two shots read, of the link's bandwidth"),
    "host": microseconds(21, 3, 200, "of the host to start it outside of a CUDA graph"),
    "host_grace": microseconds(48, 3, 300, "of a Grace host to start it outside of a CUDA graph"),
    "copy_rate": ratio(0.88, 0.3, 1.0, "of the memory's bandwidth, to copy the result outside of a graph"),
}
_SYMMETRIC: Final[Mapping[str, Parameter]] = {
    "symmetric_start": microseconds(10, 0.5, 60, "to start with symmetric memory"),
    "symmetric_peer": microseconds(0.1, 0.001, 20, "more for each peer"),
    "symmetric_rate": ratio(0.45, 0.05, 2.0, "bytes of the buffer with symmetric memory, of the link's bandwidth"),
}


def _law(family: Family) -> Law[Cluster]:
    return Law(
        operation=f"custom all-reduce {family}",
        inputs=("kernel", "num_gpus", "nbytes", "graph"),
        parameters={**_PARAMETERS, **(_SYMMETRIC if "symmetric" in _ALGORITHMS[family] else {})},
        seconds=_seconds,
    )


LAW_OF: Final[Mapping[Family, Law[Cluster]]] = {family: _law(family) for family in _ALGORITHMS}
LAWS: Final = tuple(LAW_OF.values())
