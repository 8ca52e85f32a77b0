"""Lowering: a schedule's actions become blocks of kernels, collectives and messages on the streams of each rank.

An action waits for its input, computes, and hands its output over. After the last one, gradients are summed over the
replicas (or have been, behind the backward pass), the optimizer steps, with ZeRO the new weights are gathered.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

from sim.costs.collectives import activity_of, alone, footprint
from sim.costs.collectives.chain import seconds_per_byte
from sim.costs.collectives.point_to_point import send
from sim.folding import Folding, seen_by
from sim.instructions import Activity, Block, Collective, Transfer
from sim.layers.context import Context
from sim.lowering.parts import Condense as Condense
from sim.lowering.parts import Groups as Groups
from sim.lowering.rank import RankLowering
from sim.plan import Axis, Plan, group_of, pipeline
from sim.program import Program, Stream, different_blocks
from sim.schedules import Schedule
from topologies.hardware import Cluster

INNER: tuple[Axis, ...] = ("tp", "cp", "ep", "etp", "experts")
"""The axes along which a pass communicates."""

Members = Mapping[tuple[str, int], tuple[int, ...]]
Blocks = Sequence[tuple[int, Block]]
"""The different blocks of all streams, each with its rank."""


def lower(context: Context, plan: Plan, cluster: Cluster, folding: Folding, condense: Condense) -> Program:
    """The program of one training step, for the ranks that are played."""
    schedule = pipeline(plan, overlap_ep=context.framework.overlap_ep)
    streams = tuple(_streams(context, plan, cluster, schedule, folding.ranks, condense))
    blocks = list(different_blocks(streams))
    members = _members(plan, schedule, blocks)
    different = {id(group): group for group in members.values()}
    played = {key: folding.stand_ins(group) for key, group in different.items()}
    return Program(
        streams=streams,
        groups={key: played[id(group)] for key, group in members.items()},
        activities=_activities(cluster, blocks, members, folding),
        ranks_folded=folding.ranks_folded,
    )


def inner_groups(plan: Plan, rank: int) -> Groups:
    """The groups that a rank's passes communicate in, of those with several members."""
    found = ((axis, group_of(plan, axis, rank)) for axis in INNER)
    return tuple((axis, group) for axis, group in found if len(group) > 1)


def _streams(
    context: Context, plan: Plan, cluster: Cluster, schedule: Schedule, ranks: Iterable[int], condense: Condense
) -> Iterator[Stream]:
    placements: dict[Groups, Hashable] = {}
    lowerings: dict[Hashable, RankLowering] = {}
    for rank in ranks:
        groups = inner_groups(plan, rank)
        if groups not in placements:
            placements[groups] = _placement(cluster, rank, groups)
        placement = placements[groups]
        if placement not in lowerings:
            own = replace(context, gpu=cluster.gpu_at(rank))
            lowerings[placement] = RankLowering(own, plan, schedule, condense, groups, cluster.node_at(rank))
        yield from lowerings[placement].streams(rank)


def _placement(cluster: Cluster, rank: int, groups: Groups) -> Hashable:
    """What ranks must share to take equally long alone: their GPU, and how long their groups' collectives take."""
    found: list[Hashable] = [cluster.gpu_at(rank)]
    for _, group in groups:
        starts, loads_of = footprint(cluster, group)
        found += [starts, tuple(seconds_per_byte(cluster, loads) for loads in loads_of.values())]
    return tuple(found)


def _members(plan: Plan, schedule: Schedule, blocks: Blocks) -> Members:
    """The group of each played rank on each axis on which it has collectives; its members share one tuple, for there
    may be thousands of them."""
    found: dict[tuple[str, int], tuple[int, ...]] = {}
    for rank, name in dict.fromkeys(_meetings(blocks)):
        if (name, rank) not in found:
            is_mirror = name == "mirror"
            group = _mirrored(plan, schedule, rank) if is_mirror else group_of(plan, cast(Axis, name), rank)
            found |= dict.fromkeys(((name, member) for member in group), group)
    return found


def _meetings(blocks: Blocks) -> Iterator[tuple[int, str]]:
    for rank, block in blocks:
        yield from ((rank, entry.group) for entry in block if isinstance(entry, Collective))


def _mirrored(plan: Plan, schedule: Schedule, rank: int) -> tuple[int, ...]:
    """A rank and the one whose two models' stages are the same, in the other order."""
    place = rank // plan.stride
    other = rank + (schedule.num_ranks - 1 - 2 * place) * plan.stride
    return tuple(sorted((rank, other)))


def _activities(
    cluster: Cluster, blocks: Blocks, members: Members, folding: Folding
) -> dict[tuple[Collective | Transfer, int], Activity]:
    """What each collective and transfer does to the wires that are played; groups share one activity."""
    collectives: dict[tuple[Collective, int], Activity] = {}
    activities: dict[tuple[Collective | Transfer, int], Activity] = {}
    for rank, block in blocks:
        for instruction in block:
            if isinstance(instruction, Transfer):
                message = send(cluster, rank, instruction.peer, instruction.nbytes)
                activities[instruction, rank] = seen_by(folding, message, instruction.peer, rank)
            elif isinstance(instruction, Collective):
                group = members[instruction.group, rank]
                key = instruction, group[0]
                if key not in collectives:
                    whole = activity_of(cluster, group, instruction)
                    seen = seen_by(folding, whole, instruction.group, rank)
                    collectives[key] = replace(seen, seconds_of_one=alone(cluster, whole))
                activities[instruction, rank] = collectives[key]
    return activities
