"""PAT, parallel aggregated trees: an all-gather or reduce-scatter in log2(n) steps, for one GPU to a node.

Every rank is the root of a binomial tree of its own and sends what it has gathered to a rank twice as far with each
step, in aggregated messages; the bytes are those of a ring [Jeaugey 2025, arXiv 2506.20252; NCCL 2.23].
"""

from collections.abc import Iterator
from math import ceil, log2

from sim.costs.collectives.group import Group
from sim.costs.collectives.rates import Fitted, filling_most, per_byte
from sim.costs.collectives.tuning import CHANNEL_NBYTES, PAT_PEER, PAT_START, PAT_STEP, between, num_channels
from sim.costs.collectives.way import Way
from topologies.quantity import MICROSECOND

SINCE = (2, 23)
PLANNED_SHARE = 0.75
"""What NCCL's tuner expects PAT to reach of a ring's bandwidth."""


def pat(group: Group, fitted: Fitted) -> Iterator[Way]:
    """Only with one GPU to a node, from NCCL 2.23 on."""
    if group.nic is None or group.num_gpus != group.num_nodes or group.nccl < SINCE:
        return
    n = group.num_gpus
    share, steps = (n - 1) / n, ceil(log2(n))
    step = between(group.nic, PAT_STEP)
    start = PAT_START * MICROSECOND + n * PAT_PEER * MICROSECOND
    yield Way(
        algorithm="PAT",
        protocol="Simple",
        planned_latency=start + steps * step,
        planned_per_byte=share * group.between_per_byte / PLANNED_SHARE,
        latency=start + steps * step * fitted.network["step_simple"],
        per_byte=per_byte(group, fitted, "Simple", share, 1.0),
        filling=fitted.network["fill_simple"],
        filling_most=filling_most(group, fitted),
        chain=share,
        most_channels=num_channels(group),
        channel_nbytes=CHANNEL_NBYTES["Simple"],
    )
