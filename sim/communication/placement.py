"""Where the GPUs of a group lie: next to each other, or so many apart, down to one for each node, a rail."""

from dataclasses import replace
from typing import Final

from topologies.document import InputError
from topologies.hardware import Cluster, Node, Pool

MOST_GPUS: Final = 1024
"""Of one group: among more, its loads on all wires take longer to lay out than a page should wait."""


def members(cluster: Cluster, num_gpus: int, stride: int) -> tuple[int, ...]:
    """Every `stride`-th GPU, from the first on; raises InputError where the cluster, or a group, has not as many."""
    if not 2 <= num_gpus <= MOST_GPUS:
        raise InputError(f"gpus={num_gpus}: a group has 2 to {MOST_GPUS:,}; use one of those")
    if stride < 1:
        raise InputError(f"stride={stride}: GPUs of a group are 1 or more apart; use 1 for neighbours")
    last = (num_gpus - 1) * stride
    if last >= cluster.num_gpus:
        fits = (cluster.num_gpus - 1) // stride + 1
        said = f"{num_gpus} GPUs, every {stride} apart, need {last + 1:,}; {cluster.name} has {cluster.num_gpus:,}"
        raise InputError(f"{said}; use {fits} or fewer" if fits > 1 else f"{said}; lay them closer together")
    return tuple(range(0, last + 1, stride))


def rail(cluster: Cluster, slot: int, num_nodes: int) -> tuple[int, ...]:
    """The GPU in the same slot of each of the first nodes, as replicas lie where tensor parallelism fills the nodes."""
    return tuple(cluster.first_gpu(node) + slot for node in range(num_nodes))


def one_to_a_node(cluster: Cluster) -> Cluster:
    """The cluster with all GPUs of a node but one away, and that one's share of the NICs left to it.

    So the GPUs of a group that lies across nodes see what they see while the groups in the other slots do the same.
    Raises InputError where nothing leads out of a node.
    """
    return replace(cluster, pools=tuple(replace(pool, node=_lone(cluster, pool)) for pool in cluster.pools))


def _lone(cluster: Cluster, pool: Pool) -> Node:
    node = pool.node
    if node.nic is None or pool.num_nodes == 1 == len(cluster.pools):
        raise InputError(f"{cluster.name} is one box without a network; choose a cluster of several nodes")
    share = node.num_nics / node.num_gpus
    whole = max(1, int(share))
    nic = replace(node.nic, bandwidth=node.nic.bandwidth * share / whole)
    return replace(node, num_gpus=1, gpus_per_switch=1, num_sockets=1, bridge=None, nic=nic, num_nics=whole)
