"""A ring: every GPU passes a part of the buffer to its neighbour, and all links work at once.

n - 1 steps reduce-scatter, n - 1 more all-gather [Patarasuk & Yuan 2009]; a step costs the latency of its link.
"""

from collections.abc import Mapping

from sim.costs.collectives.chain import Chain, slowest_link
from topologies.fabric import nic_of
from topologies.hardware import Cluster


def ring(cluster: Cluster, held: Mapping[int, int], nbytes: float, num_phases: int) -> Chain:
    """Each phase is n-1 steps and takes (n-1)/n of the buffer through every link: one to scatter or gather, two to sum.

    Of its steps (nodes - 1) cross the network, the others NVLink [NCCL, src/graph/tuning.cc, ncclTopoTuneModel: nsteps,
    nInterSteps].
    """
    n, num_nodes = sum(held.values()), len(held)
    nvlink, nic = cluster.node.scale_up, nic_of(cluster.node)
    steps = (n - num_nodes) * nvlink.latency + (num_nodes - 1) * nic.latency
    launch = slowest_link(cluster, num_nodes).fit["launch_latency"]
    return Chain(latency=launch + num_phases * steps, nbytes=num_phases * (n - 1) / n * nbytes)
