"""What the hardware is: frozen facts about GPUs, links, nodes and clusters.

All figures are SI floats (bytes, bytes per second, seconds, FLOP/s, watts). A bandwidth is that of one direction.
What a part achieves beside its data sheet is its Fit; every number of a fit knows where it comes from.
Mappings count when parts are compared but not when they are hashed, so that a part can key a cache.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Origin = Literal["measured", "interpolated", "extrapolated", "datasheet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The parameters of one part's cost functions, what they rest on, and where each was read."""

    values: Mapping[str, float] = field(hash=False)
    sources: Mapping[str, str] = field(hash=False)
    origin: Origin = "datasheet"

    def __getitem__(self, parameter: str) -> float:
        return self.values[parameter]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One accelerator. `peak_flops` maps a precision (fp16, bf16, ...) to dense FLOP/s."""

    name: str
    peak_flops: Mapping[str, float] = field(hash=False)
    memory_nbytes: float
    memory_bandwidth: float
    num_sms: int
    l2_nbytes: float
    power_limit: float
    fit: Fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One kind of wire: bytes per second in one direction (per GPU for NVLink, per NIC for a network)."""

    name: str
    bandwidth: float
    latency: float
    fit: Fit

    @property
    def achievable_bandwidth(self) -> float:
        """Bytes per second that a large message is seen to get, below the signalling rate."""
        return self.bandwidth * self.fit["bandwidth_efficiency"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """GPUs behind one NVSwitch, each with its own NIC where num_nics == num_gpus."""

    gpu: Gpu
    num_gpus: int
    nvlink: Link
    nic: Link
    num_nics: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Equal nodes on one fabric; GPU g is slot g % num_gpus of node g // num_gpus."""

    name: str
    node: Node
    num_nodes: int
    wiring: Literal["rail-optimised"]

    @property
    def num_gpus(self) -> int:
        return self.num_nodes * self.node.num_gpus

    @property
    def gpu(self) -> Gpu:
        return self.node.gpu
