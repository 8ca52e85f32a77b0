"""Which ranks are alike: equal ranks on equal wires do the same at the same time, so one of them stands for all.

Ranks may be folded where those of one kind, and the wires sorted by what each kind of use puts onto them, make an
equitable partition: every wire of a class is as full, every use of a kind is spread over the classes in the same way.
Fair shares then come out equal within each kind, so the wires of a class need be played but once, under the load of
one of them. Whatever the wiring is, this is looked at and not assumed; where it does not hold, all ranks are played.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import lcm

from sim.costs.collectives.chain import Load
from sim.instructions import Activity
from sim.plan import Plan, rank
from sim.traffic import Use, uses
from topologies.fabric import Wire, capacity, leaves_bind
from topologies.hardware import Cluster

MAX_LOOKED_AT = 40_000
"""GPUs. Looking takes about 0.2 ms each; of more, where they do not repeat, too many differ to be played anyway."""
DIGITS = 9

Key = tuple[str | int, int, float]
"""The axis of a group, or the rank that a message goes to; the rank that meets or sends; the activity's `crossing`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folding:
    """The ranks that are played, and for how many each stands.

    `shares` says for each group or message of a played rank, together with those that it stands for, what it puts onto
    the wires that are played, for each byte of its own busiest wire; None where every wire belongs to one GPU,
    and those of the first rank of each pipeline rank are played.
    """

    ranks: tuple[int, ...]
    ranks_folded: int
    shares: Mapping[Key, tuple[Load, ...]] | None = field(default_factory=dict, hash=False)


def unfolded(plan: Plan) -> Folding:
    """Every rank for itself."""
    return Folding(ranks=tuple(range(plan.num_gpus)), ranks_folded=1)


def seen_by(folding: Folding, activity: Activity, what: str | int, rank: int) -> Activity:
    """The activity of a rank as it is played: with all that it stands for, on the wires that stand for others.

    `what` is the axis of its group, or the rank that a message goes to.
    """
    if folding.shares is None:
        loads = tuple(load for load in activity.loads if load[0].number % folding.ranks_folded == 0)
        return replace(activity, loads=loads)
    shares = folding.shares.get((what, rank, activity.crossing))
    if shares is None:
        return activity
    loads = tuple((wire, share * activity.nbytes) for wire, share in shares)
    return replace(activity, loads=loads, nbytes_of_one=activity.nbytes)


@lru_cache(maxsize=8)
def fold(plan: Plan, cluster: Cluster) -> Folding:
    """Fold tp where all tp ranks are alike, dp where all replicas are; the pipeline ranks differ by what they run."""
    if is_plain(plan, cluster):
        return Folding(ranks=_ranks(plan, 1, 1), ranks_folded=plan.tp * plan.dp, shares=None)
    played = {(1, 1), (1, plan.dp), (plan.tp, 1)} - {(plan.tp, plan.dp)}
    for tp, dp in sorted(played, key=lambda sizes: sizes[0] * sizes[1]):
        shares = _shares_of_alike(plan, cluster, tp, dp)
        if shares is not None:
            ranks = _ranks(plan, tp, dp)
            return Folding(ranks=ranks, ranks_folded=plan.num_gpus // len(ranks), shares=shares)
    return unfolded(plan)


def is_plain(plan: Plan, cluster: Cluster) -> bool:
    """Whether every wire belongs to one GPU, and every pipeline rank fills nodes with tp groups that lie alike.

    Then nothing tells the ranks of a pipeline rank apart, and there is no need to look: the case of most large runs.
    """
    node = cluster.node
    private = node.layout == "nvswitch" and node.num_nics >= node.num_gpus and not leaves_bind(cluster)
    alike = plan.tp * plan.dp % node.num_gpus == 0 and (node.num_gpus % plan.tp == 0 or plan.tp % node.num_gpus == 0)
    uneven = cluster.is_mixed or cluster.network.wiring == "torus" or cluster.degraded
    return private and alike and not uneven


def _ranks(plan: Plan, tp: int, dp: int) -> tuple[int, ...]:
    """The first `tp` tp ranks of the first `dp` replicas."""
    return tuple(rank(plan, t, d, p) for p in range(plan.pp) for d in range(dp) for t in range(tp))


def repeating(plan: Plan, cluster: Cluster) -> tuple[Plan, Cluster]:
    """Fewer replicas on fewer nodes that speak for all.

    Where every pipeline rank fills whole nodes (or leaves) that each hold the same tp groups, moving all replicas on by
    one such tile changes nothing. Of equal tiles three are as good as many: a chain loads its wires alike on any number
    of nodes but two.
    """
    stage = plan.tp * plan.dp
    tile = lcm(plan.tp, *(_gpus_below(cluster, pool.node.num_gpus) for pool in cluster.pools))
    uneven = stage % tile or any(pool.num_gpus % stage for pool in cluster.pools[:-1])
    if uneven or stage <= 3 * tile or not _nodes_repeat(cluster):
        return plan, cluster
    dp = 3 * tile // plan.tp
    pools = tuple(replace(pool, num_nodes=pool.num_nodes * dp // plan.dp) for pool in cluster.pools[:-1])
    return replace(plan, dp=dp), replace(cluster, pools=(*pools, cluster.pools[-1]))


def _gpus_below(cluster: Cluster, gpus_per_node: int) -> int:
    """GPUs of a node, or of a leaf where leaves can be the bottleneck."""
    return gpus_per_node * (max(1, cluster.network.nodes_per_leaf) if leaves_bind(cluster) else 1)


def _nodes_repeat(cluster: Cluster) -> bool:
    """Not in a torus, where all nodes share leaves that can be the bottleneck, or where nodes are told apart by what
    messages are hashed to or by a degraded wire."""
    network = cluster.network
    one_leaf_binds = leaves_bind(cluster) and not network.nodes_per_leaf
    return not (network.wiring == "torus" or one_leaf_binds or network.ecmp or cluster.degraded)


def _shares_of_alike(plan: Plan, cluster: Cluster, tp: int, dp: int) -> dict[Key, tuple[Load, ...]] | None:
    """What `Folding.shares` says if only `tp` tp ranks and `dp` replicas are played; None where that is not all."""
    part, nodes = repeating(plan, cluster) if dp == 1 else (plan, cluster)
    if part.num_gpus > MAX_LOOKED_AT:
        return None
    kinds = [(use, _kind(use, part, tp, dp)) for use in uses(part, nodes)]
    carried: defaultdict[Wire, defaultdict[Hashable, float]] = defaultdict(lambda: defaultdict(float))
    for use, kind in kinds:
        for wire, share in use.loads:
            carried[wire][kind] += share
    stands_for = _classes(nodes, carried)
    if not _is_equitable(kinds, stands_for):
        return None
    first = {kind: use for use, kind in reversed(kinds) if use.loads}
    played = frozenset(_ranks(part, tp, dp))
    shares: dict[Key, tuple[Load, ...]] = {}
    for kind, use in first.items():
        busiest = max(share for _, share in use.loads)
        wires = dict.fromkeys(stands_for[wire] for wire, _ in use.loads)
        loads = tuple((_moved_wire(wire, part, plan), carried[wire][kind] / busiest) for wire in wires)
        shares |= {_moved_key(key, part, plan): loads for key in _keys(use) if key[1] in played}
    return shares


def _kind(use: Use, plan: Plan, tp: int, dp: int) -> Hashable:
    """What all uses have in common that are to be alike: the pipeline ranks at both ends, and what is not folded."""
    first, last = use.ranks[0], use.ranks[-1]
    stage = plan.tp * plan.dp
    place = first % plan.tp if tp > 1 else 0, first // plan.tp % plan.dp if dp > 1 else 0
    return use.kind, use.crossing, first // stage, last // stage, place


def _classes(cluster: Cluster, carried: Mapping[Wire, Mapping[Hashable, float]]) -> dict[Wire, Wire]:
    """For each wire the first that is as wide and carries as much of every kind."""
    firsts: dict[Hashable, Wire] = {}
    found = {}
    for wire, loads in carried.items():
        rounded = frozenset((kind, round(share, DIGITS)) for kind, share in loads.items())
        alike = wire.medium, wire.direction, capacity(cluster, wire), rounded
        found[wire] = firsts.setdefault(alike, wire)
    return found


def _is_equitable(kinds: Sequence[tuple[Use, Hashable]], stands_for: Mapping[Wire, Wire]) -> bool:
    """Whether all uses of a kind start alike and put as much onto as many wires of each class."""
    profiles: dict[Hashable, Hashable] = {}
    for use, kind in kinds:
        spread = Counter((stands_for[wire], round(share, DIGITS)) for wire, share in use.loads)
        profile = use.facts, frozenset(spread.items())
        if profiles.setdefault(kind, profile) != profile:
            return False
    return True


def _keys(use: Use) -> tuple[Key, ...]:
    """The names under which lowering asks for a use."""
    if use.kind == "send":
        return ((use.ranks[1], use.ranks[0], use.crossing),)
    return tuple((use.kind, member, use.crossing) for member in use.ranks)


def _moved_key(key: Key, part: Plan, plan: Plan) -> Key:
    what, member, crossing = key
    return what if isinstance(what, str) else _moved(what, part, plan), _moved(member, part, plan), crossing


def _moved_wire(wire: Wire, part: Plan, plan: Plan) -> Wire:
    which = _moved(wire.which, part, plan) if wire.medium == "mesh" else wire.which
    return wire._replace(number=_moved(wire.number, part, plan), which=which)


def _moved(gpu: int, part: Plan, plan: Plan) -> int:
    """A GPU of the part in the whole: at the same place of the same pipeline rank."""
    stage, place = divmod(gpu, part.tp * part.dp)
    return stage * plan.tp * plan.dp + place
