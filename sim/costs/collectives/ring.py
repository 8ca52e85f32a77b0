"""A ring: every GPU passes a part of the buffer to its neighbour, and all links work at once.

n - 1 steps reduce-scatter, n - 1 more all-gather [Patarasuk & Yuan 2009]; a broadcast goes round once. Of the steps
nodes - 1 of each phase cross the network [NCCL, src/graph/tuning.cc, ncclTopoTuneModel: nsteps, nInterSteps].
"""

from collections.abc import Iterator
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
    NETWORK_OVERHEAD,
    PLATEAU_NBYTES,
    RING_PLATEAU,
    START,
    STEP,
    TREE_STEP,
    WIRE_BYTES,
    Protocol,
    between,
    ll_most,
    medium_of,
    num_channels,
)
from sim.costs.collectives.way import Way
from sim.instructions import CollectiveOperation
from topologies.quantity import GIGA, MICROSECOND

PHASES: Final = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1, "broadcast": 1}


def ring(group: Group, operation: CollectiveOperation, fitted: Fitted) -> Iterator[Way]:
    """The ring with each protocol. Each phase takes (n-1)/n of the buffer through every link, a broadcast all of it."""
    n, phases = group.num_gpus, PHASES[operation]
    share = 1.0 if operation == "broadcast" else phases * (n - 1) / n
    rounds = (group.num_gpus - group.num_nodes) * phases, (group.num_nodes - 1) * phases
    for protocol in protocols(group):
        plateau = operation == "all_reduce" and protocol == "Simple" and group.num_nodes > 1
        yield Way(
            algorithm="ring",
            protocol=protocol,
            planned_latency=_planned_latency(group, protocol, *rounds),
            planned_per_byte=share / _planned_bandwidth(group, protocol),
            plateau=RING_PLATEAU[group.generation != "volta"] if plateau else 1.0,
            plateau_nbytes=PLATEAU_NBYTES * num_channels(group) * n,
            latency=_latency(group, fitted, protocol, *rounds),
            onset=onset(group, fitted, protocol),
            per_byte=_per_byte(group, operation, fitted, protocol, share),
            filling=filling(group, fitted, protocol),
            filling_most=filling_most(group, fitted),
            chain=share * WIRE_BYTES[protocol],
            most_channels=num_channels(group),
            channel_nbytes=channel_nbytes(group, fitted, protocol) * (n if protocol == "LL" else 1),
        )


def _latency(group: Group, fitted: Fitted, protocol: Protocol, inside: int, outside: int) -> float:
    step = step_inside(group, fitted, "ring", protocol)
    if group.nic is None:
        return start(group, fitted, protocol) + inside * step
    across = step_between(group, fitted, protocol, _published(group, protocol))
    return start(group, fitted, protocol) + inside * step + outside * across


def _published(group: Group, protocol: Protocol) -> float:
    """With one GPU to a node nothing hides the network's latency, and a ring's step is as long as a tree's."""
    alone = group.num_gpus == group.num_nodes
    return (TREE_STEP if alone else STEP)["network"][protocol]


def _per_byte(group: Group, operation: CollectiveOperation, fitted: Fitted, protocol: Protocol, share: float) -> float:
    """Over the wires, and a member's own share of the buffer from place to place in its memory."""
    wires = per_byte(group, fitted, protocol, share, 1.0)
    if operation == "broadcast":
        return wires
    kind, wire = ("", 1.0) if protocol == "Simple" else ("_ll", WIRE_BYTES[protocol])
    copied = fitted.node[f"copy_{operation}{kind}"] * wire * group.port_per_byte / group.num_gpus
    sums = fitted.node["integer_sum"] if fitted.is_integer and operation != "all_gather" else 1.0
    return (wires + copied) * sums


def _planned_latency(group: Group, protocol: Protocol, inside: int, outside: int) -> float:
    step = STEP[medium_of(group)][protocol]
    if group.nic is None:
        return (START[protocol] + inside * step) * MICROSECOND
    across = between(group.nic, _published(group, protocol))
    return (START[protocol] + inside * max(step, NETWORK_OVERHEAD[protocol])) * MICROSECOND + outside * across


def _planned_bandwidth(group: Group, protocol: Protocol) -> float:
    """Bytes per second through every link."""
    bandwidth = min(_rate(group.inside_per_byte), _rate(group.between_per_byte))
    if protocol == "LL":
        return min(ll_most(group), bandwidth / 2)
    if protocol == "LL128":
        return min(0.92 * bandwidth, LL128_PER_CHANNEL[group.generation] * GIGA * num_channels(group))
    return bandwidth


def _rate(seconds_per_byte: float) -> float:
    return 1 / seconds_per_byte if seconds_per_byte else float("inf")
