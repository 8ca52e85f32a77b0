"""How long DeepEP's kernels take: what starts them, then the slowest of SMs, NVLink port and NIC.

Of k experts of a token some share a rank or a node, and the normal kernels send it there once: of g groups of experts
g (1 - (1 - 1/g)^k) are expected to be hit, a little more as no expert is chosen twice. The low-latency kernels give
each SM some experts of each rank, and so take fewer SMs where there are few experts.
"""

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np

from sim.costs.collectives.parameters import longest, microseconds, ratio
from sim.costs.law import Array, Parameter, Values
from topologies.fabric import nic_of
from topologies.hardware import Node
from topologies.quantity import KIB

Mode = Literal["normal", "low-latency"]
Phase = Literal["dispatch", "combine"]
Shape = Mapping[str, Array]
"""Columns num_tokens, hidden, topk, num_experts, num_gpus, num_nodes and num_sms of what each GPU sends. Where routing
is limited to some groups of experts also gpus_open, nodes_open and experts_open: those that a token may go to."""
Times = tuple[Array, Array]
"""Seconds to start, and those in which bytes move."""

VALUES_PER_SCALE: Final = 128
SCALE_NBYTES: Final = 4
HEADER_NBYTES: Final = 16
"""What precedes each token of the low-latency dispatch."""
FEW_NODES: Final = 4
MOST_MEASURED: Final = 8
"""The normal kernels were seen to lose rate where tokens go to more than 4 nodes; by how much is measured up to 8, and
taken as that on. They were not where routing keeps a token to 4 nodes of 8: 51 and 50 GB/s [DeepEP, docs/legacy.md]."""

_INSIDE: Final = 2
_BETWEEN: Final = 3
_DIRECT: Final = 1
"""Doublings of the norm in which one limit takes over from another: normal kernels in a node and between nodes,
low-latency kernels."""

NODE_PARAMETERS: Final[Mapping[tuple[Mode, Phase], Mapping[str, Parameter]]] = {
    ("normal", "dispatch"): {
        "start": microseconds(24, 5, 80, "to start, layout and notification included"),
        "per_hidden": microseconds(0.1, 0.001, 8, "more for each 1,024 values of a token"),
        "per_rank": microseconds(0.1, 0.001, 5, "more for each rank that a token goes to"),
        "token": microseconds(0.37, 0.001, 5, "of an SM for a token"),
        "token_rank": microseconds(0.044, 0.0001, 5, "of an SM for each rank that it goes to"),
        "sm_rate": ratio(1.05, 0.1, 5, "bytes that an SM sends, of its share of the memory's bandwidth"),
        "port_share": ratio(0.77, 0.2, 1.2, "of the NVLink bandwidth"),
        "fill": microseconds(9, 0.1, 100, "to fill the channels' queues"),
    },
    ("normal", "combine"): {
        "start": microseconds(15, 5, 80, "to start, notification included"),
        "per_hidden": microseconds(3.2, 0.001, 8, "more for each 1,024 values of a token"),
        "per_rank": microseconds(1.7, 0.001, 5, "more for each rank that a token comes from"),
        "token": microseconds(0.24, 0.001, 5, "of an SM for a token"),
        "token_rank": microseconds(0.001, 0.0001, 5, "of an SM for each rank that it comes from"),
        "sm_rate": ratio(0.92, 0.1, 5, "bytes that an SM sends, of its share of the memory's bandwidth"),
        "reduce_rate": ratio(0.29, 0.02, 10, "bytes of sums that an SM writes, of the same"),
        "reduce_rank_rate": ratio(2.2, 0.2, 50, "bytes that an SM adds up, of the same"),
        "port_share": ratio(0.7, 0.2, 1.2, "of the NVLink bandwidth"),
        "fill": microseconds(3.4, 0.1, 100, "to fill the channels' queues"),
    },
    ("low-latency", "dispatch"): {
        "start": microseconds(7.6, 1, 30, "to start"),
        "per_expert": microseconds(0.015, 0.0001, 0.1, "more for each expert"),
        "per_hidden": microseconds(0.18, 0.001, 3, "more for each 1,024 values of a token"),
        "token": microseconds(1.85, 0.001, 10, "of an SM for a token, cast and posted"),
        "sm_rate": ratio(0.28, 0.01, 5, "bytes that an SM sends, of its share of the memory's bandwidth"),
        "port_share": ratio(0.59, 0.2, 1.2, "of the NVLink bandwidth"),
    },
    ("low-latency", "combine"): {
        "start": microseconds(9.5, 1, 30, "to start"),
        "per_expert": microseconds(0.006, 0.0001, 0.1, "more for each expert"),
        "per_hidden": microseconds(0.14, 0.001, 3, "more for each 1,024 values of a token"),
        "token": microseconds(0.1, 0.001, 10, "of an SM for a token, summed"),
        "sm_rate": ratio(0.8, 0.01, 5, "bytes that an SM sends, of its share of the memory's bandwidth"),
        "port_share": ratio(0.49, 0.2, 1.2, "of the NVLink bandwidth"),
    },
}
NETWORK_PARAMETERS: Final[Mapping[tuple[Mode, Phase], Mapping[str, Parameter]]] = {
    ("normal", "dispatch"): {
        "start": microseconds(29, 5, 120, "to start, notification included"),
        "per_doubling": microseconds(28, 1, 100, "more for each doubling of the nodes"),
        "sm_rate": ratio(0.106, 0.005, 2, "bytes that an SM forwards, of its share of the memory's bandwidth"),
        "sm_node_rate": ratio(0.55, 0.01, 20, "bytes that an SM sends to nodes, of the same"),
        "nic_share": ratio(0.94, 0.2, 1.1, "of the NIC's bandwidth"),
        "crowding": ratio(1.05, 0.001, 2, "power of nodes / 4 by which more nodes slow it"),
        "fill": microseconds(23, 0.1, 200, "to fill the channels' queues"),
    },
    ("normal", "combine"): {
        "start": microseconds(60, 5, 120, "to start, notification included"),
        "per_doubling": microseconds(22, 1, 100, "more for each doubling of the nodes"),
        "sm_rate": ratio(0.086, 0.005, 2, "bytes that an SM forwards, of its share of the memory's bandwidth"),
        "sm_node_rate": ratio(0.4, 0.01, 20, "bytes that an SM sends to nodes, of the same"),
        "nic_share": ratio(0.93, 0.2, 1.1, "of the NIC's bandwidth"),
        "crowding": ratio(1.05, 0.001, 2, "power of nodes / 4 by which more nodes slow it"),
        "fill": microseconds(70, 0.1, 200, "to fill the channels' queues"),
    },
    ("low-latency", "dispatch"): {
        "start": microseconds(18, 1, 60, "to start"),
        "per_doubling": microseconds(3.8, 0.01, 30, "more for each doubling of the nodes"),
        "nic_share": ratio(0.957, 0.2, 1.1, "of the NIC's bandwidth"),
    },
    ("low-latency", "combine"): {
        "start": microseconds(24, 1, 60, "to start"),
        "per_doubling": microseconds(0.7, 0.01, 30, "more for each doubling of the nodes"),
        "nic_share": ratio(0.926, 0.2, 1.1, "of the NIC's bandwidth"),
    },
}


def times(node: Node, mode: Mode, phase: Phase, values: Values, shape: Shape, *, between: bool) -> Times:
    """Seconds of a kernel in one node, or between nodes."""
    if mode == "normal":
        return _normal_between(node, phase, values, shape) if between else _normal_inside(node, phase, values, shape)
    return _direct_between(node, phase, values, shape) if between else _direct_inside(node, phase, values, shape)


def token_nbytes(mode: Mode, phase: Phase, hidden: Array | float) -> Array | float:
    """Bytes of a token on the wire: fp8 with its scales on the way there, bf16 on the way back."""
    if phase == "combine":
        return 2 * hidden
    header = HEADER_NBYTES if mode == "low-latency" else 0
    return hidden * (1 + SCALE_NBYTES / VALUES_PER_SCALE) + header


def groups_hit(groups: Array | float, topk: Array | float, num_experts: Array | float) -> Array:
    """How many of so many equal groups of experts a token goes to, on average over random routings.

    The chance to miss a group, a product over draws without replacement, is that of the middle draw to the power of
    topk: exact for one expert a token, within 0.5 % for what is in use.
    """
    chance = num_experts / groups / (num_experts - (topk - 1) / 2)
    return np.asarray(groups * (1 - np.maximum(0.0, 1 - chance) ** topk))


def groups_open(groups: float, num_groups: int, top_groups: int) -> float:
    """Of so many equal parts of the GPUs those that a token may go to, which chooses its experts from `top_groups` of
    `num_groups` groups [DeepSeek-V3, arXiv 2412.19437, section 2.1.2: node-limited routing]."""
    return float(groups_hit(min(groups, num_groups), top_groups, num_groups)) * max(1.0, groups / num_groups)


def sms_of_experts(num_experts: Array | float, num_sms: int) -> Array:
    """SMs of a low-latency kernel: as many experts on each as it takes to have one SM for each lot."""
    return np.ceil(num_experts / np.ceil(num_experts / num_sms))


def _normal_inside(node: Node, phase: Phase, values: Values, shape: Shape) -> Times:
    nbytes, ranks = token_nbytes("normal", phase, shape["hidden"]), _hit(shape, "gpus")
    each = shape["num_tokens"] / shape["num_sms"]
    own = nbytes / _of_sm(node)
    sending = each * (values["token"] + (values["token_rank"] + own / values["sm_rate"]) * ranks)
    away = ranks * (1 - 1 / shape["num_gpus"])
    port = shape["num_tokens"] * away * nbytes / (values["port_share"] * node.scale_up.bandwidth)
    limits = [sending, port]
    if phase == "combine":
        limits.append(each * own * (1 / values["reduce_rate"] + ranks / values["reduce_rank_rate"]))
    moving = longest(_INSIDE, *limits)
    start = values["start"] + values["per_hidden"] * shape["hidden"] / KIB + values["per_rank"] * ranks
    return start + _filling(values["fill"], moving), moving


def _normal_between(node: Node, phase: Phase, values: Values, shape: Shape) -> Times:
    nbytes, nodes = token_nbytes("normal", phase, shape["hidden"]), _hit(shape, "nodes")
    own = nbytes / _of_sm(node)
    forwarded = own * (1 / values["sm_rate"] + nodes / values["sm_node_rate"])
    crowd = np.clip(_open(shape, "nodes"), FEW_NODES, MOST_MEASURED) / FEW_NODES
    away = nodes * (1 - 1 / shape["num_nodes"]) * crowd ** values["crowding"]
    network = shape["num_tokens"] * away * nbytes / (values["nic_share"] * _of_nic(node))
    moving = longest(_BETWEEN, shape["num_tokens"] / shape["num_sms"] * forwarded, network)
    start = values["start"] + values["per_doubling"] * np.log2(shape["num_nodes"])
    return start + _filling(values["fill"], moving), moving


def _direct_inside(node: Node, phase: Phase, values: Values, shape: Shape) -> Times:
    nbytes = token_nbytes("low-latency", phase, shape["hidden"])
    sms = sms_of_experts(shape["num_experts"], node.gpu.num_sms)
    away = shape["num_tokens"] * shape["topk"] * nbytes * (1 - 1 / shape["num_gpus"])
    moving = longest(
        _DIRECT,
        shape["num_tokens"] / sms * values["token"],
        away / (sms * values["sm_rate"] * _of_sm(node)),
        away / (values["port_share"] * node.scale_up.bandwidth),
    )
    start = values["start"] + values["per_expert"] * shape["num_experts"]
    return start + values["per_hidden"] * shape["hidden"] / KIB, moving


def _direct_between(node: Node, phase: Phase, values: Values, shape: Shape) -> Times:
    nbytes = token_nbytes("low-latency", phase, shape["hidden"])
    away = shape["num_tokens"] * shape["topk"] * nbytes * (1 - 1 / shape["num_nodes"])
    start = values["start"] + values["per_doubling"] * np.log2(shape["num_nodes"])
    return start, away / (values["nic_share"] * _of_nic(node))


def _hit(shape: Shape, groups: str) -> Array:
    return groups_hit(_open(shape, groups), shape["topk"], _open(shape, "experts"))


def _open(shape: Shape, what: str) -> Array:
    """How many of them a token may go to: all unless routing is limited."""
    return shape.get(f"{what}_open", shape[f"num_{what}"])


def _of_sm(node: Node) -> float:
    """An SM's share of the memory's bandwidth."""
    return node.gpu.memory_bandwidth / node.gpu.num_sms


def _of_nic(node: Node) -> float:
    """A GPU's share of its node's NICs, in bytes per second."""
    return nic_of(node).bandwidth * max(1, node.num_nics) / node.num_gpus


def _filling(seconds: float, moving: Array) -> Array:
    """What queues cost that have to be filled first, of a message that is long enough to fill them."""
    return np.asarray(seconds * -np.expm1(-moving / seconds))
