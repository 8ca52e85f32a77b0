"""What NCCL plans with: the figures by which its tuner chooses an algorithm and a protocol.

Times in microseconds and bandwidths in GB/s as NCCL publishes them [NVIDIA/nccl, src/graph/tuning.cc: b647562 and the
release of 2.28]. The choice follows from these alone; how long the chosen way takes is fitted to measurements.
"""

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np

from sim.costs.collectives.group import Generation, Group
from sim.costs.law import Array
from topologies.hardware import Link
from topologies.quantity import GIGA, MICROSECOND

Protocol = Literal["LL", "LL128", "Simple"]
Algorithm = Literal["ring", "tree", "NVLS", "NVLSTree", "PAT", "CollNet"]
Medium = Literal["nvlink", "pcie", "network"]
PROTOCOLS: Final[tuple[Protocol, ...]] = ("LL", "LL128", "Simple")

WIRE_BYTES: Final[Mapping[Protocol, float]] = {"LL": 2.0, "LL128": 16 / 15, "Simple": 1.0}
"""Bytes on the wire for each byte of the message: LL sends a flag of 4 bytes with every 4, LL128 8 with every 120."""

START: Final[Mapping[Protocol, float]] = {"LL": 6.6, "LL128": 14.0, "Simple": 8.4}
TREE_START: Final[Mapping[Protocol, float]] = {"LL": 6.8, "LL128": 14.0, "Simple": 8.4}
"""baseLatencies of ring and tree."""

STEP: Final[Mapping[Medium, Mapping[Protocol, float]]] = {
    "nvlink": {"LL": 0.6, "LL128": 1.9, "Simple": 3.4},
    "pcie": {"LL": 1.0, "LL128": 2.5, "Simple": 5.7},
    "network": {"LL": 2.7, "LL128": 4.0, "Simple": 14.0},
}
TREE_STEP: Final[Mapping[Medium, Mapping[Protocol, float]]] = {
    "nvlink": {"LL": 0.6, "LL128": 1.25, "Simple": 4.0},
    "pcie": {"LL": 1.0, "LL128": 1.9, "Simple": 4.0},
    "network": {"LL": 5.0, "LL128": 8.5, "Simple": 14.0},
}
"""hwLatencies of ring and tree, for one step."""

NVLS_STEP: Final = 25.0
NVLS_NETWORK_STEP: Final = {True: 20.9, False: 14.0}
"""hwLatencies of NVLS and of NVLSTree between nodes, since 2.27 and before."""
COLLNET_STEPS: Final = (3.7, 31.0)
COLLNET_PEER: Final = 0.4
PAT_START, PAT_STEP, PAT_PEER = 8.0, 4.0, 2.8
"""Base of PAT, of each of its log2(ranks) steps 14 / 3.5, and what every rank adds."""
NETWORK_OVERHEAD: Final[Mapping[Protocol, float]] = {"LL": 1.0, "LL128": 1.0, "Simple": 3.0}
"""What posting a message to the NIC takes the processor: least time of any step of a ring over several nodes."""

_MOST: Final = float("inf")
LL_MOST: Final[Mapping[Generation, float]] = {"volta": 39.0, "ampere": 87.7, "hopper": 141.0, "blackwell": 282.0}
LL_MOST_BETWEEN: Final = (39.0, 20.4)
"""llMaxBws: in a node by the GPU; over two nodes and over more, with processors of Intel."""
LL128_PER_CHANNEL: Final[Mapping[Generation, float]] = {
    "volta": 20.0,
    "ampere": 20.0,
    "hopper": 36.7,
    "blackwell": 40.0,
}
TREE_PER_CHANNEL: Final[Mapping[Generation, tuple[float, float, float]]] = {
    "volta": (26.5, 18.5, 10.0),
    "ampere": (24.0, 23.6, 17.8),
    "hopper": (38.7, 41.4, 36.0),
    "blackwell": (70.0, 42.8, 24.0),
}
NVLS_TREE_PER_GPU: Final[Mapping[Generation, tuple[float, float, float]]] = {
    "volta": (0.0, 0.0, 0.0),
    "ampere": (0.0, 0.0, 0.0),
    "hopper": (_MOST, 57.7, 45.5),
    "blackwell": (_MOST, 96.0, 80.0),
}
"""perChMax...Bws in a node, over two nodes, over more."""
NVLS_EFFICIENCY: Final[Mapping[Generation, float]] = {"volta": 0.0, "ampere": 0.0, "hopper": 0.85, "blackwell": 0.74}
NVLINK_SHARE: Final[Mapping[Generation, float]] = {"volta": 0.8, "ampere": 0.8, "hopper": 0.824, "blackwell": 0.802}
"""What NCCL counts on, of NVLink's bandwidth: 20.6 of 25 GB/s on Hopper, 40.1 of 50 on Blackwell [src/graph/topo.h]."""
NVLS_SPEEDS: Final[Mapping[Generation, tuple[float, ...]]] = {
    "hopper": (60.0, 50.0, 40.0, 30.0, 24.0, 20.0, 15.0, 12.0, 11.0, 6.0, 3.0),
    "blackwell": (90.0, 80.0, 70.0, 60.0, 50.0, 45.0, 40.0, 30.0, 24.0, 20.0, 19.0, 18.0),
}
"""What NCCL's search tries as the bandwidth of a channel, the first that fits [src/graph/search.cc]."""

NUM_CHANNELS: Final[Mapping[Generation, int]] = {"volta": 12, "ampere": 24, "hopper": 24, "blackwell": 32}
NVLS_CHANNELS: Final[Mapping[Generation, int]] = {"volta": 0, "ampere": 0, "hopper": 16, "blackwell": 24}
PCIE_CHANNELS: Final = 4
CHANNEL_NBYTES: Final[Mapping[Protocol, float]] = {"LL": 4096.0, "LL128": 5120.0, "Simple": 32768.0}
"""Bytes for which NCCL opens one more channel, each a block on an SM [NCCL, src/enqueue.cc, threadThresholds]."""

RING_PLATEAU: Final = {True: 1.4, False: 1.9}
"""By how much the tuner stretches a Simple ring's latency over several nodes, from Ampere on and before."""
PLATEAU_NBYTES: Final = 64.0

_TREE_CORRECTION: Final[Mapping[Protocol, Array]] = {
    "LL": np.array([1, 1, 1, 1, 0.9, 0.8, 0.7, 0.7, 0.7, 0.7, 0.6, 0.5, 0.4, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]),
    "LL128": np.array(
        [1, 1, 1, 1, 1, 0.9, 0.8, 0.8, 0.8, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.8, 0.9, 0.9, 0.9, 0.9, 1]
    ),
    "Simple": np.array(
        [*[0.9] * 7, 0.8, 0.7, 0.6, 0.6, 0.5, 0.5, 0.5, 0.5, 0.6, 0.7, 0.8, 0.7, 0.7, 0.8, 0.9, 0.9, 0.9, 1]
    ),
}
"""Of a tree's bandwidth for messages of 64 bytes, 128, 256, ...; the last holds for all larger ones."""


def medium_of(group: Group) -> Medium:
    """The kind of link inside the group's nodes."""
    return "nvlink" if group.is_nvlink else "pcie"


def scale(group: Group) -> float:
    """How the steps of the link inside compare with those that NCCL plans with."""
    return group.inside.latency / (STEP[medium_of(group)]["Simple"] * MICROSECOND)


def between(nic: Link, published: float) -> float:
    """Seconds of a step over the network: NCCL's figure, plus what the fabric takes longer than NCCL's Simple ring.

    A fabric that is faster than that has all its steps shortened alike.
    """
    usual = STEP["network"]["Simple"] * MICROSECOND
    return published * MICROSECOND * min(1.0, nic.latency / usual) + max(0.0, nic.latency - usual)


def scale_of_nodes(group: Group) -> int:
    """The column of NCCL's tables: 0 in one node, 1 over two, 2 over more."""
    return min(group.num_nodes, 3) - 1


def num_channels(group: Group) -> int:
    """Channels of a ring or tree."""
    return NUM_CHANNELS[group.generation] if group.is_nvlink else PCIE_CHANNELS


def ll_most(group: Group) -> float:
    """The most bytes per second that NCCL expects of LL."""
    nodes = scale_of_nodes(group)
    return (LL_MOST_BETWEEN[nodes - 1] if nodes else LL_MOST[group.generation]) * GIGA


def tree_correction(protocol: Protocol, nbytes: Array) -> Array:
    """What NCCL's tuner allows of a tree's bandwidth at a size."""
    table = _TREE_CORRECTION[protocol]
    index = np.floor(np.log2(np.maximum(nbytes, PLATEAU_NBYTES) / PLATEAU_NBYTES)).astype(int)
    return np.asarray(table[np.minimum(index, len(table) - 1)])
