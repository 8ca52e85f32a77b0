"""Collectives in words: a size read off its curve, how each figure comes about, and where NCCL changes its way."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from sim.communication.by_size import BySize, Operation, activity, bus_factor, by_size, stretches
from sim.costs.collectives import alone
from topologies.fabric import capacity
from topologies.hardware import Cluster
from topologies.quantity import GIB, KIB, MIB, nbytes, percent, rate, seconds
from topologies.wire_names import describe

WHY: Final = {
    "LL": "a flag with every 4 bytes: least latency, half of the bandwidth",
    "LL128": "a flag with every 120 bytes: little latency, most of the bandwidth",
    "ring": "every GPU sends to the next: full bandwidth, as many steps as GPUs",
    "tree": "up and down a tree: few steps between nodes",
    "NVLS": "the NVSwitch adds up: a buffer goes up once and down once",
    "NVLSTree": "the NVSwitch adds up inside nodes, a tree joins them",
    "PAT": "each step reaches twice as far: few steps, one GPU to a node",
    "CollNet": "the network's switches add up",
    "": "grouped sends and receives; small parts by LL, large ones by Simple",
}
UNITS: Final = {GIB: "GiB", MIB: "MiB", KIB: "KiB", 1.0: "B"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """From which size to which NCCL takes a way, in words, with the time and the bus bandwidth at its last size."""

    sizes: str
    way: str
    why: str
    at_end: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One size read off the curve: figures in words, and how each comes about with the numbers put in."""

    way: str
    seconds: str
    interval: str
    algbw: str
    busbw: str
    how_seconds: str
    how_interval: str
    how_algbw: str
    how_busbw: str
    how_way: str


def read_off(cluster: Cluster, gpus: tuple[int, ...], operation: Operation, size: float) -> Reading:
    """One size of an operation of a group in figures."""
    shown = by_size(cluster, gpus, operation, np.array([size]))
    one, time = activity(cluster, gpus, operation, size), float(shown.seconds[0])
    wire = describe(cluster, max(one.loads, key=lambda load: load[1] / capacity(cluster, load[0]))[0])
    low, high = float(shown.low[0]), float(shown.high[0])
    factor = bus_factor(operation, len(gpus))
    moving = time - one.latency
    spread = f"{percent(low / time - 1)} to +{percent(high / time - 1)}"
    return Reading(
        way=shown.curves[int(shown.taken[0])].name,
        seconds=seconds(time),
        interval=_range(seconds(low), seconds(high)),
        algbw=rate(size / time),
        busbw=rate(size / time * factor),
        how_seconds=(
            f"{seconds(one.latency)} before bytes flow, then {nbytes(one.nbytes)} over the busiest wire ({wire}) at "
            f"{rate(one.nbytes / moving)}: {seconds(moving)} more. With the wires to itself."
        ),
        how_interval=f"Four of five measured runs lie {spread} from the fit of {shown.part} ({shown.law}).",
        how_algbw=f"Size over time: {nbytes(size)} in {seconds(time)}.",
        how_busbw=(
            f"algbw × {factor:.4g}, as nccl-tests defines it for {len(gpus)} GPUs: what a link carries, to compare "
            "with the rate of the hardware."
        ),
        how_way=f"NCCL {cluster.nccl_version} plans with its own figures; this way takes {one.num_sms} SMs of a GPU.",
    )


def _range(low: str, high: str) -> str:
    """From one time to another, the unit once where it is the same."""
    (number, unit), other = low.split(), high.split()[1]
    return f"{number} to {high}" if unit == other else f"{low} to {high}"


def switches(cluster: Cluster, gpus: tuple[int, ...], operation: Operation, largest: float) -> tuple[Switch, ...]:
    """Where NCCL changes its way, up to the largest size."""
    return tuple(
        Switch(
            sizes=_between(one.first, one.end, largest),
            way=f"{one.algorithm} {one.protocol}".strip(),
            why=WHY[one.algorithm if one.protocol == "Simple" else one.protocol],
            at_end=_at_end(cluster, gpus, operation, min(one.end, largest)),
        )
        for one in stretches(cluster, gpus, operation)
        if one.first < largest
    )


def _between(first: float, end: float, largest: float) -> str:
    if first == 0.0:
        return "all sizes" if end == float("inf") else f"up to {_short(end)}"
    return f"from {_short(first)}" if end >= largest else f"{_short(first)} to {_short(end)}"


def _short(size: float) -> str:
    """A size with two digits: no end of a stretch is known better."""
    scale = next(unit for unit in (GIB, MIB, KIB, 1.0) if size >= unit)
    return f"{float(f'{size / scale:.2g}'):g} {UNITS[scale]}"


def _at_end(cluster: Cluster, gpus: tuple[int, ...], operation: Operation, size: float) -> str:
    time = alone(cluster, activity(cluster, gpus, operation, size))
    return f"{seconds(time)}, {rate(size / time * bus_factor(operation, len(gpus)))} on the bus"


def where(cluster: Cluster, gpus: tuple[int, ...]) -> str:
    """What a group lies on, in a sentence."""
    nodes = len({cluster.node_of(gpu) for gpu in gpus})
    node = cluster.node_at(gpus[0])
    inside = f"{node.scale_up.name} at {rate(node.scale_up.achievable_bandwidth)} a GPU"
    if nodes == 1:
        return f"{len(gpus)} GPUs of one node, over {inside}."
    assert node.nic is not None
    network = f"{node.nic.name} at {rate(node.nic.achievable_bandwidth)} a NIC"
    each = len(gpus) // nodes
    if each <= 1:
        return f"{len(gpus)} GPUs, one to a node: a rail, all of it over {network}."
    return f"{len(gpus)} GPUs on {nodes} nodes: {network}, inside the nodes {inside}."


def rests_on(shown: BySize) -> str:
    """What the band comes from, in a sentence."""
    kinds = dict.fromkeys(shown.origins)
    if "datasheet" in kinds:
        return f"Nobody measured {shown.part} for this: the data sheet and NCCL's own figures, and a band of ± 16 %."
    wider = ", twice as wide where no such size or group was measured" if "extrapolated" in kinds else ""
    return f"The band holds four of five measured runs, by the fit of {shown.part} ({shown.law}){wider}."
