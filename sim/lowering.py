"""Lowering: a schedule's actions become blocks of kernels, collectives and messages on the streams of each rank.

A rank computes on one stream and runs the collectives that overlap on stream "tp"; it sends on its compute stream, or,
where sends overlap, on two streams of their own. An action waits for its input, computes, and hands its output over.
After the last one, gradients are summed over the replicas, the optimizer steps, with ZeRO the new weights are gathered.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from sim.costs import ELEMENT, memory_bound
from sim.costs.collectives import COLLECTIVES, alone, footprint
from sim.costs.collectives.chain import seconds_per_byte
from sim.costs.collectives.point_to_point import send
from sim.folding import Folding, seen_by
from sim.instructions import Activity, Block, Collective, CollectiveOperation, Record, Transfer, Wait
from sim.layers import stage as stage_of_model
from sim.layers.context import Context, Pass, join, streaming
from sim.layers.head import matrix_parameters
from sim.layers.stage import Piece, Stage
from sim.plan import Axis, Plan, group_of
from sim.program import COMPUTE, Program, Step, Stream, different_blocks
from sim.schedules import Action, Schedule, schedule_of
from topologies.hardware import Cluster

Condense = Callable[[str, Iterable[Piece], Sequence[int]], Pass]
"""Turns the pieces of a pass ("F" or "B", run by these GPUs of one tp group) into what the streams of each run."""


def as_it_is(_: str, pieces: Iterable[Piece], __: Sequence[int]) -> Pass:
    """Kernel detail: every kernel and collective for itself."""
    return join(*(piece for _, piece in pieces))


def lower(context: Context, plan: Plan, cluster: Cluster, folding: Folding, condense: Condense) -> Program:
    """The program of one training step, for the ranks that are played."""
    streams = tuple(_streams(context, plan, cluster, folding.ranks, condense))
    members = _groups(plan, folding.ranks)
    played = frozenset(folding.ranks)
    return Program(
        streams=streams,
        groups={key: tuple(member for member in group if member in played) for key, group in members.items()},
        activities=_activities(cluster, streams, members, folding),
        ranks_folded=dict.fromkeys(folding.ranks, folding.ranks_folded),
    )


def _streams(
    context: Context, plan: Plan, cluster: Cluster, ranks: Iterable[int], condense: Condense
) -> Iterator[Stream]:
    schedule = schedule_of(plan.schedule, plan.pp, plan.vpp, plan.num_microbatches, plan.group)
    placements: dict[tuple[int, ...], Hashable] = {}
    lowerings: dict[Hashable, _Lowering] = {}
    for rank in ranks:
        group = group_of(plan, "tp", rank)
        if group not in placements:
            placements[group] = _placement(cluster, group)
        placement = placements[group]
        if placement not in lowerings:
            own = replace(context, gpu=cluster.gpu_at(rank))
            lowerings[placement] = _Lowering(own, plan, schedule, condense, group)
        yield from lowerings[placement].streams(rank)


def _placement(cluster: Cluster, group: Sequence[int]) -> Hashable:
    """What tp groups must share to take equally long alone: their GPU, and how long their collectives take."""
    starts, loads_of = footprint(cluster, group)
    per_byte = tuple(seconds_per_byte(cluster, loads) for loads in loads_of.values())
    return cluster.gpu_at(group[0]), starts, per_byte


@dataclass(frozen=True)
class _Lowering:
    """Blocks are made once per stage and shared by all microbatches, and by all ranks whose tp group has the GPUs and
    lies on its nodes as `group` does."""

    context: Context
    plan: Plan
    schedule: Schedule
    condense: Condense
    group: tuple[int, ...]

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        return stage_of_model.stages(self.context, self.plan)

    @cached_property
    def passes(self) -> dict[tuple[str, int], Pass]:
        """What each kind of action does on each stage, computing only; equal stages share it."""
        directions = {"F": stage_of_model.forward, "B": stage_of_model.backward}
        made = {
            (kind, stage): self.condense(kind, pieces(self.context, stage), self.group)
            for stage in dict.fromkeys(self.stages)
            for kind, pieces in directions.items()
        }
        return {(kind, index): made[kind, stage] for index, stage in enumerate(self.stages) for kind in directions}

    @property
    def sends_beside(self) -> bool:
        """Only the interleaved schedule sends beside its compute; the others go on once the message is gone."""
        return self.context.framework.overlap_pipeline_sends and self.plan.schedule == "interleaved"

    def streams(self, rank: int) -> Iterator[Stream]:
        """The streams of one rank; those with nothing to do are left out."""
        actions = self.schedule.rows[rank // self._stride]
        blocks = {(kind, stage): self._work(kind, stage, rank) for stage in self._own(rank) for kind in ("F", "B")}
        steps: list[Step] = [(action, blocks[action[:2]]) for action in actions]
        yield Stream(rank=rank, name=COMPUTE, steps=[*steps, (None, self._end_of_step(rank))])
        yield from _stream(rank, "tp", actions, {key: made["tp"] for key, made in self.passes.items() if "tp" in made})
        if self.sends_beside:
            for kind in ("F", "B"):
                yield from _stream(rank, f"send {kind}", actions, self._sends(rank, kind))

    @property
    def _stride(self) -> int:
        """From a rank to the one at its place in the next pipeline rank."""
        return self.plan.tp * self.plan.dp

    def _own(self, rank: int) -> range:
        """The global stages of a rank."""
        return range(rank // self._stride, self.plan.num_stages, self.plan.pp)

    def _work(self, kind: str, stage: int, rank: int) -> Block:
        """What the compute stream does for an action: wait for the input, compute, hand the output over."""
        before = (Wait(f"input {kind}{stage}"),) if self._previous(kind, stage) is not None else ()
        return (*before, *self.passes[kind, stage][COMPUTE], *self._hand_over(kind, stage, rank))

    def _hand_over(self, kind: str, stage: int, rank: int) -> Block:
        if self._next(kind, stage) is None:
            return ()
        return (Record(f"output {kind}{stage}"),) if self.sends_beside else (self._send(kind, stage, rank),)

    def _sends(self, rank: int, kind: str) -> dict[tuple[str, int], Block]:
        """The blocks of a rank's stream that sends forwards, or backwards, beside its compute."""
        return {
            (kind, stage): (Wait(f"output {kind}{stage}"), self._send(kind, stage, rank))
            for stage in self._own(rank)
            if self._next(kind, stage) is not None
        }

    def _send(self, kind: str, stage: int, rank: int) -> Transfer:
        target = self._next(kind, stage)
        assert target is not None
        return Transfer(
            name=f"send {kind}",
            axis="pp",
            peer=rank % self._stride + target % self.plan.pp * self._stride,
            flag=f"input {kind}{target}",
            nbytes=stage_of_model.message_nbytes(self.context),
        )

    def _next(self, kind: str, stage: int) -> int | None:
        """The stage that takes the output: the next one forward, the one before backward."""
        target = stage + (1 if kind == "F" else -1)
        return target if 0 <= target < self.plan.num_stages else None

    def _previous(self, kind: str, stage: int) -> int | None:
        return self._next("B" if kind == "F" else "F", stage)

    def _end_of_step(self, rank: int) -> Block:
        own = [self.stages[stage] for stage in self._own(rank)]
        count = sum(stage_of_model.parameters(self.context, stage) for stage in own)
        return (
            *self._reduce_norm_gradients(own),
            *self._reduce_gradients(count),
            *self._reduce_tied_embedding(own),
            *self._optimizer(count),
            *self._gather_weights(count),
        )

    def _reduce_norm_gradients(self, own: Sequence[Stage]) -> Block:
        """With sequence parallelism a tp rank has the gradients of its tokens only where parameters are not cut
        [Megatron-LM, allreduce_sequence_parallel_gradients]."""
        if not self.context.sp:
            return ()
        count = sum(stage_of_model.replicated_parameters(self.context, stage) for stage in own)
        nbytes = float(self.context.framework.gradient_nbytes * count)
        return (Collective(name="norm gradient sum", axis="tp", group="tp", operation="all_reduce", nbytes=nbytes),)

    def _reduce_gradients(self, count: int) -> Block:
        if self.plan.dp == 1:
            return ()
        gpu, framework = self.context.gpu, self.context.framework
        scale = memory_bound.gradient_scale(gpu, count, framework.gradient_nbytes)
        name = "gradient reduce-scatter" if self.plan.zero else "gradient sum"
        operation: CollectiveOperation = "reduce_scatter" if self.plan.zero else "all_reduce"
        nbytes = float(framework.gradient_reduce_nbytes * count)
        return (
            streaming(gpu, "gradient scale", scale, "optimizer"),
            Collective(name=name, axis="dp", group="dp", operation=operation, nbytes=nbytes),
        )

    def _reduce_tied_embedding(self, own: Sequence[Stage]) -> Block:
        """First and last pipeline rank hold the tied matrix each, and add up its gradients."""
        ends = any(stage.has_embedding or stage.has_head for stage in own)
        if self.plan.pp == 1 or not self.context.model.tied_embedding or not ends:
            return ()
        nbytes = float(self.context.framework.gradient_reduce_nbytes * matrix_parameters(self.context))
        return (
            Collective(name="tied embedding sum", axis="dp", group="embedding", operation="all_reduce", nbytes=nbytes),
        )

    def _optimizer(self, count: int) -> Block:
        context = self.context
        share = count / (self.plan.dp if self.plan.zero else 1)
        seconds = memory_bound.optimizer(context.gpu, share, context.precision, context.framework.gradient_nbytes)
        return (streaming(context.gpu, "optimizer", seconds, "optimizer"),)

    def _gather_weights(self, count: int) -> Block:
        if self.plan.dp == 1 or not self.plan.zero:
            return ()
        return (
            Collective(
                name="weight gather", axis="dp", group="dp", operation="all_gather", nbytes=float(ELEMENT * count)
            ),
        )


def _stream(
    rank: int, name: str, actions: Sequence[Action], blocks: Mapping[tuple[str, int], Block]
) -> Iterator[Stream]:
    """A stream that does something for some of the actions, if there are any."""
    steps: list[Step] = [(action, blocks[key]) for action in actions if (key := action[:2]) in blocks]
    if steps:
        yield Stream(rank=rank, name=name, steps=steps)


def _groups(plan: Plan, ranks: Sequence[int]) -> dict[tuple[str, int], tuple[int, ...]]:
    """The group of each played rank on each axis on which collectives run."""
    axes: tuple[Axis, ...] = ("tp", "dp", "embedding")
    return {(axis, rank): group_of(plan, axis, rank) for rank in ranks for axis in axes}


def _activities(
    cluster: Cluster,
    streams: Sequence[Stream],
    members: Mapping[tuple[str, int], tuple[int, ...]],
    folding: Folding,
) -> dict[tuple[Collective | Transfer, int], Activity]:
    """What each collective and transfer does to the wires that are played; groups share one activity."""
    collectives: dict[tuple[Collective, tuple[int, ...]], Activity] = {}
    activities: dict[tuple[Collective | Transfer, int], Activity] = {}
    for rank, block in different_blocks(streams):
        for instruction in block:
            if isinstance(instruction, Transfer):
                message = send(cluster, rank, instruction.peer, instruction.nbytes)
                activities[instruction, rank] = seen_by(folding, message, instruction.peer, rank)
            elif isinstance(instruction, Collective):
                key = instruction, members[instruction.group, rank]
                if key not in collectives:
                    whole = COLLECTIVES[instruction.operation](cluster, key[1], instruction.nbytes)
                    seen = seen_by(folding, whole, instruction.group, rank)
                    collectives[key] = replace(seen, seconds_of_one=alone(cluster, whole))
                activities[instruction, rank] = collectives[key]
    return activities
