"""Which ranks communicate: in the first node, and over several, along all rails or one.

Ranks are numbered node by node, and a GPU's place in its node is its rail: the first GPUs of all nodes share a leaf.
"""

from collections.abc import Iterator
from typing import NamedTuple

from calibrate.machines.machine import Machine
from calibrate.running.asked import Budget


class Group(NamedTuple):
    """Ranks that communicate, on so many nodes, in runs at least as thorough as `budget`; those that are not the whole
    machine or node are measured at fewer sizes."""

    members: tuple[int, ...]
    num_nodes: int
    budget: Budget = "quick"
    is_whole: bool = True


def groups(machine: Machine) -> list[Group]:
    """In the first node, 2, 4, 8, ... GPUs; over 2, 4, 8, ... nodes, all GPUs of each, and one of each."""
    each, nodes = machine.gpus_per_node, machine.num_nodes
    inside = [Group(tuple(range(count)), 1, is_whole=count == each) for count in _doubling(each)]
    across = [_over(count, width, machine) for count in _doubling(nodes) for width in dict.fromkeys((each, 1))]
    return inside + across


def _over(num_nodes: int, width: int, machine: Machine) -> Group:
    """The first GPUs of the first nodes, so many of each."""
    each = machine.gpus_per_node
    members = tuple(node * each + slot for node in range(num_nodes) for slot in range(width))
    return Group(members, num_nodes, is_whole=len(members) == machine.num_gpus)


def pairs(machine: Machine) -> list[Group]:
    """Who sends to whom: the first two GPUs of the node, then neighbours, then all pairs; the first GPUs of the first
    two nodes, then of all nodes, then those of every rail. On processors all pairs are alike: the first two."""
    each = machine.gpus_per_node
    if machine.is_cpu:
        return [Group((0, 1), 1)]
    inside = [Group((a, b), 1, _inside(a, b)) for a in range(each) for b in range(a + 1, each)]
    return inside + list(_rails(machine))


def _inside(a: int, b: int) -> Budget:
    if (a, b) == (0, 1):
        return "quick"
    return "default" if b == a + 1 and a % 2 == 0 else "full"


def _rails(machine: Machine) -> Iterator[Group]:
    """From the first node to each other, by every rail."""
    for node in range(1, machine.num_nodes):
        for slot in range(machine.gpus_per_node):
            budget: Budget = "full" if slot else "default" if node > 1 else "quick"
            yield Group((slot, node * machine.gpus_per_node + slot), 2, budget)


def _doubling(most: int) -> list[int]:
    """2, 4, 8, ... and the most itself."""
    powers = {2**power for power in range(1, most.bit_length())}
    return sorted(count for count in powers | {most} if 2 <= count <= most)
