"""CollNet: the switches of the network add up what the nodes send (SHARP), so that a node sends the buffer once.

The members of a node first sum among themselves and last gather what comes back, each its k-th part of the buffer.
Only where the network has it, by the field `sharp` of a cluster.
"""

from collections.abc import Iterator

from sim.costs.collectives.group import Group
from sim.costs.collectives.rates import Fitted, filling_most, per_byte
from sim.costs.collectives.tuning import CHANNEL_NBYTES, COLLNET_PEER, COLLNET_STEPS, between, num_channels
from sim.costs.collectives.way import Way
from topologies.quantity import MICROSECOND

MOST_PER_NODE = 8
CROSSING = 0.5
PLANNED_SHARE = 0.85


def collnet(group: Group, fitted: Fitted) -> Iterator[Way]:
    """The all-reduce: two phases inside and one step up to the network's switches and down."""
    fits = 2 <= group.fewest_per_node <= group.most_per_node <= MOST_PER_NODE
    if group.nic is None or not group.has_sharp or not fits:
        return
    inside, outside = COLLNET_STEPS
    peers = 2 * (inside + (group.most_per_node - 1) * COLLNET_PEER) * MICROSECOND
    step = between(group.nic, outside)
    bytes_inside, bytes_between = group.inside_per_byte, CROSSING * group.between_per_byte
    yield Way(
        algorithm="CollNet",
        protocol="Simple",
        planned_latency=peers + step,
        planned_per_byte=2 * max(bytes_inside, bytes_between) / PLANNED_SHARE,
        latency=peers + step * fitted.network["step_simple"],
        per_byte=per_byte(group, fitted, "Simple", 2.0, CROSSING),
        filling=fitted.network["fill_simple"],
        filling_most=filling_most(group, fitted),
        chain=2.0,
        crossing=CROSSING,
        most_channels=num_channels(group),
        channel_nbytes=CHANNEL_NBYTES["Simple"],
    )
