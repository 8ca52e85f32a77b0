"""A ring: every GPU passes a part of the buffer to its neighbour, and all links work at once.

n - 1 steps reduce-scatter, n - 1 more all-gather [Patarasuk & Yuan 2009]; a step costs the latency of its link.
"""

from collections import Counter

from sim.costs.collectives.chain import Chain, Members, inside_link, launch, nic_link
from topologies.hardware import Cluster


def ring(cluster: Cluster, held: Members, nbytes: float, num_phases: int) -> Chain:
    """Each phase is n-1 steps and takes (n-1)/n of the buffer through every link: one to scatter or gather, two to sum.

    Of its steps (nodes - 1) cross the network, the others stay inside [NCCL, src/graph/tuning.cc, ncclTopoTuneModel:
    nsteps, nInterSteps].
    """
    n = sum(map(len, held.values()))
    steps = _inside(cluster, held) + (len(held) - 1) * nic_link(cluster, held).latency
    return Chain(latency=launch(cluster, held) + num_phases * steps, nbytes=num_phases * (n - 1) / n * nbytes)


def _inside(cluster: Cluster, held: Members) -> float:
    """Seconds of the steps from member to member in all nodes."""
    steps: Counter[float] = Counter()
    for gpus in held.values():
        steps[inside_link(cluster, gpus).latency] += len(gpus) - 1
    return sum(count * latency for latency, count in steps.items())
