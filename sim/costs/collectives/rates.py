"""What a way takes of the links, by the fitted parameters: its start, its steps, and its bytes.

Parameters are ratios: of NCCL's published latencies, brought to the latency on the link's data sheet, and of the
bandwidth that the sheet says to be achievable.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sim.costs.collectives.group import Group
from sim.costs.collectives.tuning import (
    CHANNEL_NBYTES,
    PROTOCOLS,
    START,
    STEP,
    TREE_STEP,
    WIRE_BYTES,
    Algorithm,
    Protocol,
    between,
    medium_of,
    scale,
)
from sim.costs.law import Parameter, Values
from topologies.quantity import MICROSECOND

KEYS: Mapping[Protocol, str] = {"LL": "ll", "LL128": "ll128", "Simple": "simple"}


PAIR = 2
"""GPUs on PCIe that are taken to reach each other without the processor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The values of the link inside the nodes, and of the NIC; `is_integer` where numbers are summed as int8."""

    node: Values
    network: Values
    is_integer: bool = False


def start(group: Group, fitted: Fitted, protocol: Protocol) -> float:
    """Seconds from the call until the first step."""
    published = START[protocol] / START["Simple"] * group.inside.fit["launch_latency"]
    return published * fitted.node[f"start_{KEYS[protocol]}"] * _age(group, fitted)


def step_inside(group: Group, fitted: Fitted, algorithm: Algorithm, protocol: Protocol) -> float:
    """Seconds of a step from member to member in a node."""
    table = TREE_STEP if algorithm == "tree" else STEP
    published = table[medium_of(group)][protocol] * MICROSECOND * scale(group)
    return published * fitted.node[f"step_{KEYS[protocol]}"] * _age(group, fitted)


def step_between(group: Group, fitted: Fitted, protocol: Protocol, published: float) -> float:
    """Seconds of a step from node to node that NCCL plans with `published` microseconds."""
    assert group.nic is not None
    return between(group.nic, published) * fitted.network[f"step_{KEYS[protocol]}"]


def per_byte(group: Group, fitted: Fitted, protocol: Protocol, chain: float, crossing: float) -> float:
    """Seconds for each byte of the message, `chain` times as many through a node: in it, or between nodes."""
    key, wire = KEYS[protocol], chain * WIRE_BYTES[protocol]
    inside = max(group.inside_per_byte / fitted.node[f"rate_{key}"], _by_host(group, fitted))
    outside = crossing * group.between_per_byte / fitted.network[f"rate_{key}"]
    return wire * max(inside, outside)


def _by_host(group: Group, fitted: Fitted) -> float:
    """Seconds for each byte of the ring where more than a pair of GPUs on PCIe share the way through the processor."""
    if group.is_nvlink or group.most_per_node <= PAIR:
        return 0.0
    return group.most_per_node * group.port_per_byte / fitted.node["host"]


def filling(group: Group, fitted: Fitted, protocol: Protocol) -> float:
    """The c of a pipeline's filling."""
    return (fitted.node if group.nic is None else fitted.network)[f"fill_{KEYS[protocol]}"]


def filling_most(group: Group, fitted: Fitted) -> float:
    """Up to how many times the latency the bytes may take and chunks still grow."""
    return (fitted.node if group.nic is None else fitted.network)["fill_most"]


def onset(group: Group, fitted: Fitted, protocol: Protocol) -> float:
    """With which power of its bytes the time of a channel grows until it is full."""
    if protocol != "LL":
        return 1.0
    return (fitted.node if group.nic is None else fitted.network)["onset_ll"]


def channel_nbytes(group: Group, fitted: Fitted, protocol: Protocol) -> float:
    """Bytes for which one more channel is opened."""
    if protocol != "LL":
        return CHANNEL_NBYTES[protocol]
    return CHANNEL_NBYTES[protocol] * (fitted.node if group.nic is None else fitted.network)["channel_ll"]


def protocols(group: Group) -> tuple[Protocol, ...]:
    """LL128 needs stores of 128 bytes that arrive whole: NVLink; and up to Ampere, a NIC for every GPU [NCCL]."""
    whole = group.is_nvlink and (group.nic is None or group.generation in ("hopper", "blackwell") or group.has_own_nics)
    return PROTOCOLS if whole else ("LL", "Simple")


def _age(group: Group, fitted: Fitted) -> float:
    """Versions of NCCL before 2.25 start and step more slowly."""
    return fitted.node["before_2_25"] if group.nccl < (2, 25) else 1.0


def _ratio(start: float, low: float, high: float, meaning: str) -> Parameter:
    return Parameter(start=start, low=low, high=high, meaning=meaning)


_PUBLISHED = "NVIDIA/nccl, src/graph/tuning.cc"
NODE_PARAMETERS: Mapping[str, Parameter] = {
    **{
        f"start_{key}": _ratio(1.0, 0.3, 4.0, f"start-up with {protocol}, of NCCL's figure ({_PUBLISHED})")
        for protocol, key in KEYS.items()
    },
    **{
        f"step_{key}": _ratio(1.0, 0.3, 3.0, f"a step with {protocol}, of NCCL's figure ({_PUBLISHED})")
        for protocol, key in KEYS.items()
    },
    "rate_ll": _ratio(0.77, 0.005, 1.0, f"share of the wires with LL, flags included (llMaxBws in {_PUBLISHED})"),
    "rate_ll128": _ratio(0.98, 0.05, 1.0, f"share of the wires with LL128, flags included (0.92 in {_PUBLISHED})"),
    "rate_simple": _ratio(1.0, 0.2, 1.2, "share of the wires that a ring or tree with Simple takes"),
    "host": _ratio(3.0, 0.1, 100.0, "bytes of all GPUs that a processor passes on from slot to slot, of a slot's"),
    "start_nvls": _ratio(1.0, 0.3, 4.0, f"all of NVLS's latency, of NCCL's figure ({_PUBLISHED})"),
    "rate_nvls": _ratio(0.85, 0.2, 1.0, f"share of the wires that NVLS takes (nvlsEfficiency in {_PUBLISHED})"),
    "domain_nvls": _ratio(0.8, 0.2, 1.2, "NVLS's rate over several hosts of one NVLink domain, of that in a box"),
    **{
        f"fill_{key}": _ratio(0.01, 0.0, 3.0, f"c of the filling of the pipeline, c sqrt(L D), with {name}")
        for name, key in (*KEYS.items(), ("NVLS", "nvls"))
    },
    "fill_most": _ratio(30.0, 0.1, 1e6, "times the latency that the bytes take when chunks stop to grow"),
    "onset_ll": _ratio(1.0, 1.0, 3.0, "power of the bytes with which the time of an LL channel grows till it is full"),
    "channel_ll": _ratio(1.0, 0.02, 8.0, "bytes for which LL opens one more channel, of 4096 a rank (src/enqueue.cc)"),
    **{
        f"copy_{operation}{end}": _ratio(0.3, 0.0, 4.0, f"time of a member's own share, of one on a wire, with {name}")
        for operation in ("all_reduce", "all_gather", "reduce_scatter")
        for end, name in (("", "Simple"), ("_ll", "LL and LL128"))
    },
    "integer_sum": _ratio(1.0, 0.8, 2.0, "time of a byte summed as int8, of one summed as half"),
    "before_2_25": _ratio(1.0, 0.5, 2.0, "latencies of NCCL before 2.25, of those since"),
}

NETWORK_PARAMETERS: Mapping[str, Parameter] = {
    **{
        f"step_{key}": _ratio(1.0, 0.5, 3.0, f"a step over the network with {name}, of NCCL's figure ({_PUBLISHED})")
        for name, key in KEYS.items()
    },
    "step_nvls": _ratio(1.0, 0.5, 10.0, f"a step over the network with NVLSTree, of NCCL's figure ({_PUBLISHED})"),
    "rate_ll": _ratio(0.15, 0.02, 1.0, f"share of the NICs with LL, flags included (llMaxBws in {_PUBLISHED})"),
    "rate_ll128": _ratio(0.9, 0.02, 1.0, "share of the NICs with LL128, flags included"),
    "rate_simple": _ratio(1.0, 0.2, 1.0, "share of the NICs that a ring or tree with Simple takes"),
    "rate_nvls": _ratio(1.0, 0.2, 1.0, "share of the NICs that NVLSTree takes"),
    "inside_nvls": _ratio(0.91, 0.2, 1.0, f"NVLS's rate in a node within NVLSTree, of NVLS alone ({_PUBLISHED})"),
    "fill_most": _ratio(30.0, 0.1, 1e6, "times the latency that the bytes take when chunks stop to grow"),
    "onset_ll": _ratio(1.0, 1.0, 3.0, "power of the bytes with which the time of an LL channel grows till it is full"),
    "channel_ll": _ratio(1.0, 0.1, 16.0, "bytes for which a tree with LL opens one more channel, of 4096"),
    **{
        f"fill_{key}": _ratio(0.01, 0.0, 3.0, f"c of the filling of the pipeline, c sqrt(L D), with {name}")
        for name, key in (*KEYS.items(), ("NVLSTree", "nvls"))
    },
}
