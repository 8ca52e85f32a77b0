"""Collectives as the Communication lab shows them: against their size, in a layer, and beside others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from numpy.typing import NDArray

import topologies
from calibrate.importers import read
from calibrate.published import nccl_tests
from calibrate.published.points import Point, beside, points
from sim.communication.by_size import OPERATIONS, BySize, Operation, bus_factor, by_size
from sim.communication.placement import members
from topologies import parts
from topologies.document import InputError, shorten
from topologies.hardware import Cluster
from topologies.quantity import nbytes
from web.answers.collective_words import Reading, Switch, read_off, rests_on, switches, where

SIZES: Final = 2.0 ** np.arange(3, 34.25, 0.5)
"""From 8 B to 16 GiB, two for each power of two."""
MOST_LOG: Final = 2_000_000
"""Bytes of a log of nccl-tests: some ten thousand rows."""
LOG: Final = "the log"
USUAL: Final = "dgx"
"""Of several clusters of the catalogue that a run may be of, those are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One way: its seconds at each of SIZES, and where NCCL takes it."""

    name: str
    algorithm: str
    protocol: str
    seconds: NDArray[np.float64]
    is_taken: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """An operation of a group against its size. `bus_factor` is busbw over algbw; the interval holds NCCL's way."""

    sizes: NDArray[np.float64]
    lines: tuple[Line, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    bus_factor: float
    reading: Reading
    switches: tuple[Switch, ...]
    published: tuple[Point, ...]
    own: tuple[Point, ...]
    where: str
    rests_on: str
    is_measured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A published run, and the settings of the page that show it."""

    title: str
    cluster: str
    operation: str
    num_gpus: int
    nccl_version: str


def curves(
    cluster: str, num_gpus: int, stride: int, operation: str, version: str, size: float, log: tuple[Point, ...] = ()
) -> Curves:
    """Every way of an operation of the catalogue's cluster at all SIZES, and at `size` in figures.

    Raises InputError where the cluster has no such group.
    """
    found, wanted = cluster_of(cluster, version), operation_of(operation)
    gpus = members(found, num_gpus, stride)
    shown = by_size(found, gpus, wanted, SIZES)
    published = beside(points(nccl_tests()), found, gpus, operation)
    own = beside(log, found, gpus, operation)
    return Curves(
        sizes=SIZES,
        lines=_lines(shown),
        low=shown.low,
        high=shown.high,
        bus_factor=bus_factor(wanted, num_gpus),
        reading=read_off(found, gpus, wanted, size),
        switches=switches(found, gpus, wanted, float(SIZES[-1])),
        published=published,
        own=own,
        where=where(found, gpus),
        rests_on=rests_on(shown),
        is_measured=bool(published or own),
    )


def points_of_log(content: bytes, gpu: str | None, fabric: str | None) -> tuple[Point, ...]:
    """The collectives in what nccl-tests printed, or in a table of such; `gpu` and `fabric` say what it leaves open.

    The file is parsed, in a folder of its own that is gone afterwards. Raises InputError for what cannot be read.
    """
    if len(content) > MOST_LOG:
        raise InputError(f"{LOG} has more than {nbytes(MOST_LOG)}; upload one test at a time")
    with TemporaryDirectory() as folder:
        path = Path(folder) / LOG
        path.write_bytes(content)
        found = points(read(path, gpu, fabric))
    if not found:
        raise InputError(f"{LOG} holds no collective of NCCL that is simulated; upload what nccl-tests prints")
    return found


def fabric_of(cluster: str) -> str | None:
    """The network of a catalogue's cluster as measurements name it: ib-ndr400x8; None where there is none."""
    node = topologies.load(cluster).node
    return f"{node.nic.name}x{node.num_nics}" if node.nic else None


@cache
def runs() -> tuple[Run, ...]:
    """The published runs that a cluster of the catalogue stands for."""
    found: dict[tuple[str, str, int, int], Run] = {}
    for point in points(nccl_tests()):
        key = point.gpu, point.fabric, point.num_gpus, point.num_nodes
        if key in found:
            continue
        for name in sorted(topologies.names(), key=lambda name: not name.startswith(USUAL)):
            cluster = topologies.load(name)
            fits = point.num_gpus <= cluster.num_gpus and point.num_gpus % point.num_nodes == 0
            if fits and beside((point,), cluster, members(cluster, point.num_gpus, 1), point.operation):
                found[key] = _run(point, name)
                break
    return tuple(found.values())


def described(found: Sequence[Point]) -> tuple[str, ...]:
    """What a log measured, in words, each setting once."""
    words = (
        f"{one.operation.replace('_', '-')} on {one.num_gpus} × {one.gpu}"
        + (f", {one.num_nodes} nodes, {one.fabric}" if one.num_nodes > 1 else ", one node")
        for one in found
    )
    return tuple(dict.fromkeys(words))


def cluster_of(name: str, version: str) -> Cluster:
    """The catalogue's cluster with that version of NCCL; raises InputError for a name or version that is none."""
    if name not in topologies.names():
        raise InputError(f"unknown cluster {shorten(name)}; choose one of the list")
    try:
        return replace(topologies.load(name), nccl_version=parts.version(version))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from None


def operation_of(name: str) -> Operation:
    """The operation of that name; raises InputError for one that is not simulated."""
    for known in OPERATIONS:
        if name == known:
            return known
    raise InputError(f"unknown operation {shorten(name)}; use {', '.join(OPERATIONS)}")


def _run(point: Point, cluster: str) -> Run:
    nodes = f"{point.num_nodes} nodes, {point.part}" if point.num_nodes > 1 else f"one node, {point.part}"
    return Run(
        title=f"{point.num_gpus} × {point.gpu}, {nodes}",
        cluster=cluster,
        operation=point.operation,
        num_gpus=point.num_gpus,
        nccl_version=point.nccl_version,
    )


def _lines(shown: BySize) -> tuple[Line, ...]:
    return tuple(
        Line(
            name=curve.name,
            algorithm=curve.algorithm,
            protocol=curve.protocol,
            seconds=curve.seconds,
            is_taken=shown.taken == place,
        )
        for place, curve in enumerate(shown.curves)
    )
