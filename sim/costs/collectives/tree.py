"""A double binary tree between nodes, a chain inside each: few steps, so small messages over many nodes like it.

Each of two trees reduces and broadcasts half of the buffer; a node is a leaf in one and has two children in the other
[Sanders, Speck & Traeff 2009; NCCL 2.4], so it takes the buffer in twice and gives it out twice.
"""

import math
from collections.abc import Mapping

from sim.costs.collectives.chain import Chain, slowest_link
from topologies.fabric import nic_of
from topologies.hardware import Cluster


def tree(cluster: Cluster, held: Mapping[int, int], nbytes: float) -> Chain:
    """All-reduce, up and down: k-1 steps over NVLink and log2(nodes) over the network [NCCL, src/graph/tuning.cc]."""
    nvlink, nic = cluster.node.scale_up, nic_of(cluster.node)
    steps = (max(held.values()) - 1) * nvlink.latency + math.ceil(math.log2(len(held))) * nic.latency
    launch = slowest_link(cluster, len(held)).fit["launch_latency"]
    return Chain(latency=launch + 2 * steps, nbytes=2 * nbytes)
