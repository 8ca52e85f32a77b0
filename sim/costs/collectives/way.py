"""A way: one algorithm with one protocol for one operation of one group, as NCCL plans it and as it goes.

NCCL opens a channel for every so many bytes, so that until all are open the bytes take as long as one channel's share.
A chunk has to travel the whole chain before the pipeline is full, and chunks grow with the message until they fill a
buffer: beside latency L and the time D of the bytes there is a time of filling, as of a pipeline with the best chunk,
c sqrt(L D), but where D is well above `most` L no longer than c sqrt(most) L.
"""

import math
from dataclasses import dataclass

import numpy as np

from sim.costs.collectives.tuning import PLATEAU_NBYTES, Algorithm, Protocol, tree_correction
from sim.costs.law import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """`planned_latency` and `planned_per_byte` are what NCCL's tuner believes, the other seconds are fitted.

    Of `nbytes` of the message `chain` times as many go through a node, of which `crossing` are sent to other nodes;
    `filling` is c above and `filling_most` its bound. A channel takes `channel_nbytes`; of fewer its time falls with
    their power `onset`, as threads are left idle. There are at most `most_channels`.
    """

    algorithm: Algorithm
    protocol: Protocol
    planned_latency: float
    planned_per_byte: float
    plateau: float = 1.0
    plateau_nbytes: float = 0.0
    latency: float
    onset: float = 1.0
    per_byte: float
    filling: float
    filling_most: float
    chain: float
    crossing: float = 1.0
    most_channels: int
    channel_nbytes: float


def planned(way: Way, nbytes: Array) -> Array:
    """Seconds that NCCL's tuner expects."""
    per_byte = way.planned_per_byte
    latency = np.where(nbytes >= way.plateau_nbytes, way.plateau, 1.0) * way.planned_latency
    if way.algorithm == "tree":
        return latency + nbytes * per_byte / tree_correction(way.protocol, nbytes)
    return np.asarray(latency + nbytes * per_byte)


def seconds(way: Way, nbytes: Array) -> Array:
    """Seconds that it takes with its wires to itself."""
    opened = nbytes / way.channel_nbytes
    full = way.channel_nbytes * way.per_byte * way.most_channels
    data = full * np.minimum(opened, 1.0) ** way.onset * np.maximum(opened / way.most_channels, 1.0)
    filled = way.filling_most * data / (way.filling_most * way.latency + data)
    return np.asarray(way.latency * (1 + way.filling * np.sqrt(filled)) + data)


def parts(way: Way, nbytes: float) -> tuple[float, float]:
    """As `seconds`, for one size: the seconds before bytes flow, and those of the bytes."""
    opened = nbytes / way.channel_nbytes
    full = way.channel_nbytes * way.per_byte * way.most_channels
    data = full * min(opened, 1.0) ** way.onset * max(opened / way.most_channels, 1.0)
    filled = way.filling_most * data / (way.filling_most * way.latency + data)
    return way.latency * (1 + way.filling * math.sqrt(filled)), data


def channels(way: Way, nbytes: float) -> int:
    """How many channels, and so SMs, NCCL uses for a message."""
    return max(1, min(way.most_channels, int(nbytes / way.channel_nbytes)))


SMALLEST = PLATEAU_NBYTES
"""Sizes below this are looked up as this."""
