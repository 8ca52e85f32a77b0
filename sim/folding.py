"""Which ranks are alike: equal ranks on equal links do the same at the same time, so one of them stands for all.

Ranks of one pipeline rank run the same kernels. They also see the same wires if their groups lie on the nodes in the
same way and their pipeline neighbours are as near; every wire belongs to one GPU, so nothing else can differ.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.plan import Plan, rank
from topologies.hardware import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Folding:
    """The ranks that are played, and for how many each stands."""

    ranks: tuple[int, ...]
    ranks_folded: int


def fold(plan: Plan, cluster: Cluster) -> Folding:
    """Fold tp where all tp ranks are alike, dp where all replicas are; the pipeline ranks differ by what they run."""
    views = _views(plan, cluster)
    tp = 1 if all((view == view[:, :, :1]).all() for view in views) else plan.tp
    dp = 1 if all((view == view[:, :1, :]).all() for view in views) else plan.dp
    ranks = tuple(rank(plan, t, d, p) for p in range(plan.pp) for d in range(dp) for t in range(tp))
    return Folding(ranks=ranks, ranks_folded=plan.tp * plan.dp // (tp * dp))


def unfolded(plan: Plan) -> Folding:
    """Every rank for itself."""
    return Folding(ranks=tuple(range(plan.num_gpus)), ranks_folded=1)


def _views(plan: Plan, cluster: Cluster) -> list[NDArray[np.int64]]:
    """What each rank, at [pp, dp, tp], sees of the wiring: group members in its own node, nodes of its groups, and
    whether the pipeline neighbours and the other end of the pipeline are in its node."""
    node = np.arange(plan.num_gpus).reshape(plan.pp, plan.dp, plan.tp) // cluster.node.num_gpus
    views = []
    for axis in (2, 1):
        together = _members_in_node(node, axis)
        views += [together, np.broadcast_to(together.min(axis, keepdims=True), node.shape), _num_nodes(node, axis)]
    views += [(node == np.roll(node, shift, axis=0)).astype(np.int64) for shift in (1, -1)]
    views.append(np.broadcast_to(node[:1] == node[-1:], node.shape).astype(np.int64))
    return views


def _members_in_node(node: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
    """For each rank, how many of its group along `axis` share its node (nodes are in rising order along an axis)."""
    moved = np.moveaxis(node, axis, -1)
    rows = moved.reshape(-1, moved.shape[-1])
    keys = rows + np.arange(len(rows))[:, None] * (int(node.max()) + 1)
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return np.moveaxis(counts[inverse].reshape(moved.shape), -1, axis)


def _num_nodes(node: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
    changes = np.count_nonzero(np.diff(node, axis=axis), axis=axis, keepdims=True)
    return np.broadcast_to(changes + 1, node.shape)
