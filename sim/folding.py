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
from itertools import product
from math import lcm

from sim.costs.collectives.chain import Load
from sim.instructions import Activity, Pattern
from sim.plan import Plan, spans
from sim.traffic import Use, is_exchanged, uses
from sim.variation import Slowness, alike_places
from topologies.fabric import Wire, capacity, leaves_bind
from topologies.hardware import Cluster

MAX_LOOKED_AT = 40_000
"""GPUs. Looking takes about 0.2 ms each; of more, where they do not repeat, too many differ to be played anyway."""
DIGITS = 9

Key = tuple[str | int, int, Pattern]
"""The axis of a group, or the rank that a message goes to; the rank that meets or sends; a pattern of the activity."""
Shares = Mapping[Key, tuple[Load, ...]]
Sizes = tuple[int, int, int]
"""How many tp ranks, cp ranks and dp ranks of each pipeline rank are told apart: one of each, or all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folding:
    """The ranks that are played, and for how many each stands.

    `places` says for each place of a pipeline rank which place is played in its stead. `shares` says for each group or
    message of a played rank, together with those that it stands for, what it puts onto the wires that are played, for
    each byte of a pattern; None where every wire belongs to one GPU, and those of the played ranks are played.
    """

    ranks: tuple[int, ...]
    ranks_folded: Mapping[int, int] = field(hash=False)
    places: tuple[int, ...] = field(repr=False)
    shares: Shares | None = field(default_factory=dict, hash=False)

    def stand_in(self, rank: int) -> int:
        """The rank that is played in the stead of any."""
        place = rank % len(self.places)
        return rank - place + self.places[place]

    def stand_ins(self, group: Sequence[int]) -> tuple[int, ...]:
        """The played ranks of a group."""
        return tuple(sorted({self.stand_in(rank) for rank in group}))


def unfolded(plan: Plan) -> Folding:
    """Every rank for itself."""
    return _folding(plan, tuple(range(plan.stride)), {})


def _folding(plan: Plan, places: tuple[int, ...], shares: Shares | None) -> Folding:
    folded = Counter(places)
    counts = {stage * plan.stride + place: folded[place] for stage in range(plan.pp) for place in sorted(folded)}
    return Folding(ranks=tuple(counts), ranks_folded=counts, places=places, shares=shares)


def seen_by(folding: Folding, activity: Activity, what: str | int, rank: int) -> Activity:
    """The activity of a rank as it is played: with all that it stands for, on the wires that stand for others.

    `what` is the axis of its group, or the rank that a message goes to.
    """
    if folding.shares is None:
        own = {wire._replace(number=folding.stand_in(wire.number)): nbytes for wire, nbytes in activity.loads}
        return replace(activity, loads=tuple(own.items()))
    if not folding.shares:
        return activity
    loads: defaultdict[Wire, float] = defaultdict(float)
    for pattern, nbytes in activity.patterns:
        for wire, share in folding.shares[what, rank, pattern]:
            loads[wire] += share * nbytes
    return replace(activity, loads=tuple(loads.items()), nbytes_of_one=activity.nbytes)


def fold(plan: Plan, cluster: Cluster, slowness: Slowness | None = None) -> Folding:
    """Fold what is alike of tp, cp and dp; the pipeline ranks differ by what they run.

    `slowness` tells ranks apart; None where all are equally fast.
    """
    if slowness is None or min(slowness) == max(slowness):
        return _fold(plan, cluster)
    return _fold_unequal(plan, cluster, slowness)


@lru_cache(maxsize=8)
def _fold(plan: Plan, cluster: Cluster) -> Folding:
    if is_plain(plan, cluster):
        return _folding(plan, (0,) * plan.stride, None)
    for sizes in _candidates(plan):
        shares = _shares_of_alike(plan, cluster, sizes)
        if shares is not None:
            return _folding(plan, _places(plan, sizes), shares)
    return unfolded(plan)


def _fold_unequal(plan: Plan, cluster: Cluster, slowness: Slowness) -> Folding:
    """Where ranks are not equally fast: unfold those that differ, and those that meet them and not others."""
    places = alike_places(plan, slowness)
    if is_plain(plan, cluster):
        return _folding(plan, places, None)
    for sizes in _candidates(plan):
        own = _places(plan, sizes)
        if all(places[place] == places[other] for place, other in enumerate(own)):
            shares = _shares_of_alike(plan, cluster, sizes)
            if shares is not None:
                return _folding(plan, own, shares)
    return unfolded(plan)


def is_plain(plan: Plan, cluster: Cluster) -> bool:
    """Whether every wire belongs to one GPU, and every pipeline rank fills nodes with groups that lie alike.

    Then nothing tells the ranks of a pipeline rank apart, and there is no need to look: the case of most large runs.
    """
    node = cluster.node
    private = node.layout == "nvswitch" and node.num_nics >= node.num_gpus and not leaves_bind(cluster)
    uneven = cluster.is_mixed or cluster.network.wiring == "torus" or cluster.degraded_wires
    return private and plan.stride % node.num_gpus == 0 and not uneven and _lie_alike(plan, node.num_gpus)


def _lie_alike(plan: Plan, gpus: int) -> bool:
    """Whether each node of so many GPUs holds whole groups, or as many members of each group that it holds any of. A
    ring is in one node or has one member in each: else some of them send by NVLink and some by their NIC."""
    held = [_held(gpus, step, count) for step, count in spans(plan).values() if count > 1]
    ring = _held(gpus, plan.tp, plan.cp) if plan.cp_kind == "ring" else 1
    return all(held) and ring in (1, plan.cp)


def _held(gpus: int, step: int, count: int) -> int:
    """Members of a group in each node, where they are as many in each; else 0. Groups of `count` ranks, `step` apart,
    lie one behind the other."""
    if gpus % (step * count) == 0:
        return count
    if gpus % step == 0 and step * count % gpus == 0:
        return gpus // step
    return 1 if step % gpus == 0 else 0


def _candidates(plan: Plan) -> list[Sizes]:
    """What could be told apart, the least first."""
    sizes = {*product((1, plan.tp), (1, plan.cp), (1, plan.dp))} - {(plan.tp, plan.cp, plan.dp)}
    return sorted(sizes, key=lambda each: (each[0] * each[1] * each[2], each))


def _places(plan: Plan, sizes: Sizes) -> tuple[int, ...]:
    """For each place of a pipeline rank, the first that is told apart from it in nothing."""
    return tuple(_place(plan, place, sizes) for place in range(plan.stride))


def _place(plan: Plan, place: int, sizes: Sizes) -> int:
    tp, cp, dp = sizes
    t = place % plan.tp if tp > 1 else 0
    c = place // plan.tp % plan.cp if cp > 1 else 0
    d = place // (plan.tp * plan.cp) if dp > 1 else 0
    return t + plan.tp * (c + plan.cp * d)


def repeating(plan: Plan, cluster: Cluster) -> tuple[Plan, Cluster]:
    """Fewer replicas on fewer nodes that speak for all.

    Where every pipeline rank fills whole nodes (or leaves) that each hold the same groups, moving all replicas on by
    one such tile changes nothing. Of equal tiles three are as good as many: a chain loads its wires alike on any number
    of nodes but two.
    """
    sharing = plan.num_sharing if plan.num_sharing < plan.num_replicas else 1
    groups = plan.tp * plan.cp, plan.expert_tp * plan.ep, plan.tp * sharing
    tile = lcm(*groups, *(_gpus_below(cluster, pool.node.num_gpus) for pool in cluster.pools))
    uneven = plan.stride % tile or any(pool.num_gpus % plan.stride for pool in cluster.pools[:-1])
    if uneven or plan.stride <= 3 * tile or not _nodes_repeat(cluster) or is_exchanged(plan, ["dp"]):
        return plan, cluster
    dp = 3 * tile // (plan.tp * plan.cp)
    pools = tuple(replace(pool, num_nodes=pool.num_nodes * dp // plan.dp) for pool in cluster.pools[:-1])
    batch = plan.num_microbatches * plan.micro_batch * dp
    shard = plan.shard if sharing > 1 else None
    part = replace(plan, dp=dp, global_batch=batch, shard=shard)
    return part, replace(cluster, pools=(*pools, cluster.pools[-1]))


def _gpus_below(cluster: Cluster, gpus_per_node: int) -> int:
    """GPUs of a node, or of a leaf where leaves can be the bottleneck."""
    return gpus_per_node * (max(1, cluster.network.nodes_per_leaf) if leaves_bind(cluster) else 1)


def _nodes_repeat(cluster: Cluster) -> bool:
    """Not in a torus, where all nodes share leaves that can be the bottleneck, or where nodes are told apart by what
    messages are hashed to or by a degraded wire."""
    network = cluster.network
    one_leaf_binds = leaves_bind(cluster) and not network.nodes_per_leaf
    return not (network.wiring == "torus" or one_leaf_binds or network.ecmp or cluster.degraded_wires)


def _shares_of_alike(plan: Plan, cluster: Cluster, sizes: Sizes) -> Shares | None:
    """What `Folding.shares` says if only these are told apart; None where that is not all."""
    part, nodes = repeating(plan, cluster) if sizes[2] == 1 else (plan, cluster)
    if part.num_gpus > MAX_LOOKED_AT:
        return None
    kinds = [(use, _kind(use, part, sizes)) for use in uses(part, nodes)]
    carried: defaultdict[Wire, defaultdict[Hashable, float]] = defaultdict(lambda: defaultdict(float))
    for use, kind in kinds:
        for wire, share in use.loads:
            carried[wire][kind] += share
    stands_for = _classes(nodes, carried)
    if not _is_equitable(kinds, stands_for, part, sizes):
        return None
    first = {kind: use for use, kind in reversed(kinds)}
    shares: dict[Key, tuple[Load, ...]] = {}
    for kind, use in first.items():
        wires = dict.fromkeys(stands_for[wire] for wire, _ in use.loads)
        loads = tuple((_moved_wire(wire, part, plan), carried[wire][kind]) for wire in wires)
        shares |= {_moved_key(key, part, plan): loads for key in _keys(use) if _stand_in(key[1], part, sizes) == key[1]}
    return shares


def _stand_in(rank: int, plan: Plan, sizes: Sizes) -> int:
    place = rank % plan.stride
    return rank - place + _place(plan, place, sizes)


def _kind(use: Use, plan: Plan, sizes: Sizes) -> Hashable:
    """What all uses have in common that are to be alike: the axes, the pattern, and what ranks are at both ends."""
    first, last = use.ranks[0], use.ranks[-1]
    return use.kinds, use.pattern, _stand_in(first, plan, sizes), last // plan.stride


def _classes(cluster: Cluster, carried: Mapping[Wire, Mapping[Hashable, float]]) -> dict[Wire, Wire]:
    """For each wire the first that is as wide and carries as much of every kind."""
    firsts: dict[Hashable, Wire] = {}
    found = {}
    for wire, loads in carried.items():
        rounded = frozenset((kind, round(share, DIGITS)) for kind, share in loads.items())
        alike = wire.medium, wire.direction, capacity(cluster, wire), rounded
        found[wire] = firsts.setdefault(alike, wire)
    return found


def _is_equitable(
    kinds: Sequence[tuple[Use, Hashable]], stands_for: Mapping[Wire, Wire], plan: Plan, sizes: Sizes
) -> bool:
    """Whether all uses of a kind start alike, put as much onto as many wires of each class, and join as many ranks of
    each kind; and whether all ranks of a kind join in the same kinds of use."""
    profiles: dict[Hashable, Hashable] = {}
    joined: defaultdict[int, list[Hashable]] = defaultdict(list)
    stand_ins = {rank: _stand_in(rank, plan, sizes) for rank in range(plan.num_gpus)}
    for use, kind in kinds:
        spread = Counter((stands_for[wire], round(share, DIGITS)) for wire, share in use.loads)
        ranks = Counter(map(stand_ins.__getitem__, use.ranks))
        profile = use.facts, frozenset(spread.items()), frozenset(ranks.items())
        if profiles.setdefault(kind, profile) != profile:
            return False
        for rank in use.ranks:
            joined[rank].append(kind)
    return all(Counter(found) == Counter(joined[stand_ins[rank]]) for rank, found in joined.items())


def _keys(use: Use) -> tuple[Key, ...]:
    """The names under which lowering asks for a use."""
    if use.kinds == ("send",):
        return ((use.ranks[1], use.ranks[0], use.pattern),)
    return tuple((axis, member, use.pattern) for axis in use.kinds for member in use.ranks)


def _moved_key(key: Key, part: Plan, plan: Plan) -> Key:
    what, member, pattern = key
    return what if isinstance(what, str) else _moved(what, part, plan), _moved(member, part, plan), pattern


def _moved_wire(wire: Wire, part: Plan, plan: Plan) -> Wire:
    which = _moved(wire.which, part, plan) if wire.medium == "mesh" else wire.which
    return wire._replace(number=_moved(wire.number, part, plan), which=which)


def _moved(gpu: int, part: Plan, plan: Plan) -> int:
    """A GPU of the part in the whole: at the same place of the same pipeline rank."""
    stage, place = divmod(gpu, part.stride)
    return stage * plan.stride + place
