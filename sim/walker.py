"""Streams made ready to be walked: instructions as plain tuples, flags and meetings as numbers.

A flag of microbatch m is the number base + (m + 1) * num_flags, so that moving on by some microbatches is one addition.
"""

from collections.abc import Callable
from functools import cached_property
from operator import itemgetter

import numpy as np
from simpy import Event

from sim.costs.sharing import Hold, hold
from sim.flow import Flow, flow_of
from sim.instructions import Collective, Compute, Load, Record, Transfer, Wait
from sim.program import Program, Stream, different_blocks
from sim.timeline import BUBBLE_LABEL, NO_ACTION, WAIT_FOR, Columns, Label, Repeat, Row, columns_of
from topologies.fabric import Wire
from topologies.hardware import Cluster

COMPUTE, WAIT, RECORD, TRANSFER, COLLECTIVE, END, COMPUTE_BESIDE, COPY = range(8)
Operation = tuple[int, int, float, int, Flow]
"""What to do, the label of its span, its seconds, its flag or meeting (or load), its flow on the wires."""
_NO_FLOW = Flow(latency=0.0, nbytes=0.0, usage=(), speed=1.0)
_END: Operation = (END, 0, 0.0, 0, _NO_FLOW)
NOTHING = -1
"""The label of a wait that no bytes on a wire explain."""


class Walker:
    """One stream on its way: where it is, what it waits for, what it has done.

    Where communication may run `beside` the kernels of its GPU, its kernel has `remaining` seconds of work since
    `updated`, at `speed`; the end that is meant is `event`, with which those that follow end too where it `is_chained`.
    """

    __slots__ = (
        "actions",
        "arrive",
        "beside",
        "blocks",
        "end",
        "event",
        "finish",
        "index",
        "is_chained",
        "keeps_stalls",
        "key",
        "keys",
        "marker",
        "operations",
        "pointer",
        "position",
        "remaining",
        "repeats",
        "rows",
        "since",
        "speed",
        "stream",
        "until",
        "updated",
        "waits_for",
        "wake",
        "wire_label",
        "wire_since",
    )

    def __init__(
        self, index: int, stream: Stream, blocks: list[list[Operation]], actions: Columns, keys: list[int]
    ) -> None:
        self.index = index
        self.stream = stream
        self.blocks = blocks
        self.actions = actions
        self.keys = keys
        self.end = len(blocks)
        self.position = 0
        self.operations = blocks[0]
        self.key = keys[0]
        self.pointer = 0
        self.marker = -1
        self.rows: list[Row] = []
        self.repeats: list[Repeat] = []
        self.keeps_stalls = stream.name == "compute"
        self.beside = False
        self.is_chained = False
        self.speed = 1.0
        self.remaining = 0.0
        self.updated = 0.0
        self.event: Event | None = None
        self.since = 0.0
        self.until = 0.0
        self.waits_for: int | None = None
        self.wire_since = 0.0
        self.wire_label = NOTHING
        self.wake: Callable[[object], None]
        self.arrive: Callable[[], None]
        self.finish: Callable[[Event], None]

    @property
    def finished(self) -> bool:
        """Whether the stream has nothing left to do."""
        return self.position == self.end


class Labels:
    """The labels of a run, numbered as they turn up."""

    def __init__(self) -> None:
        self._numbers: dict[Label, int] = {BUBBLE_LABEL: 0}

    def number(self, label: Label) -> int:
        """The number of the label, a new one where it is new."""
        return self._numbers.setdefault(label, len(self._numbers))

    def all(self) -> tuple[Label, ...]:
        """All labels, by their number."""
        return tuple(self._numbers)


class Compiler:
    """Turns the streams of one program into walkers."""

    def __init__(self, program: Program, cluster: Cluster) -> None:
        self._cluster = cluster
        self.labels = Labels()
        self.wires: dict[Wire, int] = {}
        self.flags: dict[tuple[int, str], int] = {}
        self.meetings: dict[tuple[Collective, str, int], int] = {}
        """By the first member; the groups of one name share no rank."""
        self.num_members: list[int] = []
        self.exposed: dict[int, int] = {}
        self.loads: dict[Load, int] = {}
        self.holds: dict[tuple[int, int], Hold] = {}
        self._holding: set[tuple[int, str]] = set()
        self._program = program
        self._flows: dict[int, Flow] = {}
        self._taken: dict[tuple[int, int], Hold] = {}

    def walkers(self) -> list[Walker]:
        """One walker per stream, in the program's order."""
        blocks = [self._blocks(stream) for stream in self._program.streams]
        num_flags = max(1, len(self.flags))
        actions = [columns_of(stream.actions()) for stream in self._program.streams]
        walkers = [
            Walker(index, stream, blocks[index], actions[index], _keys(actions[index], num_flags))
            for index, stream in enumerate(self._program.streams)
        ]
        for walker in walkers:
            if walker.stream.rank in self._shared:
                _share(walker)
        return walkers

    @cached_property
    def _shared(self) -> frozenset[int]:
        """Ranks with kernels in one stream and communication that holds SMs in another."""
        holding: dict[int, set[str]] = {}
        for rank, name in self._holding:
            holding.setdefault(rank, set()).add(name)
        computing = (stream for stream in self._program.streams if stream.rank in holding and _computes(stream))
        return frozenset(stream.rank for stream in computing if holding[stream.rank] - {stream.name})

    def _blocks(self, stream: Stream) -> list[list[Operation]]:
        """What each step does; steps of one block share one list, by which the steady state knows them."""
        blocks = list(map(itemgetter(1), stream.steps))
        compiled = {
            key: [*(self._operation(instruction, stream) for instruction in block), _END]
            for key, block in dict(zip(map(id, blocks), blocks, strict=True)).items()
        }
        return list(map(compiled.__getitem__, map(id, blocks)))

    def _operation(self, instruction: Compute | Collective | Transfer | Record | Wait, stream: Stream) -> Operation:
        match instruction:
            case Compute(name=name, category=category, load=load):
                duration, parts = self._stretched(instruction, stream.rank)
                label = self.labels.number(Label(name=name, category=category, parts=_fractions(parts)))
                if category == "host" and stream.name != "compute":
                    self.exposed[label] = self.labels.number(Label(name=f"{WAIT_FOR}copies", category="host"))
                    return COPY, label, duration, 0, _NO_FLOW
                return COMPUTE, label, duration, self.loads.setdefault(load, len(self.loads)), _NO_FLOW
            case Wait(flag=flag):
                return WAIT, 0, 0.0, self._flag(stream.rank, flag), _NO_FLOW
            case Record(flag=flag):
                return RECORD, 0, 0.0, self._flag(stream.rank, flag), _NO_FLOW
            case Transfer(peer=peer, flag=flag):
                label = self._communication(instruction, stream)
                return TRANSFER, label, 0.0, self._flag(peer, flag), self._flow(instruction, stream.rank)
            case Collective(group=group):
                members = self._program.groups[group, stream.rank]
                meeting = self._meeting(instruction, stream.name, members)
                label = self._communication(instruction, stream)
                return COLLECTIVE, label, 0.0, meeting, self._held_flow(instruction, stream, meeting)

    def _stretched(self, kernel: Compute, rank: int) -> tuple[float, tuple[tuple[str, float], ...]]:
        """Seconds of a kernel on this rank's GPU, and its parts. Of a piece played before, what was exposed stays as it
        was (beside slower kernels a little less would be); a GPU that waited for its host waits so much less."""
        slowness = self._program.slowness.get(rank, 1.0)
        if slowness == 1.0 or kernel.category == "host":
            return kernel.duration, kernel.parts
        if not kernel.parts:
            return kernel.duration * slowness, ()
        parts = {key: part * (1.0 if key.startswith("exposed") else slowness) for key, part in kernel.parts}
        if "host" in parts:
            waited = dict(kernel.parts)["host"]
            more = sum(parts.values()) - kernel.duration - (parts["host"] - waited)
            parts["host"] = max(0.0, waited - more)
        return sum(parts.values()), tuple(parts.items())

    def _communication(self, instruction: Collective | Transfer, stream: Stream) -> int:
        """The label of the span on its own stream; on the compute stream, communication is exposed as it stands."""
        exposed = f"exposed_{instruction.axis}"
        category = exposed if stream.name == "compute" else instruction.axis
        label = self.labels.number(_communicating(instruction, category))
        self.exposed[label] = self.labels.number(Label(name=f"{WAIT_FOR}{instruction.axis}", category=exposed))
        return label

    def _meeting(self, instruction: Collective, stream: str, members: tuple[int, ...]) -> int:
        key = instruction, stream, members[0]
        if key not in self.meetings:
            self.meetings[key] = len(self.meetings)
            self.num_members.append(len(members))
        return self.meetings[key]

    def _flag(self, rank: int, flag: str) -> int:
        return self.flags.setdefault((rank, flag), len(self.flags))

    def _held_flow(self, instruction: Collective, stream: Stream, meeting: int) -> Flow:
        """The flow, and noted beside it what its kernel takes of the rank's GPU.

        A message's kernel is taken to hold nothing, so that layer and kernel detail agree: compute beside it is too
        fast by the share of the SMs that it holds.
        """
        flow = self._flow(instruction, stream.rank)
        activity = self._program.activities[instruction, stream.rank]
        kind = id(activity), self._cluster.pool_of(stream.rank)
        if kind not in self._taken:
            seconds = flow.seconds if activity.seconds_of_one is None else activity.seconds_of_one
            self._taken[kind] = hold(self._cluster.gpu_at(stream.rank), activity, seconds)
        taken = self.holds[stream.rank, meeting] = self._taken[kind]
        if taken.num_sms:
            self._holding.add((stream.rank, stream.name))
        return flow

    def _flow(self, instruction: Collective | Transfer, rank: int) -> Flow:
        activity = self._program.activities[instruction, rank]
        flow = self._flows.get(id(activity))
        if flow is None:
            flow = self._flows[id(activity)] = flow_of(self._cluster, activity, self.wires)
        return flow


def _share(walker: Walker) -> None:
    """Let the walker's kernels, where communication may run beside them, be told from those that have a GPU alone."""
    walker.beside = True
    for block in {id(block): block for block in walker.blocks}.values():
        block[:] = [(COMPUTE_BESIDE, *entry[1:]) if entry[0] == COMPUTE else entry for entry in block]


def _computes(stream: Stream) -> bool:
    return any(isinstance(entry, Compute) for _, block in different_blocks([stream]) for entry in block)


def _communicating(instruction: Collective | Transfer, category: str) -> Label:
    operation, group = (
        (instruction.operation, instruction.group)
        if isinstance(instruction, Collective)
        else ("send", instruction.axis)
    )
    return Label(name=instruction.name, category=category, operation=operation, group=group, nbytes=instruction.nbytes)


def _keys(actions: Columns, num_flags: int) -> list[int]:
    """What is added to a flag's number in each step: its microbatch; 0 without an action, which is NO_ACTION."""
    _, _, microbatches = actions
    keys: list[int] = ((microbatches.astype(np.int64) - NO_ACTION) * num_flags).tolist()
    return keys


def _fractions(parts: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
    total = sum(seconds for _, seconds in parts)
    return tuple((key, seconds / total) for key, seconds in parts) if total else ()
