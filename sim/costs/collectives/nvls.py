"""NVLS: the NVSwitch adds up what all GPUs of a node hold, and gives the sum to all of them.

Each GPU sends the whole buffer up once to be summed and its k-th part of the sum to be given to all, and takes in its
part and then the whole: 1 + 1/k of the buffer each way, where a ring needs 2 (k-1)/k [NVIDIA SHARP; Klenk et al. 2020].
Over nodes (NVLSTree) a double binary tree joins the parts; its GPUs send and take in k-th parts of the buffer.
"""

from collections.abc import Iterator

from sim.costs.collectives.group import Group
from sim.costs.collectives.rates import Fitted, filling_most
from sim.costs.collectives.tree import depth
from sim.costs.collectives.tuning import (
    CHANNEL_NBYTES,
    NVLINK_SHARE,
    NVLS_CHANNELS,
    NVLS_EFFICIENCY,
    NVLS_NETWORK_STEP,
    NVLS_SPEEDS,
    NVLS_STEP,
    NVLS_TREE_PER_GPU,
    START,
    between,
    scale_of_nodes,
)
from sim.costs.collectives.way import Way
from topologies.quantity import GIGA, MICROSECOND

SINCE, TREE_SINCE, DOMAINS_SINCE, STEP_SINCE = (2, 17), (2, 18), (2, 26), (2, 27)
"""Versions of NCCL with NVLS, with NVLSTree, with NVLS over an NVL72, with a longer planned step. Of the third 2.26 is
the first that is known: 72 GPUs sum as if each sent at 93 % of its port, which no ring does [coreweave/nccl-tests]."""
BOX = 8
"""GPUs of a box; a larger NVLink domain is made of several hosts."""


def is_possible(group: Group, is_integer: bool) -> bool:
    """Hopper or later on an NVSwitch, a version that has it, and a type that the switch adds."""
    if is_integer or not group.has_switch or NVLS_EFFICIENCY[group.generation] == 0 or group.fewest_per_node < 2:
        return False
    if group.most_per_node > BOX and group.nccl < DOMAINS_SINCE:
        return False
    return group.nccl >= (SINCE if group.num_nodes == 1 else TREE_SINCE)


def crossing(group: Group) -> float:
    """Bytes between nodes for each byte of the chain, of which (k-1)/k are on a GPU's way to the switch."""
    k = group.most_per_node
    return (1 if group.num_nodes == 2 else 2) * (k - 1) / (k + 1)


def nvls(group: Group, fitted: Fitted) -> Iterator[Way]:
    """The all-reduce, in a node or over several."""
    if not is_possible(group, fitted.is_integer):
        return
    k = group.most_per_node
    several = group.num_nodes > 1
    chain = (k + 1) / (k - 1) if several else (k + 1) / k
    yield Way(
        algorithm="NVLSTree" if several else "NVLS",
        protocol="Simple",
        planned_latency=_planned_latency(group),
        planned_per_byte=2 * (group.num_gpus - 1) / group.num_gpus / _planned_bandwidth(group),
        latency=_latency(group, fitted),
        per_byte=_per_byte(group, fitted, chain),
        filling=fitted.network["fill_nvls"] if several else fitted.node["fill_nvls"],
        filling_most=filling_most(group, fitted),
        chain=chain,
        crossing=crossing(group) if several else 1.0,
        most_channels=NVLS_CHANNELS[group.generation],
        channel_nbytes=CHANNEL_NBYTES["Simple"],
    )


def _latency(group: Group, fitted: Fitted) -> float:
    inside = _published_start(group) * fitted.node["start_nvls"]
    if group.nic is None:
        return inside
    step = NVLS_NETWORK_STEP[group.nccl >= STEP_SINCE]
    return inside + 2 * depth(group) * between(group.nic, step) * fitted.network["step_nvls"]


def _published_start(group: Group) -> float:
    """NCCL's figure, for a link that starts as NCCL takes it to."""
    return NVLS_STEP / START["Simple"] * group.inside.fit["launch_latency"]


def _per_byte(group: Group, fitted: Fitted, chain: float) -> float:
    rate = fitted.node["rate_nvls"] * (fitted.node["domain_nvls"] if group.most_per_node > BOX else 1.0)
    inside = chain * group.inside_per_byte / rate
    if group.nic is None:
        return inside
    outside = chain * crossing(group) * group.between_per_byte / fitted.network["rate_nvls"]
    return max(inside / fitted.network["inside_nvls"], outside)


def _planned_latency(group: Group) -> float:
    latency = NVLS_STEP * MICROSECOND
    if group.nic is not None:
        latency += 2 * depth(group) * between(group.nic, NVLS_NETWORK_STEP[group.nccl >= STEP_SINCE])
    return latency


def _planned_bandwidth(group: Group) -> float:
    """Bus bandwidth: a channel for every GPU, which sums it; a port carries k channels and its own a second time."""
    k, kind = group.most_per_node, group.generation
    port = group.inside.bandwidth * NVLINK_SHARE[kind] / (k + 1)
    channel = next((speed * GIGA for speed in NVLS_SPEEDS[kind] if speed * GIGA <= port), port)
    inside = 2 * NVLS_EFFICIENCY[kind] * channel * (k - 1)
    if group.nic is None:
        return inside
    outside = (2 if group.num_nodes == 2 else 1) / group.between_per_byte
    most = NVLS_TREE_PER_GPU[group.generation][scale_of_nodes(group)] * GIGA * k
    return min(inside, outside, most)
