"""The streams of one rank: each action of its schedule becomes what its streams do for it.

A rank computes on one stream; beside it run those of tp, cp and ep, that of weights and gradients, and, where sends
overlap, one for each direction. An action waits for its input, computes part by part, and hands its output over.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from sim.instructions import Block, Compute, Record
from sim.layers import stage as stage_of_model
from sim.layers.context import Context, Half, Pass, join
from sim.layers.stage import Piece, Stage
from sim.lowering.end_of_step import DONE, EndOfStep
from sim.lowering.messages import Messages
from sim.lowering.offload import OUT, copied_in, copied_out
from sim.lowering.parts import Condense, Groups, Part, merged, paired, played
from sim.lowering.weights import DP, Sharding, agreed_magnitudes
from sim.plan import Plan
from sim.program import COMPUTE, Step, Stream
from sim.schedules import Action, Kind, Schedule
from topologies.hardware import Node

_HALVES: Mapping[Kind, Half] = {"B": "both", "I": "input", "W": "weight"}
_NAMES: Mapping[Kind, str] = {"F": "forward", "B": "backward", "I": "input gradient", "W": "weight gradient"}


class Turn(NamedTuple):
    """Which turn of its stage an action is: the first forward takes new weights, the last backward gives gradients."""

    is_first: bool
    is_last: bool


@dataclass(frozen=True)
class RankLowering:
    """Parts are made once per stage and shared by all microbatches, and by all ranks whose groups have the GPUs and lie
    on their nodes as `groups` do."""

    context: Context
    plan: Plan
    schedule: Schedule
    condense: Condense
    groups: Groups
    node: Node

    def streams(self, rank: int) -> Iterator[Stream]:
        """The streams of one rank; those with nothing to do are left out."""
        steps = [*self._begin(rank), *self._actions(rank), *self._end(rank)]
        different = {id(work): work for _, work in steps}  # as many as there are kinds of action, of 100,000 steps
        for name in dict.fromkeys(name for work in different.values() for name in work):
            own: list[Step] = [(action, work[name]) for action, work in steps if name in work]
            yield Stream(rank=rank, name=name, steps=own)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Of every global stage what it is; of two models each."""
        return stage_of_model.stages(self.context, self.plan) * self.schedule.num_models

    @cached_property
    def sharding(self) -> Sharding:
        return Sharding(
            plan=self.plan, framework=self.context.framework, gpu=self.context.gpu, width=self.context.model.hidden
        )

    @cached_property
    def parts(self) -> dict[tuple[Kind, Stage], list[Part]]:
        """What each kind of action does on each different stage; filled as they are asked for."""
        return {}

    def _parts(self, kind: Kind, stage: int) -> list[Part]:
        key = kind, self.stages[stage]
        if key not in self.parts:
            self.parts[key] = [self._part(piece) for piece in self._pieces(*key)]
        return self.parts[key]

    def _pieces(self, kind: Kind, stage: Stage) -> Iterator[Piece]:
        if kind == "F":
            return stage_of_model.forward(self.context, stage)
        return stage_of_model.backward(replace(self.context, half=_HALVES[kind]), stage)

    def _part(self, piece: Piece) -> Part:
        return Part(name=piece.name, work=piece.work, weights=piece.weights, saved_nbytes=piece.saved_nbytes)

    @cached_property
    def messages(self) -> Messages:
        return Messages(
            schedule=self.schedule,
            stride=self.plan.stride,
            nbytes=stage_of_model.message_nbytes(self.context),
            may_overlap=self.context.framework.overlap_pipeline_sends,
        )

    @cached_property
    def reduces_behind(self) -> bool:
        """Whether gradients are summed behind the passes."""
        overlaps = self.context.framework.overlap_grad_reduce or self.sharding.reduces_always
        return self.sharding.has_replicas and overlaps

    @cached_property
    def gathers_ahead(self) -> bool:
        """Whether new weights are gathered ahead of the first passes, and so at the beginning of a step."""
        overlaps = self.context.framework.overlap_param_gather and self.plan.zero in (1, 2)
        return self.sharding.has_replicas and overlaps

    def _begin(self, rank: int) -> Iterator[tuple[Action | None, Pass]]:
        """New weights of all stages, in the order in which they are needed."""
        if self.gathers_ahead:
            for action in self._first_forwards(rank):
                _, gathers = self.sharding.ahead(self._parts("F", action.stage), str(action.stage))
                yield action, {DP: gathers}

    def _end(self, rank: int) -> Iterator[tuple[Action | None, Pass]]:
        own = [self.stages[stage] for stage in self.schedule.stages_of(rank // self.plan.stride)]
        end = EndOfStep(
            context=self.context,
            plan=self.plan,
            sharding=self.sharding,
            node=self.node,
            num_models=self.schedule.num_models,
        )
        gathers = self.plan.zero in (1, 2) and not self.gathers_ahead
        if self.reduces_behind:
            yield None, {DP: (Record(DONE),)}
        yield None, {COMPUTE: end.block(own, reduced=self.reduces_behind, gathers=gathers)}

    def _first_forwards(self, rank: int) -> list[Action]:
        row = self.schedule.rows[rank // self.plan.stride]
        firsts: dict[int, Action] = {}
        for action in row:
            if action.kind == "F":
                firsts.setdefault(action.stage, action)
        return list(firsts.values())

    def _actions(self, rank: int) -> Iterator[tuple[Action, Pass]]:
        """What is done for each action; layers whose weights are gathered for each pass are not paired."""
        place = rank // self.plan.stride
        row = self.schedule.rows[place]
        turns = self._turns(row)
        if self.schedule.is_paired and not self.sharding.by_layer:
            return self._in_pairs(rank, self.schedule.passes(place), iter(turns))
        return self._one_by_one(rank, row, turns)

    def _one_by_one(self, rank: int, row: Sequence[Action], turns: Sequence[Turn]) -> Iterator[tuple[Action, Pass]]:
        made: dict[tuple[Kind, int, Turn], Pass] = {}
        for action, turn in zip(row, turns, strict=True):
            key = action[0], action[1], turn
            work = made.get(key)  # of 100,000 actions few are different
            if work is None:
                work = made[key] = self._work(rank, action, turn)
            yield action, work

    def _in_pairs(
        self, rank: int, several: Iterable[tuple[Action, ...]], turns: Iterator[Turn]
    ) -> Iterator[tuple[Action, Pass]]:
        made: dict[tuple[object, ...], Sequence[Pass]] = {}
        for passes in several:
            own = [next(turns) for _ in passes]
            key = (*[action[:2] for action in passes], *own)
            if key not in made:
                made[key] = self._at_once(rank, passes, own)
            yield from zip((*passes, *passes[:-1]), made[key], strict=True)  # the forward of a pair hands over last

    def _at_once(self, rank: int, passes: Sequence[Action], turns: Sequence[Turn]) -> tuple[Pass, ...]:
        """A single action, or a pair."""
        if len(passes) == 1:
            return (self._work(rank, passes[0], turns[0]),)
        return self._pair(rank, passes[0], passes[1], turns[0], turns[1])

    def _turns(self, row: Sequence[Action]) -> list[Turn]:
        """Only told where something depends on it, so that all other actions of a stage are the same."""
        turns = [Turn(is_first=False, is_last=False)] * len(row)
        if self._begins:
            backwards = enumerate(reversed(row), start=1)
            for place in {action.stage: -place for place, action in backwards if action.kind == "F"}.values():
                turns[place] = Turn(is_first=True, is_last=False)
        if self.reduces_behind:
            for place in {action.stage: place for place, action in enumerate(row) if action.kind in "BW"}.values():
                turns[place] = Turn(is_first=False, is_last=True)
        return turns

    @cached_property
    def _begins(self) -> bool:
        """Whether the first forward pass of a stage is other than the next: weights are gathered, or cast."""
        casts = (stage_of_model.weight_casts(self.context, stage)[COMPUTE] for stage in dict.fromkeys(self.stages))
        return self.gathers_ahead or any(casts)

    def _work(self, rank: int, action: Action, turn: Turn) -> Pass:
        """What all streams do for an action: wait for the input, compute, hand the output over."""
        kind, stage, _ = action
        work = self._computed(kind, stage, turn)
        agreed = () if kind == "W" else agreed_magnitudes(self.context, self.plan, len(self.stages[stage].kinds))
        before, after = {COMPUTE: self.messages.awaited(kind, stage)}, {COMPUTE: agreed}
        return join(before, work, after, self.messages.handed_over(rank, kind, stage))

    def _computed(self, kind: Kind, stage: int, turn: Turn) -> Pass:
        """An action without its messages; equal stages share it where no flag tells them apart."""
        ties = self._ties(kind, turn)
        key = kind, self.stages[stage], turn, stage if any(ties) or self.plan.offload != "none" else None
        if key not in self.made:
            parts, weights = self._tied(kind, stage, turn)
            self.made[key] = join(self._played(kind, parts), weights)
        return self.made[key]

    @cached_property
    def made(self) -> dict[tuple[object, ...], Pass]:
        """What was computed so far; filled as it is asked for."""
        return {}

    def _ties(self, kind: Kind, turn: Turn) -> tuple[bool, bool, bool]:
        """Whether an action waits for the weights of the step, for those of each layer, and hands over gradients."""
        ahead = kind == "F" and turn.is_first and self.gathers_ahead
        again = kind == "F" or (kind in ("B", "I") and self.context.framework.reshard_after_forward)
        gives = kind in ("B", "W") and (turn.is_last or self.sharding.reduces_always)
        return ahead, again and self.sharding.by_layer, gives and self.reduces_behind

    def _pair(self, rank: int, action: Action, following: Action, one: Turn, other: Turn) -> tuple[Pass, ...]:
        """A forward, a backward beside it, and what the forward hands over."""
        first, first_beside = self._tied(action.kind, action.stage, one)
        second, second_beside = self._tied(following.kind, following.stage, other)
        before = tuple(entry for part in first for entry in part.before)
        copies = {OUT: first_beside[OUT]} if OUT in first_beside else {}  # told by flags of the parts, within the pair
        work = self._played(following.kind, list(paired([part._replace(before=()) for part in first], second)))
        return (
            {COMPUTE: (*self.messages.awaited(action.kind, action.stage), *before)},
            join(
                {COMPUTE: self.messages.awaited(following.kind, following.stage)},
                work,
                copies,
                second_beside,
                self.messages.handed_over(rank, following.kind, following.stage),
            ),
            join({COMPUTE: ()}, self.messages.handed_over(rank, action.kind, action.stage)),
        )

    def _tied(self, kind: Kind, stage: int, turn: Turn) -> tuple[list[Part], Pass]:
        """The parts of an action with the flags of weights and gradients, and what their stream does."""
        parts, direction = self._parts(kind, stage), f"{kind}{stage}"
        ahead, by_layer, gives = self._ties(kind, turn)
        blocks: list[Block] = []
        if kind == "F" and turn.is_first:
            parts = self._with_once_a_step(parts, stage)
        if ahead:
            parts, _ = self.sharding.ahead(parts, str(stage))
        if by_layer:
            parts, gathers = self.sharding.gathered(parts, direction)
            blocks.append(gathers)
        if gives:
            parts, sums = self.sharding.reduced(parts, direction)
            blocks.append(sums)
        stream = merged(blocks, played(parts)[COMPUTE]) if any(blocks) else ()
        parts, copies = self._offloaded(parts, kind, direction)
        return self._with_data(parts, kind, stage), {**({DP: stream} if stream else {}), **copies}

    def _offloaded(self, parts: list[Part], kind: Kind, direction: str) -> tuple[list[Part], Pass]:
        """Activations are copied to the host behind the forward pass, and back ahead of the backward pass."""
        if self.plan.offload not in ("activations", "all") or kind == "W":
            return parts, {}
        return (
            copied_out(self.context.gpu, parts, direction)
            if kind == "F"
            else copied_in(self.context.gpu, parts, direction)
        )

    def _with_once_a_step(self, parts: list[Part], stage: int) -> list[Part]:
        """The casts of the stage's weights come before its first part."""
        casts = stage_of_model.weight_casts(self.context, self.stages[stage]).get(COMPUTE, ())
        return [parts[0]._replace(before=(*parts[0].before, *casts)), *parts[1:]] if parts and casts else parts

    def _with_data(self, parts: list[Part], kind: Kind, stage: int) -> list[Part]:
        """Where the model begins, the rank waits for its data."""
        seconds = self.context.framework.data_seconds
        if kind != "F" or not seconds or not self.stages[stage].has_embedding:
            return parts
        load = Compute(name="load data", duration=seconds, category="host")
        return [parts[0]._replace(before=(load, *parts[0].before)), *parts[1:]]

    def _played(self, kind: Kind, parts: Sequence[Part]) -> Pass:
        pieces = [part._replace(work=self.condense.piece(part.name, part.work, self.groups)) for part in parts]
        return self.condense.whole(_NAMES[kind], played(pieces))
