"""Who meets: the facts of a group of GPUs that decide what its collectives cost.

Latency depends on how many members and nodes there are and on the links between them; the time of a byte on the wires
that its chains load; what NCCL may choose on the kind of GPU, on how a node is wired, and on NCCL's version.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from sim.costs.collectives.chain import Load, inside_link, members, nic_link, shares
from topologies.fabric import capacity
from topologies.hardware import Cluster, Link, Node

Generation = Literal["volta", "ampere", "hopper", "blackwell"]

_BETWEEN: Final = ("nic", "leaf", "uplink", "torus")
"""The wires between nodes; all others are inside one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """`most_per_node` and `fewest_per_node` are members of one node; `inside` is None where no node holds two.

    `inside_per_byte` and `between_per_byte` are the seconds that a byte of a chain takes on the busiest wire inside a
    node and between nodes, `port_per_byte` those of a byte on a GPU's own way out alone.
    """

    num_gpus: int
    num_nodes: int
    most_per_node: int
    fewest_per_node: int
    inside: Link
    nic: Link | None
    is_nvlink: bool
    has_switch: bool
    has_sharp: bool
    has_own_nics: bool
    generation: Generation
    nccl: tuple[int, ...]
    num_sms: int
    inside_per_byte: float
    between_per_byte: float
    port_per_byte: float


@lru_cache(maxsize=4096)
def group_of(cluster: Cluster, gpus: tuple[int, ...]) -> Group:
    """The facts of a group of several GPUs."""
    held = members(cluster, gpus)
    loads = shares(cluster, held)
    counts = [len(local) for local in held.values()]
    busiest = max(held.values(), key=len)
    node = cluster.node_at(busiest[0])
    inside = inside_link(cluster, busiest)
    return Group(
        num_gpus=len(gpus),
        num_nodes=len(held),
        most_per_node=max(counts),
        fewest_per_node=min(counts),
        inside=inside,
        nic=nic_link(cluster, held) if len(held) > 1 else None,
        is_nvlink=node.layout != "pcie" or inside is node.bridge,
        has_switch=all(cluster.node_at(local[0]).layout == "nvswitch" for local in held.values()),
        has_sharp=cluster.network.sharp,
        has_own_nics=all(_has_own_nics(cluster.node_at(local[0])) for local in held.values()),
        generation=min((_generation(cluster.node_at(local[0])) for local in held.values()), key=_GENERATIONS.index),
        nccl=version_of(cluster.nccl_version),
        num_sms=min(cluster.gpu_at(local[0]).num_sms for local in held.values()),
        inside_per_byte=_slowest(cluster, loads, between=False),
        between_per_byte=_slowest(cluster, loads, between=True),
        port_per_byte=1 / inside.achievable_bandwidth,
    )


@lru_cache
def version_of(text: str) -> tuple[int, ...]:
    """A version of NCCL as numbers, to be compared: (2, 27, 3)."""
    return tuple(int(part) for part in text.split("."))


_GENERATIONS: Final[Sequence[Generation]] = ("volta", "ampere", "hopper", "blackwell")


def _generation(node: Node) -> Generation:
    """NCCL's class of a GPU, told by what its tensor cores multiply; Ada counts as Ampere [NCCL, tuning.cc]."""
    precisions = node.gpu.peak_flops
    if "fp4" in precisions:
        return "blackwell"
    if "fp8" in precisions and node.layout == "nvswitch":
        return "hopper"
    return "ampere" if "bf16" in precisions or not precisions else "volta"


def _has_own_nics(node: Node) -> bool:
    return node.num_nics >= node.num_gpus


def _slowest(cluster: Cluster, loads: Sequence[Load], *, between: bool) -> float:
    chosen = [load for load in loads if (load[0].medium in _BETWEEN) == between]
    return max((share / capacity(cluster, wire) for wire, share in chosen), default=0.0)
