"""Collectives that share wires as the Communication lab shows them: each beside what it takes alone."""

from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import topologies
from sim.communication.contention import (
    MOST_GROUPS,
    Contention,
    Groups,
    contended,
    jobs,
    rails,
    same_gpus,
)
from topologies import parts
from topologies.document import InputError, shorten
from topologies.hardware import Cluster
from topologies.quantity import nbytes, rate, seconds
from web.answers.collectives import cluster_of, operation_of

What = Literal["rails", "spine", "gpus"]
WHATS: Final[tuple[What, ...]] = get_args(What)
NODES_PER_LEAF: Final = 4
"""Of the fabric whose spine is shared: small enough that jobs cross leaves, as large ones do in large fabrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fabric:
    """What is asked of the wires: NICs of a node (0: as many as it has), how much less leaves carry upwards than NICs
    below them, and the share of that which others take."""

    nics: int = 0
    oversubscription: float = 1.0
    background: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """Seconds of each group: start, end, alone, and how many times as long it takes; the slowest's slowdown for 1, 2,
    ... groups. `busiest` names the wire that binds, `floor` what its bytes take at least."""

    names: tuple[str, ...]
    starts: tuple[float, ...]
    done: tuple[float, ...]
    alone: tuple[float, ...]
    slowdowns: tuple[float, ...]
    by_count: tuple[float, ...]
    busiest: str
    floor: str
    words: str


def sharing(
    what: str,
    cluster: str,
    version: str,
    num_groups: int,
    operation: str,
    size: float,
    num_nodes: int,
    fabric: Fabric,
    stagger: float,
) -> Sharing:
    """Play a collective in each of `num_groups` groups that lie as `what` says; raises InputError where they cannot."""
    kind = _what(what)
    found = _fabric(kind, cluster, version, fabric)
    wanted = operation_of(operation)
    groups = _groups(kind, found, num_groups, num_nodes)
    shown = contended(found, groups, wanted, size, stagger)
    most = min(MOST_GROUPS, found.node.num_gpus) if kind == "rails" else MOST_GROUPS
    counts = range(1, most + 1)
    plays = (contended(found, _groups(kind, found, count, num_nodes), wanted, size) for count in counts)
    return Sharing(
        names=tuple(_name(kind, place) for place in range(num_groups)),
        starts=shown.starts,
        done=shown.done,
        alone=shown.alone,
        slowdowns=shown.slowdowns,
        by_count=tuple(max(play.slowdowns) for play in plays),
        busiest=shown.busiest.name,
        floor=_floor(shown),
        words=_words(kind, found, groups),
    )


def sharing_csv(shown: Sharing) -> bytes:
    """A row for each group, times in seconds."""
    rows = zip(shown.names, shown.starts, shown.done, shown.alone, shown.slowdowns, strict=True)
    lines = [f"{name},{start:.9g},{done:.9g},{lone:.9g},{slow:.6g}" for name, start, done, lone, slow in rows]
    return "\n".join(["group,start_s,done_s,alone_s,slowdown", *lines, ""]).encode()


def _what(name: str) -> What:
    for known in WHATS:
        if name == known:
            return known
    raise InputError(f"unknown kind of sharing {shorten(name)}; use {', '.join(WHATS)}")


def _fabric(kind: What, name: str, version: str, fabric: Fabric) -> Cluster:
    """The catalogue's cluster with the fabric that is asked for."""
    own = cluster_of(name, version)
    if kind == "gpus":
        return own
    if own.node.nic is None:
        raise InputError(f"{own.name} is one box without a network; choose a cluster of several nodes")
    if kind == "rails":
        changed = topologies.load({"name": name, "nics_per_node": fabric.nics}) if fabric.nics else own
    else:
        narrow = {"oversubscription": fabric.oversubscription, "background": fabric.background}
        changed = topologies.load({"name": name, "nodes_per_leaf": NODES_PER_LEAF, **narrow})
    return replace(changed, nccl_version=parts.version(version))


def _groups(kind: What, cluster: Cluster, num_groups: int, num_nodes: int) -> Groups:
    if kind == "rails":
        return rails(cluster, num_groups, num_nodes)
    if kind == "spine":
        return jobs(cluster, num_groups, num_nodes)
    return same_gpus(cluster, num_groups, range(min(num_nodes * cluster.node.num_gpus, cluster.num_gpus)))


def _name(kind: What, place: int) -> str:
    return {"rails": f"slot {place}", "spine": f"job {place + 1}", "gpus": f"collective {place + 1}"}[kind]


def _floor(shown: Contention) -> str:
    wire = shown.busiest
    several = f"{wire.num_groups} groups put" if wire.num_groups > 1 else "one group puts"
    return f"{several} {nbytes(wire.nbytes)} on it; at {rate(wire.bandwidth)} that takes {seconds(wire.seconds)}"


def _words(kind: What, cluster: Cluster, groups: Groups) -> str:
    node, size = cluster.node, len(groups[0])
    if kind == "rails":
        each = node.num_gpus / max(1, node.num_nics)
        shared = f"{each:g} GPUs share a NIC" if each > 1 else "each GPU has a NIC to itself"
        return f"Each group is the GPU in one slot of {size} nodes; {shared}."
    if kind == "spine":
        return (
            f"Each job has {size} GPUs on {size // node.num_gpus} nodes, scattered over leaves of {NODES_PER_LEAF} "
            f"nodes; the fabric has room for {MOST_GROUPS} such jobs."
        )
    return f"Each collective is of the same {size} GPUs, as tensor, expert and data parallelism at once may be."
