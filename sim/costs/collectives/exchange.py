"""An exchange: every GPU of a group has something for every other; how much of it passes over each wire.

Inside a node every pair takes its own way. Between nodes it is enough to count members by slot and by leaf, so that
thousands of ranks are quickly counted. With NCCL's PXN a message leaves by the NIC of its own node's GPU in the
target's slot, so that it stays on the target's rail [NCCL 2.12]; see topologies/fabric.py.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import permutations
from typing import Literal

from sim.costs.collectives.chain import Load, Members, members
from sim.instructions import Pattern
from topologies.fabric import (
    Wire,
    leaf_of,
    leaves_bind,
    nic_index,
    route,
    spread_evenly,
    to_network,
    torus_route,
)
from topologies.hardware import Cluster

Way = Literal["pxn", "direct", "aligned"]
"""Between nodes by NCCL's PXN where it can; by each GPU's own NIC; by it, but only to GPUs of the same slot."""
Target = tuple[int, int]
"""The slot of a GPU in its node, and the NIC that serves it there: its rail."""


@lru_cache(maxsize=1024)
def inside(cluster: Cluster, gpus: tuple[int, ...]) -> tuple[Load, ...]:
    """Bytes over each wire where each GPU sends one byte to each other member of its own node."""
    return _summed(load for local in members(cluster, gpus).values() for load in _inside(cluster, tuple(local)))


@lru_cache(maxsize=1024)
def between(cluster: Cluster, gpus: tuple[int, ...], way: Way) -> tuple[Load, ...]:
    """Bytes over each wire where each GPU sends as many bytes as there are members in other nodes."""
    held = members(cluster, gpus)
    if len(held) == 1:
        return ()
    if way == "pxn" and _has_pxn(cluster, held):
        return _summed((*_into_nics(cluster, held), *_by_pxn(cluster, held), *_over_rails(cluster, held)))
    return _summed((*_into_nics(cluster, held), *_by_own_nics(cluster, held), *_across(cluster, held, way)))


def spread(cluster: Cluster, gpus: tuple[int, ...], pattern: Pattern) -> tuple[Load, ...]:
    """Either of them, by its name."""
    if pattern == "inside":
        return inside(cluster, gpus)
    assert pattern == "pxn" or pattern == "direct" or pattern == "aligned"
    return between(cluster, gpus, pattern)


def scaled(loads: Iterable[Load], nbytes: float) -> tuple[Load, ...]:
    """The loads of so many bytes in place of one."""
    return tuple((wire, share * nbytes) for wire, share in loads)


def joined(*parts: Iterable[Load]) -> tuple[Load, ...]:
    """All loads as one exchange."""
    return _summed(load for part in parts for load in part)


def _summed(loads: Iterable[Load]) -> tuple[Load, ...]:
    found: defaultdict[Wire, float] = defaultdict(float)
    for wire, share in loads:
        found[wire] += share
    return tuple((wire, share) for wire, share in found.items() if share)


def _inside(cluster: Cluster, local: tuple[int, ...]) -> Iterator[Load]:
    if cluster.node_at(local[0]).layout == "nvswitch":
        for gpu in local:
            yield Wire("nvlink", "out", gpu), len(local) - 1.0
            yield Wire("nvlink", "in", gpu), len(local) - 1.0
    else:
        yield from ((wire, 1.0) for pair in permutations(local, 2) for wire in route(cluster, *pair))


def _into_nics(cluster: Cluster, held: Members) -> Iterator[Load]:
    """To each GPU from the network: a byte from each member in other nodes."""
    total = sum(map(len, held.values()))
    for local in held.values():
        for gpu in local:
            yield from ((wire, float(total - len(local))) for wire in to_network(cluster, gpu, "in"))


def _by_own_nics(cluster: Cluster, held: Members) -> Iterator[Load]:
    """From each GPU by its own NIC."""
    total = sum(map(len, held.values()))
    for local in held.values():
        for gpu in local:
            yield from ((wire, float(total - len(local))) for wire in to_network(cluster, gpu, "out"))


def _across(cluster: Cluster, held: Members, way: Way) -> Iterator[Load]:
    """Through a torus, or from leaf to leaf where that can be the bottleneck."""
    if cluster.network.wiring == "torus":
        for one, other in permutations(held, 2):
            nbytes = float(len(held[one]) * len(held[other]))
            yield from ((wire, nbytes) for wire in torus_route(cluster, one, other))
    elif leaves_bind(cluster):
        counts = [Counter(leaf_of(cluster, gpu) for gpu in local) for local in held.values()]
        for leaf, nbytes in (_aligned(counts) if way == "aligned" else _any(counts)).items():
            yield from _over(cluster, leaf, nbytes, nbytes)


def _over(cluster: Cluster, leaf: Wire, up: float, down: float) -> Iterator[Load]:
    yield from ((wire, share * up) for wire, share in spread_evenly(cluster, leaf))
    yield from ((wire, share * down) for wire, share in spread_evenly(cluster, leaf._replace(direction="in")))


def _any(counts: Iterable[Counter[Wire]]) -> Mapping[Wire, float]:
    """From the members below a leaf to those of other nodes below other leaves; `counts` has one element a node."""
    below: Counter[Wire] = Counter()
    for leaves in counts:
        below.update(leaves)
    total = below.total()
    found: defaultdict[Wire, float] = defaultdict(float)
    for leaves in counts:
        here = leaves.total()
        for leaf, number in leaves.items():
            found[leaf] += number * (total - here - (below[leaf] - number))
    return found


def _aligned(counts: Iterable[Counter[Wire]]) -> Mapping[Wire, float]:
    """As many bytes, dealt to the nodes: those stay below the leaf that have members at it too."""
    at: Counter[Wire] = Counter()
    for leaves in counts:
        for leaf in leaves:
            at[leaf] += leaves.total()
    total = sum(leaves.total() for leaves in counts)
    found: defaultdict[Wire, float] = defaultdict(float)
    for leaves in counts:
        for leaf, number in leaves.items():
            found[leaf] += number * (total - at[leaf])
    return found


def _has_pxn(cluster: Cluster, held: Members) -> bool:
    """Whether messages may leave by a neighbour's NIC: over NVSwitches, on rails."""
    network = cluster.network
    switched = all(cluster.node_at(local[0]).layout == "nvswitch" for local in held.values())
    return network.pxn and network.wiring == "rail-optimised" and switched


def _target(cluster: Cluster, gpu: int) -> Target:
    slot = cluster.slot_of(gpu)
    return slot, nic_index(cluster.node_at(gpu), slot)


def _by_pxn(cluster: Cluster, held: Members) -> Iterator[Load]:
    """From each GPU over NVLink to its neighbour in the target's slot and by that one's NIC; without one by its own."""
    everywhere = Counter(_target(cluster, gpu) for local in held.values() for gpu in local)
    for local in held.values():
        own = {_target(cluster, gpu): gpu for gpu in local}
        neighbours = Counter(rail for _, rail in own)
        relayed: Counter[int] = Counter()
        for target in own:
            relayed[target[1]] += everywhere[target] - 1
        direct = everywhere.total() - sum(everywhere[target] for target in own)
        for (slot, rail), gpu in own.items():
            for_slot = everywhere[slot, rail] - 1
            yield to_network(cluster, gpu, "out")[-1], float(len(local) * for_slot + direct)
            yield Wire("nvlink", "out", gpu), float(relayed.total() - relayed[rail])
            yield Wire("nvlink", "in", gpu), float(for_slot * (len(local) - neighbours[rail]))


def _over_rails(cluster: Cluster, held: Members) -> Iterator[Load]:
    """From leaf to leaf, where that can be the bottleneck: up from those that send, down to the targets."""
    if not leaves_bind(cluster):
        return
    targets = Counter((_target(cluster, gpu), leaf_of(cluster, gpu)) for local in held.values() for gpu in local)
    everywhere: Counter[Target] = Counter()
    for (target, _), count in targets.items():
        everywhere[target] += count
    sent: Counter[tuple[Target, Wire]] = Counter()
    for local in held.values():
        own = {_target(cluster, gpu): gpu for gpu in local}
        leaves = Counter(leaf_of(cluster, gpu) for gpu in local)
        for target in everywhere:
            if target in own:
                sent[target, leaf_of(cluster, own[target])] += len(local)
            else:
                for leaf, count in leaves.items():
                    sent[target, leaf] += count
    senders: Counter[Target] = Counter()
    for (target, leaf), count in sent.items():
        senders[target] += count
        up = count * (everywhere[target] - targets[target, leaf])
        yield from _over(cluster, leaf, float(up), 0.0)
    for (target, leaf), count in targets.items():
        yield from _over(cluster, leaf, 0.0, float(count * (senders[target] - sent[target, leaf])))
