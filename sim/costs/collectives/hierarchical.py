"""All-to-all in two levels: first inside each node, then between GPUs of the same slot in all nodes.

Every GPU hands each neighbour what that neighbour's slot is to get in any node. Then one message goes to each other
node in place of one to each of its GPUs: as many bytes over the NICs, but fewer and larger messages, and on a
rail-optimised fabric none of them crosses a spine between rails [DeepSpeed-MoE, Rajbhandari et al. 2022, 5.2].
"""

from collections.abc import Iterable, Sequence

from sim.costs.collectives.all_to_all import all_to_all, network_latency, num_channels
from sim.costs.collectives.chain import members
from sim.costs.collectives.exchange import between, scaled
from sim.instructions import Activity
from topologies.hardware import Cluster


def hierarchical_all_to_all(cluster: Cluster, gpus: Sequence[int], nbytes: float) -> tuple[Activity, ...]:
    """What happens inside the nodes, all at once, and after it what happens between them; `nbytes` as of all_to_all.

    A group within one node has the first only, a group with one GPU in each node the second only.
    """
    held = members(cluster, gpus)
    steps = [_inside(cluster, held.values(), nbytes)] if max(map(len, held.values())) > 1 else []
    return (*steps, _between(cluster, tuple(gpus), nbytes)) if len(held) > 1 else tuple(steps)


def _inside(cluster: Cluster, nodes: Iterable[Sequence[int]], nbytes: float) -> Activity:
    """All-to-alls of the whole buffer in every node, as long as the slowest of them takes to start."""
    parts = [all_to_all(cluster, local, nbytes) for local in nodes if len(local) > 1]
    return Activity(
        latency=max(part.latency for part in parts),
        loads=tuple(load for part in parts for load in part.loads),
        ceiling=min(part.ceiling for part in parts),
        num_sms=max(part.num_sms for part in parts),
    )


def _between(cluster: Cluster, gpus: tuple[int, ...], nbytes: float) -> Activity:
    loads = scaled(between(cluster, gpus, "aligned"), nbytes / len(gpus))
    num_nodes = len(members(cluster, gpus))
    latency = network_latency(cluster, gpus, num_nodes - 1)
    return Activity(latency=latency, loads=loads, num_sms=num_channels(nbytes))
