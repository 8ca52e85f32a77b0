"""Measured collectives one by one, and those of them that were measured where a prediction is made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from calibrate.importers import Reading
from calibrate.samples import Samples
from calibrate.subjects import predicted
from sim.costs.collectives.all_to_all import LAWS as EXCHANGE_LAWS
from sim.costs.collectives.chain import members
from sim.costs.collectives.nccl import LAWS, OPERATIONS, VERSION_BASE
from topologies.fabric import nic_of
from topologies.hardware import Cluster

ALL_TO_ALL: Final = "all_to_all"
_CHOSEN: Final = {law.operation for law in LAWS}
_EXCHANGES: Final = {law.operation for law in EXCHANGE_LAWS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One collective: `nbytes` as nccl-tests counts them, what it took, and what the present fits say of that very run;
    `part` is the link that was measured, `row` its line in the file."""

    operation: str
    gpu: str
    part: str
    fabric: str
    num_gpus: int
    num_nodes: int
    nccl_version: str
    nbytes: float
    seconds: float
    predicted: float
    source: str
    row: int


def points(reading: Reading) -> tuple[Point, ...]:
    """All collectives of NCCL in a file; raises InputError where no fit can say anything of them."""
    return tuple(point for samples in reading.samples for point in _points(samples))


def beside(found: Sequence[Point], cluster: Cluster, gpus: Sequence[int], operation: str) -> tuple[Point, ...]:
    """Those of the same operation on as many of the same GPUs, on as many nodes, over the same link."""
    held = members(cluster, gpus)
    node = cluster.node_at(gpus[0])
    link = node.scale_up if len(held) == 1 else nic_of(node)
    wanted = operation, node.gpu.name, link.name, len(gpus), len(held)
    return tuple(one for one in found if (one.operation, one.gpu, one.part, one.num_gpus, one.num_nodes) == wanted)


def _points(samples: Samples) -> Iterator[Point]:
    if samples.operation not in _CHOSEN | _EXCHANGES:
        return
    expected = predicted(samples, {})
    for index in range(len(samples)):
        fact = {name: float(column[index]) for name, column in samples.points.items()}
        version = int(fact["nccl_version"])
        yield Point(
            operation=OPERATIONS[int(fact["operation"])] if samples.operation in _CHOSEN else ALL_TO_ALL,
            gpu=samples.gpu,
            part=samples.part,
            fabric=samples.fabric,
            num_gpus=int(fact["num_gpus"]),
            num_nodes=int(fact["num_nodes"]),
            nccl_version=f"{version // VERSION_BASE}.{version % VERSION_BASE}",
            nbytes=fact["nbytes"],
            seconds=float(samples.seconds[index]),
            predicted=float(expected[index]),
            source=samples.source,
            row=int(samples.rows[index]),
        )
