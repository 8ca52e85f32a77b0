"""Messages and collectives played on a cluster's wires without a program: several groups on one NIC, several jobs on
one fabric. Each starts at its time and waits for nobody; what they share is shared as in a step.
"""

from collections.abc import Sequence
from functools import partial

from simpy import Environment

from sim.flow import Flow, flow_of
from sim.instructions import Activity
from sim.network import Network
from topologies.fabric import Wire, capacity
from topologies.hardware import Cluster


def play_activities(cluster: Cluster, starts: Sequence[tuple[float, Activity]]) -> list[float]:
    """When each activity, started at its time in seconds, is done: seconds on the same clock, in the order given."""
    numbers: dict[Wire, int] = {}
    flows = [flow_of(cluster, activity, numbers) for _, activity in starts]
    env = Environment()
    network = Network(env, [capacity(cluster, wire) for wire in numbers])
    done = [0.0] * len(starts)

    def end(index: int) -> None:
        done[index] = env.now

    def start(flow: Flow, index: int, _: object) -> None:
        network.start(flow, partial(end, index))

    for index, ((at, _), flow) in enumerate(zip(starts, flows, strict=True)):
        env.timeout(at).callbacks.append(partial(start, flow, index))
    env.run()
    return done
