"""How finely a step is played: a choice of lowering, never of the engine.

At kernel detail every kernel is played. At layer and stage detail a layer, or the whole pass of a stage, is played
alone first and then put in one piece. That is the same unless its collectives would share wires with other traffic.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

from sim.costs.collectives import COLLECTIVES
from sim.engine import Engine
from sim.instructions import Activity, Collective, Compute, Transfer
from sim.layers.context import Pass
from sim.lowering import Condense, as_it_is
from sim.program import COMPUTE, Program, Stream
from sim.timeline import breakdown_by_rank
from topologies.hardware import Cluster

Detail = Literal["kernel", "layer", "stage"]
DETAILS: tuple[Detail, ...] = get_args(Detail)
NAMES = {"F": "forward", "B": "backward"}


def condenser(cluster: Cluster, detail: Detail) -> Condense:
    """What puts each piece of a pass into one instruction, or for stage detail all of them; at kernel detail nothing.

    Equal pieces on equal groups are played once.
    """
    if detail == "kernel":
        return as_it_is
    played: dict[tuple[object, ...], Compute] = {}

    def condense(kind: str, pieces: Iterable[Pass], group: Sequence[int]) -> Pass:
        whole = []
        for piece in pieces:
            key = (tuple(group), *piece.items())
            if key not in played:
                played[key] = _played_alone(NAMES[kind], piece, cluster, group)
            whole.append(played[key])
        return {COMPUTE: (_merged(whole),) if detail == "stage" else tuple(whole)}

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
    return _in_one_piece(name, breakdown_by_rank(timeline)[rank])


def _merged(pieces: Iterable[Compute]) -> Compute:
    seconds: dict[str, float] = {}
    name = ""
    for piece in pieces:
        name = piece.name
        for key, part in piece.parts:
            seconds[key] = seconds.get(key, 0.0) + part
    return _in_one_piece(name, seconds)


def _in_one_piece(name: str, seconds: Mapping[str, float]) -> Compute:
    parts = tuple((key, part) for key, part in seconds.items() if part)
    return Compute(name=name, duration=sum(part for _, part in parts), parts=parts)
