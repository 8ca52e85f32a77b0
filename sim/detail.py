"""How finely a step is played: a choice of lowering, never of the engine.

At kernel detail every kernel is played. At layer and stage detail a layer, or the whole pass of a stage, is played
alone first and then put in one piece. That is the same unless its collectives would share wires with other traffic.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

from sim.costs.collectives import COLLECTIVES
from sim.costs.sharing import mean_load
from sim.engine import Engine
from sim.folding import MAX_LOOKED_AT, is_plain, repeating
from sim.instructions import Activity, Basis, Collective, Compute, Load, Transfer
from sim.layers.context import Pass
from sim.layers.stage import Piece
from sim.lowering import Condense, as_it_is
from sim.plan import Plan
from sim.program import COMPUTE, Program, Stream
from sim.timeline import breakdown_by_rank
from sim.traffic import uses
from topologies.fabric import Wire
from topologies.hardware import Cluster, Origin

Detail = Literal["kernel", "layer", "stage"]
DETAILS: tuple[Detail, ...] = get_args(Detail)
NAMES = {"F": "forward", "B": "backward"}


def shares_wires(plan: Plan, cluster: Cluster) -> bool:
    """Whether tp collectives meet pipeline messages, or those of other tp groups, on a wire: then a layer is not what
    it is alone.

    They may where tp groups span nodes, where pipeline neighbours share a node, and where GPUs of a node share wires.
    There layer and stage detail come out too fast: by up to 1.3 % inside a node, by up to a quarter where tp spans
    nodes (docs/design.md, section 9). Of more unequal GPUs than are looked at nothing is said: they are never played.
    """
    if plan.tp == 1:
        return False
    if is_plain(plan, cluster):
        return plan.tp > cluster.node.num_gpus and plan.pp > 1
    part, nodes = repeating(plan, cluster)
    if part.num_gpus > MAX_LOOKED_AT:
        return False
    taken: dict[Wire, tuple[int, ...]] = {}
    for use in uses(part, nodes):
        if use.kind in ("tp", "send") and any(taken.get(wire, use.ranks) != use.ranks for wire, _ in use.loads):
            return True
        taken |= {wire: use.ranks for wire, _ in use.loads if use.kind == "tp"}
    return False


def needed(plan: Plan, cluster: Cluster) -> Detail:
    """The coarsest detail that still tells layers apart and loses nothing."""
    return "kernel" if shares_wires(plan, cluster) else "layer"


def condenser(cluster: Cluster, detail: Detail) -> Condense:
    """What puts each piece of a pass into one instruction, or for stage detail all of them; at kernel detail nothing.

    Equal pieces on equal groups are played once.
    """
    if detail == "kernel":
        return as_it_is
    played: dict[tuple[object, ...], Compute] = {}

    def condense(kind: str, pieces: Iterable[Piece], group: Sequence[int]) -> Pass:
        whole = []
        for name, piece in pieces:
            key = (name, tuple(group), *piece.items())
            if key not in played:
                played[key] = _played_alone(name, piece, cluster, group)
            whole.append(played[key])
        return {COMPUTE: (_merged(NAMES[kind], whole),) if detail == "stage" else tuple(whole)}

    return condense


def _played_alone(name: str, piece: Pass, cluster: Cluster, group: Sequence[int]) -> Compute:
    """Play a piece on the first rank of its group, the wires to itself; where its seconds went is kept as parts."""
    rank = group[0]
    activities: dict[tuple[Collective | Transfer, int], Activity] = {
        (instruction, rank): COLLECTIVES[instruction.operation](cluster, group, instruction.nbytes)
        for block in piece.values()
        for instruction in block
        if isinstance(instruction, Collective)
    }
    streams = tuple(Stream(rank=rank, name=stream, steps=[(None, block)]) for stream, block in piece.items())
    program = Program(streams=streams, groups={("tp", rank): (rank,)}, activities=activities, ranks_folded={rank: 1})
    timeline = Engine(cluster, steady_state=False).play(program)
    seconds = breakdown_by_rank(timeline)[rank]
    entries = [entry for block in piece.values() for entry in block]
    kernels = [(entry.duration, entry.load) for entry in entries if isinstance(entry, Compute)]
    sent = sum(activities[entry, rank].nbytes for entry in entries if isinstance(entry, Collective))
    load = mean_load(kernels, sum(seconds.values()), sent / cluster.gpu_at(rank).memory_bandwidth)
    return _in_one_piece(name, seconds, load, _together(entry for entry in entries if isinstance(entry, Compute)))


def _merged(name: str, pieces: Sequence[Compute]) -> Compute:
    seconds: dict[str, float] = {}
    for piece in pieces:
        for key, part in piece.parts:
            seconds[key] = seconds.get(key, 0.0) + part
    load = mean_load([(piece.duration, piece.load) for piece in pieces], sum(seconds.values()))
    return _in_one_piece(name, seconds, load, _together(pieces))


def _in_one_piece(name: str, seconds: Mapping[str, float], load: Load, basis: tuple[Basis, ...]) -> Compute:
    parts = tuple((key, part) for key, part in seconds.items() if part)
    return Compute(name=name, duration=sum(part for _, part in parts), parts=parts, load=load, basis=basis)


def _together(kernels: Iterable[Compute]) -> tuple[Basis, ...]:
    """What several kernels rest on, each operation and origin once."""
    seconds: defaultdict[tuple[str, Origin], float] = defaultdict(float)
    for kernel in kernels:
        for operation, origin, part in kernel.basis:
            seconds[operation, origin] += part
    return tuple(Basis(*key, part) for key, part in seconds.items())
