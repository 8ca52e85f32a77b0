"""Pipelines: each rank holds some stages of the model, and microbatches pass through them one behind the other [GPipe:
Huang et al. 2019; 1F1B, and interleaved with several stages per rank: Narayanan et al. 2021]. The order is not written
here: it is the schedule that the simulator plays, row by row. An action waits for its input, computes, and hands its
output on: activations to the stage behind, their gradients to the stage before.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup, Work

from calibrate.sharded import llama
from calibrate.sharded.block import Block, Shard, Tensors
from calibrate.sharded.llama import Batch, Part
from calibrate.verification.sizes import Sizes
from sim.schedules import Action, Schedule, schedule_of
from topologies.document import InputError

NUM_CHUNKS: Final[Mapping[str, int]] = {"gpipe": 1, "1f1b": 1, "interleaved": 2}
"""Stages of a rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """One rank's part: its stages, the microbatches, and where messages travel, `lanes` by their sender.

    `overlaps`: a message leaves while the rank computes on, and the next is asked for before; else what goes and what
    comes next are waited for together, as by Megatron's send_forward_recv_backward.
    """

    shard: Shard
    schedule: Schedule
    stages: Mapping[int, list[Part]]
    microbatches: list[Batch]
    message_shape: tuple[int, int]
    lanes: list[ProcessGroup]
    overlaps: bool

    @property
    def row(self) -> tuple[Action, ...]:
        return self.schedule.rows[self.shard.rank]

    @property
    def model(self) -> list[Part]:
        return [part for parts in self.stages.values() for part in parts]


@dataclass(slots=True, kw_only=True)
class Flight:
    """What is under way in one step: messages that will come, by their sender; those asked for; those sent; and of each
    stage and microbatch, inputs and output that wait for their backward pass."""

    coming: Mapping[int, Iterator[Action]]
    asked: dict[Action, tuple[Work, Tensor]] = field(default_factory=dict)
    sent: list[tuple[Work, Tensor]] = field(default_factory=list)
    held: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict)
    losses: list[Tensor] = field(default_factory=list)


def run(pipeline: Pipeline) -> Tensors:
    """The rank's row of the schedule; then the loss, where the model ends, and the gradients of the rank's weights."""
    flight = Flight(coming=coming(pipeline.schedule, pipeline.shard.rank))
    llama.forget_gradients(pipeline.model)
    ask(pipeline, flight, pipeline.row[0])
    for action, following in zip(pipeline.row, (*pipeline.row[1:], None), strict=True):
        message = receive(pipeline, flight, action)
        if pipeline.overlaps:
            ask(pipeline, flight, following)
        output = compute(pipeline, flight, action, message)
        if not pipeline.overlaps:
            ask(pipeline, flight, following)
        send(pipeline, flight, action, output)
    for work, _ in flight.sent:
        work.wait()
    loss = {"loss": torch.stack(flight.losses).sum()} if flight.losses else {}
    return {**loss, **llama.gradients(pipeline.model)}


def compute(pipeline: Pipeline, flight: Flight, action: Action, message: Tensor | None) -> Tensor | None:
    """What the action hands on; a forward pass keeps what its backward needs."""
    with pipeline.shard.recorder.span("compute", str(action)):
        key = action.stage, action.microbatch
        if action.kind == "F":
            flight.held[key] = forward(pipeline, flight, action, message)
            return flight.held[key][1].detach()
        inputs, output = flight.held.pop(key)
        torch.autograd.backward(output, message)
        return inputs.grad


def forward(pipeline: Pipeline, flight: Flight, action: Action, message: Tensor | None) -> tuple[Tensor, Tensor]:
    """Inputs and output of the stage; the model begins with tokens, and ends with the microbatch's part of the loss."""
    batch = pipeline.microbatches[action.microbatch]
    inputs = batch.inputs if message is None else message.requires_grad_()
    output = llama.forward(pipeline.stages[action.stage], inputs, batch.targets)
    if taker(pipeline.schedule, action) is None:
        output = output / len(pipeline.microbatches)
        flight.losses.append(output.detach())
    return inputs, output


def ask(pipeline: Pipeline, flight: Flight, action: Action | None) -> None:
    """For the input of an action, and first for all that its giver sends before: a lane keeps its order."""
    origin = action and giver(pipeline.schedule, action)
    if action is None or origin is None:
        return
    sender = pipeline.schedule.homes[origin.stage]
    while action not in flight.asked:
        buffer = torch.empty(pipeline.message_shape, device=pipeline.shard.device, dtype=pipeline.shard.dtype)
        work = dist.irecv(buffer, group=pipeline.lanes[sender], group_src=sender)
        assert work is not None
        flight.asked[next(flight.coming[sender])] = work, buffer


def receive(pipeline: Pipeline, flight: Flight, action: Action) -> Tensor | None:
    """Wait for the input of an action; None where it takes none."""
    if giver(pipeline.schedule, action) is None:
        return None
    work, message = flight.asked.pop(action)
    with pipeline.shard.recorder.span("pp", f"receive {action}"):
        work.wait()
    return message


def send(pipeline: Pipeline, flight: Flight, action: Action, output: Tensor | None) -> None:
    """Hand the output to the rank that takes it, and unless sends overlap wait until it is gone."""
    target = taker(pipeline.schedule, action)
    if target is None or output is None:
        return
    lane = pipeline.lanes[pipeline.shard.rank]
    work = dist.isend(output, group=lane, group_dst=pipeline.schedule.homes[target.stage])
    assert work is not None
    if pipeline.overlaps:
        flight.sent.append((work, output))
        return
    with pipeline.shard.recorder.span("pp", f"send {action}"):
        work.wait()


def giver(schedule: Schedule, action: Action) -> Action | None:
    """The action whose output this one takes; None where the model begins, or its backward pass does."""
    stage = schedule.before(action.stage) if action.kind == "F" else schedule.after(action.stage)
    return None if stage is None else action._replace(stage=stage)


def taker(schedule: Schedule, action: Action) -> Action | None:
    """The action that takes this one's output; None at the end of the model, or of its backward pass."""
    stage = schedule.after(action.stage) if action.kind == "F" else schedule.before(action.stage)
    return None if stage is None else action._replace(stage=stage)


def coming(schedule: Schedule, rank: int) -> dict[int, Iterator[Action]]:
    """Of each other rank, the actions of this rank that it gives an input, in the order in which it does."""
    takers = {sender: [taker(schedule, action) for action in row] for sender, row in enumerate(schedule.rows)}
    return {
        sender: iter([action for action in row if action and schedule.homes[action.stage] == rank])
        for sender, row in takers.items()
    }


def places(sizes: Sizes, schedule: Schedule, stage: int) -> range:
    """The places in the model of a stage's parts: its share of the layers, at the ends the embedding and the head."""
    each, last = sizes.num_layers // schedule.model_stages, schedule.model_stages - 1
    first = 1 + stage * each
    return range(first if stage else 0, first + each + (stage == last))


@functools.cache
def lanes(group: ProcessGroup, device: torch.device) -> list[ProcessGroup]:
    """A communicator for each sender, so that what a rank sends never queues behind what it is to receive.

    NCCL's ranks wait for each other where two of them first meet, so all neighbours meet here, in order.
    """
    ranks, backend = dist.get_process_group_ranks(group), dist.get_backend(group)
    made = [dist.new_group(ranks, backend=backend, use_local_synchronization=True) for _ in ranks]
    for sender, lane in enumerate(made):
        for step in (1, -1):
            _meet(lane, sender, (sender + step) % len(ranks), device)
    return made


def _meet(lane: ProcessGroup, sender: int, receiver: int, device: torch.device) -> None:
    word = torch.zeros(1, device=device)
    if lane.rank() == sender:
        dist.send(word, group=lane, group_dst=receiver)
    elif lane.rank() == receiver:
        dist.recv(word, group=lane, group_src=sender)


def block_of(name: str, summary: str, *, overlaps: bool) -> Block:
    """The block of a schedule."""
    return Block(
        name=f"pipeline {name}",
        summary=summary,
        prepare=functools.partial(_prepare, name, overlaps),
        reference=functools.partial(_reference, name),
        fits=functools.partial(_fits, name),
    )


def schedule(name: str, sizes: Sizes, num_ranks: int) -> Schedule:
    """The simulator's own."""
    return schedule_of(name, num_ranks, NUM_CHUNKS[name], sizes.num_microbatches)


def _prepare(name: str, overlaps: bool, shard: Shard, sizes: Sizes) -> Callable[[], Tensors]:
    order = schedule(name, sizes, shard.num_ranks)
    pipeline = Pipeline(
        shard=shard,
        schedule=order,
        stages={
            stage: [llama.part(shard, sizes, place) for place in places(sizes, order, stage)]
            for stage in order.stages_of(shard.rank)
        },
        microbatches=llama.batches(shard, sizes, sizes.num_microbatches),
        message_shape=(sizes.micro_batch * sizes.seq_len, sizes.hidden),
        lanes=lanes(shard.group, shard.device),
        overlaps=overlaps,
    )
    return functools.partial(run, pipeline)


def _reference(name: str, shard: Shard, sizes: Sizes) -> Tensors:
    """The unsharded model on all microbatches at once: the gradients of the rank's stages, on the last the loss."""
    order = schedule(name, sizes, shard.num_ranks)
    loss, model = llama.reference(shard, sizes, sizes.num_microbatches)
    stages = order.stages_of(shard.rank)
    own = [model[place] for stage in stages for place in places(sizes, order, stage)]
    return {**({"loss": loss} if order.model_stages - 1 in stages else {}), **llama.gradients(own)}


def _fits(name: str, sizes: Sizes, num_ranks: int) -> str:
    if num_ranks == 1:
        return "a pipeline needs 2 ranks or more"
    if sizes.num_layers % (num_ranks * NUM_CHUNKS[name]):
        return f"{num_ranks * NUM_CHUNKS[name]} stages do not divide num_layers={sizes.num_layers}"
    try:
        schedule(name, sizes, num_ranks)
    except InputError as error:
        return str(error)
    return ""


BLOCKS = (
    block_of("gpipe", "all forwards, then all backwards", overlaps=False),
    block_of("1f1b", "each backward as soon as it can, so that few activations are held", overlaps=False),
    block_of("interleaved", "two stages per rank, so that the pipeline fills twice as fast", overlaps=True),
)
