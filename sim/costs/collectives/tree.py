"""A double binary tree between nodes, a chain inside each: few steps, so small messages over many nodes like it.

Each of two trees reduces and broadcasts half of the buffer; a node is a leaf in one and has two children in the other
[Sanders, Speck & Traeff 2009; NCCL 2.4], so it takes the buffer in twice and gives it out twice. Of two nodes each is
the other's only child: the buffer crosses once each way, half of what a ring over many GPUs sends [NCCL issue 946].
"""

from collections.abc import Iterator
from math import ceil, log2
from typing import Final

from sim.costs.collectives.group import Group
from sim.costs.collectives.rates import (
    Fitted,
    channel_nbytes,
    filling,
    filling_most,
    onset,
    per_byte,
    protocols,
    start,
    step_between,
    step_inside,
)
from sim.costs.collectives.tuning import (
    LL128_PER_CHANNEL,
    TREE_PER_CHANNEL,
    TREE_START,
    TREE_STEP,
    WIRE_BYTES,
    Protocol,
    between,
    ll_most,
    medium_of,
    num_channels,
    scale_of_nodes,
)
from sim.costs.collectives.way import Way
from topologies.quantity import GIGA, MICROSECOND

INSIDE: Final = 0.92
"""What a tree reaches inside a node, of a ring's rate [NCCL, src/graph/tuning.cc, ncclTopoTuneModel]."""


def crossing(group: Group) -> float:
    """Of the bytes through a node, those between nodes: over two nodes half, if any stay inside."""
    return INSIDE / 2 if group.num_nodes == 2 < group.num_gpus else 1.0


def tree(group: Group, fitted: Fitted) -> Iterator[Way]:
    """The all-reduce with each protocol: k-1 steps inside and log2(nodes) over the network, up and down."""
    sent = 1.0 if group.num_nodes == 2 else 2.0
    chain = sent / crossing(group) / (INSIDE if group.num_nodes == 1 else 1.0)
    for protocol in protocols(group):
        yield Way(
            algorithm="tree",
            protocol=protocol,
            planned_latency=_planned_latency(group, protocol),
            planned_per_byte=2 / _planned_bandwidth(group, protocol),
            latency=_latency(group, fitted, protocol),
            per_byte=per_byte(group, fitted, protocol, chain, crossing(group)),
            filling=filling(group, fitted, protocol),
            filling_most=filling_most(group, fitted),
            onset=onset(group, fitted, protocol),
            chain=chain * WIRE_BYTES[protocol],
            crossing=crossing(group),
            most_channels=num_channels(group),
            channel_nbytes=channel_nbytes(group, fitted, protocol),
        )


def depth(group: Group) -> int:
    """Steps from the leaves of the tree of nodes to its root."""
    return ceil(log2(group.num_nodes))


def _latency(group: Group, fitted: Fitted, protocol: Protocol) -> float:
    inside = (group.most_per_node - 1) * step_inside(group, fitted, "tree", protocol)
    outside = 0.0
    if group.nic is not None:
        outside = depth(group) * step_between(group, fitted, protocol, TREE_STEP["network"][protocol])
    return start(group, fitted, protocol) + 2 * (inside + outside)


def _planned_latency(group: Group, protocol: Protocol) -> float:
    inside = (group.num_gpus / group.num_nodes - 1) * TREE_STEP[medium_of(group)][protocol] * MICROSECOND
    outside = 0.0
    if group.nic is not None:
        outside = depth(group) * between(group.nic, TREE_STEP["network"][protocol])
    return TREE_START[protocol] * MICROSECOND + 2 * (inside + outside)


def _planned_bandwidth(group: Group, protocol: Protocol) -> float:
    """Bytes per second through a node, of which each takes the buffer in twice."""
    rates = [1 / group.inside_per_byte] if group.inside_per_byte else []
    if group.between_per_byte:
        rates.append((2 if group.num_nodes == 2 else 1) / group.between_per_byte)
    per_channel = TREE_PER_CHANNEL[group.generation][scale_of_nodes(group)] * GIGA
    bandwidth = min(INSIDE * min(rates), per_channel * num_channels(group))
    if protocol == "LL":
        return min(bandwidth / 3.8, ll_most(group))
    if protocol == "LL128":
        most = LL128_PER_CHANNEL[group.generation] * GIGA * num_channels(group)
        return min(bandwidth * (7 / 9 if group.num_nodes == 1 else 15 / 16), most)
    return bandwidth
