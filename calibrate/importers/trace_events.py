"""The events of a trace of PyTorch's profiler: operations of the CPU, and the kernels that each of them started.

An operation calls others (a backward pass makes its gradient contiguous by a copy): a kernel belongs to the innermost
one that is known here, so that a product's time holds no copy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from topologies.document import InputError, Value
from topologies.quantity import MICROSECOND

Event = Mapping[str, Value]
Shape = tuple[int, ...]

PRODUCTS: Final = ("aten::mm", "aten::addmm", "aten::bmm", "aten::_scaled_mm")
STREAMS: Final = ("aten::copy_", "aten::add", "aten::add_", "aten::mul", "aten::mul_")
ATTENTIONS: Final = tuple(
    f"aten::_scaled_dot_product_{kind}_attention{direction}"
    for kind in ("flash", "efficient", "cudnn")
    for direction in ("", "_backward")
)
KNOWN: Final = frozenset((*PRODUCTS, *STREAMS, *ATTENTIONS))
KERNELS: Final = ("kernel", "gpu_memcpy", "gpu_memset")
LONGEST: Final = 1e9
"""Microseconds of the longest kernel that is believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A whole trace: `num_devices` are the GPUs that the process saw; an event that was none is empty."""

    name: str
    gpu: str
    num_devices: int
    nccl_version: str
    events: Sequence[Event]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What the CPU called: a name that is known here, with an element for each input; `said` are those written out.

    `strides` is empty where PyTorch did not write them yet.
    """

    row: int
    name: str
    shapes: tuple[Shape, ...]
    strides: tuple[Shape, ...]
    types: tuple[str, ...]
    said: tuple[str, ...]


@dataclass(slots=True)
class Kernels:
    """What one operation started: seconds of its kernels together, and their names."""

    seconds: float = 0.0
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Call:
    """An operation in time, by its External id."""

    row: int
    external: int
    start: float
    end: float


def operations_of(trace: Trace) -> list[Operation]:
    """The operations whose names are known, in the order of the trace."""
    return [
        _operation(row, event, trace.name)
        for row, event in enumerate(trace.events, start=1)
        if event.get("cat") == "cpu_op" and event.get("name") in KNOWN
    ]


def kernels_of(trace: Trace, operations: Sequence[Operation]) -> Mapping[int, Kernels]:
    """The kernels of each operation, by the operation's row. InputError for a duration that cannot be."""
    owners = _owners(trace, {one.row for one in operations})
    found: dict[int, Kernels] = {}
    for row, event in enumerate(trace.events, start=1):
        if event.get("cat") in KERNELS:
            owner = owners.get(_external(event))
            if owner is not None:
                kernels = found.setdefault(owner, Kernels())
                kernels.seconds += seconds_of(event, f"{trace.name}: event {row}")
                kernels.names.append(str(event.get("name", "")))
    return found


def arguments(event: Event) -> Event:
    """What stands in an event's args."""
    found = event.get("args")
    return found if isinstance(found, dict) else {}


def seconds_of(event: Event, where: str) -> float:
    """How long an event took; InputError where that is no time."""
    duration = event.get("dur")
    if not isinstance(duration, int | float) or isinstance(duration, bool) or not 0 <= duration < LONGEST:
        raise InputError(f"{where}: dur: {duration!r} is no time in microseconds; export the trace again")
    return duration * MICROSECOND


def _owners(trace: Trace, known: set[int]) -> Mapping[int, int]:
    """By the External id of each operation, the row of the innermost known one that it is or is called by."""
    owners: dict[int, int] = {}
    for calls in _threads(trace).values():
        open_calls: list[tuple[float, int | None]] = []
        for call in sorted(calls, key=lambda one: (one.start, -one.end)):
            while open_calls and open_calls[-1][0] <= call.start:
                open_calls.pop()
            outer = open_calls[-1][1] if open_calls else None
            owner = call.row if call.row in known else outer
            open_calls.append((call.end, owner))
            if owner is not None:
                owners[call.external] = owner
    return owners


def _threads(trace: Trace) -> Mapping[tuple[Value, Value], list[_Call]]:
    """The operations of each thread of each process."""
    threads: dict[tuple[Value, Value], list[_Call]] = {}
    for row, event in enumerate(trace.events, start=1):
        external = _external(event)
        if event.get("cat") == "cpu_op" and external:
            start, length = _time(event.get("ts")), _time(event.get("dur"))
            call = _Call(row, external, start, start + length)
            threads.setdefault((str(event.get("pid")), str(event.get("tid"))), []).append(call)
    return threads


def _time(value: Value) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _external(event: Event) -> int:
    """The number that an operation and its kernels have in common; 0 where there is none."""
    found = arguments(event).get("External id")
    return found if isinstance(found, int) else 0


def _operation(row: int, event: Event, file: str) -> Operation:
    told = arguments(event)
    where = f"{file}: event {row}"
    return Operation(
        row=row,
        name=str(event["name"]),
        shapes=_shapes(told.get("Input Dims"), f"{where}: Input Dims"),
        strides=_shapes(told.get("Input Strides"), f"{where}: Input Strides"),
        types=tuple(map(str, _list(told.get("Input type")))),
        said=tuple(map(str, _list(told.get("Concrete Inputs")))),
    )


def _shapes(value: Value, where: str) -> tuple[Shape, ...]:
    return tuple(_shape(one, where) for one in _list(value))


def _shape(value: Value, where: str) -> Shape:
    """The sizes of one input; none for what is no tensor. Lists of tensors have lists within: no shape either."""
    sizes = _list(value)
    if not all(isinstance(size, int | float) for size in sizes):
        return ()
    return tuple(_size(size, where) for size in sizes)


def _size(value: Value, where: str) -> int:
    if not isinstance(value, int) or value < 0:
        raise InputError(f"{where}: {value!r} is no size; export the trace again")
    return value


def _list(value: Value) -> list[Value]:
    return value if isinstance(value, list) else []
