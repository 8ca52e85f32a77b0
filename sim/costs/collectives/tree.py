"""A double binary tree between nodes, a chain inside each: few steps, so small messages over many nodes like it.

Each of two trees reduces and broadcasts half of the buffer; a node is a leaf in one and has two children in the other
[Sanders, Speck & Traeff 2009; NCCL 2.4], so it takes the buffer in twice and gives it out twice.
"""

import math

from sim.costs.collectives.chain import Chain, Members, inside_link, launch, nic_link
from topologies.hardware import Cluster


def tree(cluster: Cluster, held: Members, nbytes: float) -> Chain:
    """All-reduce, up and down: k-1 steps inside and log2(nodes) over the network [NCCL, src/graph/tuning.cc]."""
    inside = max((len(gpus) - 1) * inside_link(cluster, gpus).latency for gpus in held.values())
    steps = inside + math.ceil(math.log2(len(held))) * nic_link(cluster, held).latency
    return Chain(latency=launch(cluster, held) + 2 * steps, nbytes=2 * nbytes)
