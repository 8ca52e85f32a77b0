"""How finely a step is played: a choice of lowering, never of the engine.

At kernel detail every kernel is played. At layer and stage detail a layer, or the whole pass of a stage, is played
alone first and then put in one piece. That is the same unless its collectives would share wires with other traffic.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Literal, get_args

from sim.costs.collectives import activity_of
from sim.costs.sharing import mean_load
from sim.engine import Engine
from sim.folding import MAX_LOOKED_AT, is_plain, repeating
from sim.frameworks import Framework
from sim.instructions import Activity, Basis, Block, Collective, Compute, Instruction, Load, Transfer
from sim.layers.context import Pass, join
from sim.lowering import Condense, Groups
from sim.lowering.parts import num_launches
from sim.plan import Plan
from sim.program import COMPUTE, Program, Stream
from sim.timeline import breakdown_by_rank
from sim.traffic import uses
from topologies.fabric import Wire
from topologies.hardware import Cluster, Origin

Detail = Literal["kernel", "layer", "stage"]
DETAILS: tuple[Detail, ...] = get_args(Detail)


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
        is_tp = "tp" in use.kinds
        met = (taken.get(wire, use.ranks) != use.ranks for wire, _ in use.loads)
        if (is_tp or use.kinds == ("send",)) and any(met):
            return True
        taken |= {wire: use.ranks for wire, _ in use.loads if is_tp}
    return False


def needed(plan: Plan, cluster: Cluster) -> Detail:
    """The coarsest detail that still tells layers apart and loses nothing."""
    return "kernel" if shares_wires(plan, cluster) else "layer"


def condenser(cluster: Cluster, framework: Framework, detail: Detail) -> Condense:
    """What puts each piece of a pass into one instruction, or for stage detail all of them; at kernel detail nothing.

    Equal pieces on equal groups are played once. Where the host takes longer to start a piece's kernels than they take,
    the rest of its time is added to the piece.
    """
    alone: dict[tuple[object, ...], Compute] = {}

    def in_one_piece(name: str, work: Pass, groups: Groups) -> Compute:
        key = (name, groups, *work.items())
        if key not in alone:
            alone[key] = _played_alone(name, work, cluster, groups)
        return alone[key]

    def kernels(name: str, work: Pass, groups: Groups) -> Pass:
        if not _host_seconds(framework, work):
            return work
        return join(work, {COMPUTE: _late(framework, work, in_one_piece(name, work, groups).duration)})

    def layer(name: str, work: Pass, groups: Groups) -> Pass:
        one = in_one_piece(name, work, groups)
        return {COMPUTE: (_merged(name, (one, *_late(framework, work, one.duration))),)}

    def whole(name: str, work: Pass) -> Pass:
        return {**work, COMPUTE: tuple(_runs_merged(name, work.get(COMPUTE, ())))}

    if detail == "kernel":
        return Condense(piece=kernels, whole=lambda _, work: work)
    return Condense(piece=layer, whole=whole if detail == "stage" else lambda _, work: work)


def _host_seconds(framework: Framework, work: Pass) -> float:
    """The host's time to start all kernels of a piece; replayed as a CUDA graph most cost it none."""
    launches = 0.0 if framework.cuda_graphs else framework.launch_seconds * num_launches(work)
    kernels = (entry for block in work.values() for entry in block if isinstance(entry, Compute))
    return launches + sum(kernel.host_seconds for kernel in kernels)


def _late(framework: Framework, work: Pass, seconds: float) -> tuple[Compute, ...]:
    """What the host takes longer than the kernels: the GPU waits for it."""
    late = _host_seconds(framework, work) - seconds
    return (Compute(name="kernel launches", duration=late, category="host"),) if late > 0 else ()


def _played_alone(name: str, piece: Pass, cluster: Cluster, groups: Groups) -> Compute:
    """Play a piece on one rank of its groups, the wires to itself; where its seconds went is kept as parts."""
    members = dict(groups)
    rank = groups[0][1][0] if groups else 0
    meetings = [entry for block in piece.values() for entry in block if isinstance(entry, Collective)]
    activities: dict[tuple[Collective | Transfer, int], Activity] = {
        (meeting, rank): activity_of(cluster, members[meeting.group], meeting) for meeting in dict.fromkeys(meetings)
    }
    streams = tuple(Stream(rank=rank, name=stream, steps=[(None, block)]) for stream, block in piece.items() if block)
    program = Program(
        streams=streams,
        groups={(axis, rank): (rank,) for axis in members},
        activities=activities,
        ranks_folded={rank: 1},
    )
    timeline = Engine(cluster, steady_state=False).play(program)
    seconds = breakdown_by_rank(timeline)[rank] if streams else {}
    kernels = [entry for block in piece.values() for entry in block if isinstance(entry, Compute)]
    sent = sum(activities[meeting, rank].nbytes for meeting in meetings)
    alone = [(kernel.duration, kernel.load) for kernel in kernels]
    load = mean_load(alone, sum(seconds.values()), sent / cluster.gpu_at(rank).memory_bandwidth)
    return _in_one_piece(name, seconds, load, _together(kernels))


def _runs_merged(name: str, block: Block) -> Iterator[Instruction]:
    """A block in which kernels that follow one another are one."""
    for are_kernels, run in groupby(block, key=_is_kernel):
        if are_kernels:
            yield _merged(name, [entry for entry in run if isinstance(entry, Compute)])
        else:
            yield from run


def _is_kernel(entry: Instruction) -> bool:
    """Data that are loaded are not: a slower GPU waits as long for them."""
    return isinstance(entry, Compute) and entry.category != "host"


def _merged(name: str, pieces: Sequence[Compute]) -> Compute:
    if len(pieces) == 1 and pieces[0].parts:
        return pieces[0]
    seconds: dict[str, float] = {}
    for piece in pieces:
        for key, part in piece.parts or ((piece.category, piece.duration),):
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
