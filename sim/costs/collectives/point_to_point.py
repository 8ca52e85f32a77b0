"""A message from one GPU to another: one start, one latency, its bytes over the wires on the way."""

from sim.instructions import Activity
from topologies.fabric import link_between, loaded_route
from topologies.hardware import Cluster


def send(cluster: Cluster, source: int, target: int, nbytes: float) -> Activity:
    """The activity of `nbytes` from GPU `source` to GPU `target`; nothing where they are the same."""
    if source == target or nbytes == 0:
        return Activity(latency=0.0, loads=())
    link = link_between(cluster, source, target)
    loads = tuple((wire, nbytes) for wire in loaded_route(cluster, source, target))
    return Activity(latency=link.fit["launch_latency"] + link.latency, loads=loads)
