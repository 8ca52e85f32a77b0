"""What the ranks of a replica say to each other in a pass: sums over tp, and hidden states from stage to stage."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from sim.costs import ELEMENT
from sim.costs.collectives import all_gather, all_reduce, alone
from sim.costs.collectives.custom_all_reduce import LAW_OF
from sim.costs.collectives.custom_kernels import CHOICES, KERNELS
from sim.costs.collectives.point_to_point import send
from sim.costs.law import Array, fit_of
from sim.serving.costs.parts import TOKENS, Rank
from topologies.fabric import Wire, capacity
from topologies.hardware import Cluster

_SPARSE: Final = np.unique(np.round(np.geomspace(1, TOKENS[-1], 60)))
"""Numbers of tokens at which a message between nodes is asked for; between them its time is a straight line."""


def summed(rank: Rank, *, graph: bool, width: int | None = None) -> Array:
    """Seconds to sum the hidden states of TOKENS tokens (or rows of `width`) over tp, as the framework does it."""
    nbytes = TOKENS * float(ELEMENT * (width or rank.model.hidden))
    if rank.tp == 1:
        return np.zeros_like(nbytes)
    if len({rank.cluster.node_of(gpu) for gpu in rank.gpus}) > 1:
        return _sparsely(lambda tokens: alone(rank.cluster, all_reduce(rank.cluster, rank.gpus, tokens * nbytes[0])))
    kernel = rank.framework.all_reduce
    law = LAW_OF[CHOICES[kernel].family]
    constants = {"kernel": KERNELS.index(kernel), "num_gpus": rank.tp, "graph": int(graph)}
    points = {name: np.full_like(nbytes, value) for name, value in constants.items()} | {"nbytes": nbytes}
    inside = rank.cluster.node_at(rank.gpus[0]).scale_up
    return law.seconds(rank.cluster, fit_of(inside, law).values, points)


def gathered(rank: Rank, row_nbytes: float) -> Array:
    """Seconds to gather rows of which each rank of tp has a part, `row_nbytes` of a token together."""
    if rank.tp == 1:
        return np.zeros_like(TOKENS)
    return _sparsely(lambda tokens: alone(rank.cluster, all_gather(rank.cluster, rank.gpus, tokens * row_nbytes)))


def sent(rank: Rank, receivers: Sequence[int]) -> Array:
    """Seconds to send hidden states to the next stage: each rank of tp a part, which the receivers then gather."""
    row = float(ELEMENT * rank.model.hidden * rank.framework.pipeline_tensors)
    pairs = tuple(zip(rank.gpus, receivers, strict=True))
    moved = _sparsely(lambda tokens: _together(rank.cluster, pairs, tokens * row / rank.tp))
    return moved + gathered(rank, row)


def _together(cluster: Cluster, pairs: Sequence[tuple[int, int]], nbytes: float) -> float:
    """Seconds of messages that start at once."""
    messages = [send(cluster, source, target, nbytes) for source, target in pairs]
    loads: defaultdict[Wire, float] = defaultdict(float)
    for message in messages:
        for wire, share in message.loads:
            loads[wire] += share
    wires = max(share / capacity(cluster, wire) for wire, share in loads.items())
    return max(max(alone(cluster, one) for one in messages), max(one.latency for one in messages) + wires)


def _sparsely(seconds: Callable[[float], float]) -> Array:
    return np.interp(TOKENS, _SPARSE, [seconds(float(tokens)) for tokens in _SPARSE])
