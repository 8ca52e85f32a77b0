"""The data sheet of what joins processes of one machine: sockets over the loopback, as Gloo drives them.

An all-reduce of next to nothing tells what a message takes; one of many bytes, how fast they cross a process's sockets.
"""

from dataclasses import replace
from typing import Final

import torch
import torch.distributed as dist

from calibrate.bench.point import Ranks, Run
from calibrate.bench.timing import time_together
from calibrate.bench.world import group_of
from calibrate.machines.machine import LOOPBACK
from topologies import quantity
from topologies.document import Value
from topologies.quantity import GIGA, MIB, MICROSECOND

LARGE: Final = 8 * MIB
HEADROOM: Final = 1.3
"""Bandwidth over what was seen: the machine may be quieter later."""
NOMINAL_BANDWIDTH, NOMINAL_LATENCY = 1 * GIGA, 100 * MICROSECOND
"""Of a process that is alone, and talks to nobody."""


def sheet(ranks: Ranks) -> dict[str, Value]:
    """The fields of a link's sheet; all ranks call it at once."""
    latency, bandwidth = _seen(ranks) if ranks.num_ranks > 1 else (NOMINAL_LATENCY, NOMINAL_BANDWIDTH)
    messages = 4 * (ranks.num_ranks - 1) or 1
    return {
        "name": LOOPBACK,
        "bandwidth": quantity.rate(HEADROOM * bandwidth),
        "latency": quantity.seconds(latency / messages),
        "achievable": {
            "bandwidth_efficiency": round(1 / HEADROOM, 3),
            "launch_latency": quantity.seconds(latency),
        },
    }


def _seen(ranks: Ranks) -> tuple[float, float]:
    """Seconds of the smallest all-reduce, and bytes per second that cross the sockets of a process in a large one, each
    way both 2 (n - 1) / n of the size."""
    together = replace(ranks, group=group_of(tuple(range(ranks.num_ranks)), ranks.device))
    small, large = (_seconds(together, count) for count in (1, int(LARGE) // torch.float32.itemsize))
    return small, 4 * (ranks.num_ranks - 1) / ranks.num_ranks * LARGE / max(large - small, small)


def _seconds(ranks: Ranks, count: int) -> float:
    tensor = torch.zeros(count, device=ranks.device)
    return time_together(Run(lambda: _all_reduce(tensor, ranks), str), ranks).seconds


def _all_reduce(tensor: torch.Tensor, ranks: Ranks) -> None:
    dist.all_reduce(tensor, group=ranks.group)
