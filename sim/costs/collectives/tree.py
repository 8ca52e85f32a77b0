"""A double binary tree between nodes, a chain inside each: few steps, so small messages over many nodes like it.

Each of two trees reduces and broadcasts half of the buffer; a node is a leaf in one and has two children in the other
[Sanders, Speck & Traeff 2009; NCCL 2.4], so it takes the buffer in twice and gives it out twice. Of two nodes each is
the other's only child: the buffer crosses once each way, half of what a ring over many GPUs sends [NCCL issue 946].
"""

import math
from typing import Final

from sim.costs.collectives.chain import Chain, Members, inside_link, launch, nic_link
from topologies.hardware import Cluster

INSIDE: Final = 0.92
"""What a tree over two nodes reaches inside them, of a ring's rate [NCCL, src/graph/tuning.cc, ncclTopoTuneModel]."""


def crossings(held: Members) -> tuple[float, ...]:
    """The values that `Chain.crossing` may have for a group: that of all chains, and last that of its tree.

    They differ over two nodes, where half of what goes through a node stays in it, if it has several members.
    """
    return (1.0, INSIDE / 2) if len(held) == 2 < sum(map(len, held.values())) else (1.0,)


def tree(cluster: Cluster, held: Members, nbytes: float) -> Chain:
    """All-reduce, up and down: k-1 steps inside and log2(nodes) over the network [NCCL, src/graph/tuning.cc]."""
    inside = max((len(gpus) - 1) * inside_link(cluster, gpus).latency for gpus in held.values())
    steps = inside + math.ceil(math.log2(len(held))) * nic_link(cluster, held).latency
    sent, crossing = nbytes if len(held) == 2 else 2 * nbytes, crossings(held)[-1]
    return Chain(latency=launch(cluster, held) + 2 * steps, nbytes=sent / crossing, crossing=crossing)
