"""Streams made ready to be walked: instructions as plain tuples, flags and meetings as numbers.

A flag of microbatch m is the number base + (m + 1) * num_flags, so that moving on by some microbatches is one addition.
"""

from collections.abc import Callable

from sim.instructions import Activity, Collective, Compute, Record, Transfer, Wait
from sim.network import Flow
from sim.program import Program, Stream
from sim.timeline import BUBBLE_LABEL, WAIT_FOR, Label, Repeat, Row
from topologies.fabric import Wire, capacity
from topologies.hardware import Cluster

COMPUTE, WAIT, RECORD, TRANSFER, COLLECTIVE, END = range(6)
Operation = tuple[int, int, float, int, Flow]
"""What to do, the label of its span, its seconds, its flag or meeting, its flow on the wires."""
_NO_FLOW = Flow(latency=0.0, nbytes=0.0, usage=(), speed=1.0)
_END: Operation = (END, 0, 0.0, 0, _NO_FLOW)
NOTHING = -1
"""The label of a wait that no bytes on a wire explain."""


class Walker:
    """One stream on its way: where it is, what it waits for, what it has done."""

    __slots__ = (
        "arrive",
        "blocks",
        "end",
        "index",
        "keeps_stalls",
        "key",
        "keys",
        "marker",
        "operations",
        "pointer",
        "position",
        "repeats",
        "rows",
        "since",
        "stream",
        "until",
        "waits_for",
        "wake",
        "wire_label",
        "wire_since",
    )

    def __init__(self, index: int, stream: Stream, blocks: list[list[Operation]], keys: list[int]) -> None:
        self.index = index
        self.stream = stream
        self.blocks = blocks
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
        self.since = 0.0
        self.until = 0.0
        self.waits_for: int | None = None
        self.wire_since = 0.0
        self.wire_label = NOTHING
        self.wake: Callable[[object], None]
        self.arrive: Callable[[], None]

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
        self.meetings: dict[tuple[Collective, str, tuple[int, ...]], int] = {}
        self.exposed: dict[int, int] = {}
        self._program = program
        self._flows: dict[int, Flow] = {}

    def walkers(self) -> list[Walker]:
        """One walker per stream, in the program's order."""
        blocks = [self._blocks(stream) for stream in self._program.streams]
        num_flags = max(1, len(self.flags))
        return [
            Walker(index, stream, blocks[index], _keys(stream, num_flags))
            for index, stream in enumerate(self._program.streams)
        ]

    def _blocks(self, stream: Stream) -> list[list[Operation]]:
        """What each step does; steps of one block share one list, by which the steady state knows them."""
        different = {id(block): block for _, block in stream.steps}
        compiled = {
            key: [*(self._operation(instruction, stream) for instruction in block), _END]
            for key, block in different.items()
        }
        return [compiled[id(block)] for _, block in stream.steps]

    def _operation(self, instruction: Compute | Collective | Transfer | Record | Wait, stream: Stream) -> Operation:
        match instruction:
            case Compute(name=name, duration=duration, category=category, parts=parts):
                label = self.labels.number(Label(name=name, category=category, parts=_fractions(parts)))
                return COMPUTE, label, duration, 0, _NO_FLOW
            case Wait(flag=flag):
                return WAIT, 0, 0.0, self._flag(stream.rank, flag), _NO_FLOW
            case Record(flag=flag):
                return RECORD, 0, 0.0, self._flag(stream.rank, flag), _NO_FLOW
            case Transfer(peer=peer, flag=flag):
                label = self._communication(instruction, stream)
                return TRANSFER, label, 0.0, self._flag(peer, flag), self._flow(instruction, stream.rank)
            case Collective(group=group):
                members = self._program.groups[group, stream.rank]
                meeting = self.meetings.setdefault((instruction, stream.name, members), len(self.meetings))
                label = self._communication(instruction, stream)
                return COLLECTIVE, label, 0.0, meeting, self._flow(instruction, stream.rank)

    def _communication(self, instruction: Collective | Transfer, stream: Stream) -> int:
        """The label of the span on its own stream; on the compute stream, communication is exposed as it stands."""
        exposed = f"exposed_{instruction.axis}"
        category = exposed if stream.name == "compute" else instruction.axis
        label = self.labels.number(_communicating(instruction, category))
        self.exposed[label] = self.labels.number(Label(name=f"{WAIT_FOR}{instruction.axis}", category=exposed))
        return label

    def _flag(self, rank: int, flag: str) -> int:
        return self.flags.setdefault((rank, flag), len(self.flags))

    def _flow(self, instruction: Collective | Transfer, rank: int) -> Flow:
        activity = self._program.activities[instruction, rank]
        flow = self._flows.get(id(activity))
        if flow is None:
            flow = self._flows[id(activity)] = self._new_flow(activity)
        return flow

    def _new_flow(self, activity: Activity) -> Flow:
        busiest = activity.nbytes
        usage = tuple(
            (self.wires.setdefault(wire, len(self.wires)), nbytes / busiest)
            for wire, nbytes in activity.loads
            if nbytes
        )
        speed = min(
            (capacity(self._cluster, w) * busiest / nbytes for w, nbytes in activity.loads if nbytes), default=1.0
        )
        return Flow(latency=activity.latency, nbytes=busiest, usage=usage, speed=speed)


def _communicating(instruction: Collective | Transfer, category: str) -> Label:
    operation, group = (
        (instruction.operation, instruction.group)
        if isinstance(instruction, Collective)
        else ("send", instruction.axis)
    )
    return Label(name=instruction.name, category=category, operation=operation, group=group, nbytes=instruction.nbytes)


def _keys(stream: Stream, num_flags: int) -> list[int]:
    """What is added to a flag's number in each step: its microbatch."""
    return [0 if action is None else (action[2] + 1) * num_flags for action, _ in stream.steps]


def _fractions(parts: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
    total = sum(seconds for _, seconds in parts)
    return tuple((key, seconds / total) for key, seconds in parts) if total else ()
