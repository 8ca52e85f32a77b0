"""The words of a program, named as CUDA names them: compute, collective, transfer, record, wait.

A block is a tuple of instructions that one stream runs in order; blocks are built once and shared by all microbatches.
A flag is an event between streams, told apart by rank, name and microbatch: one record (or arrival), one wait.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from topologies.fabric import Wire
from topologies.hardware import Origin

Category = Literal["compute", "optimizer", "host", "other"]
Axis = Literal["tp", "cp", "pp", "ep", "dp"]
CollectiveOperation = Literal[
    "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "exchange", "dispatch", "combine"
]
"""exchange: every rank sends to the next of a ring at once; dispatch and combine are DeepEP's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a kernel asks of its GPU while it has it to itself: means over its duration.

    `math` is the share of the dense peak in use, `memory` that of the HBM's bandwidth, `link` the bytes per second that
    it sends as a share of the same (a piece with collectives in it). It is as fast on the share `sms` of the SMs;
    `num_blocks` equal thread blocks are dealt to them in waves (0: so many that no wave is seen).
    """

    math: float = 0.0
    memory: float = 0.0
    link: float = 0.0
    sms: float = 0.0
    num_blocks: int = 0


class Basis(NamedTuple):
    """So many seconds rest on the fit of an operation ("gemm bf16"), in the way that `origin` says."""

    operation: str
    origin: Origin
    seconds: float


NO_LOAD = Load()
"""What takes time on no SM: whatever runs beside it changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """A kernel, or a block played before and put in one piece (then `parts` says where its seconds went).

    `duration` is in seconds, of a kernel that has the GPU to itself; `host_seconds` are the host's beyond a launch,
    which no CUDA graph takes off (a kernel for each expert). `parts` maps a key of the breakdown (compute,
    exposed_tp, ...) to seconds and sums to it. `load` says what slows it beside communication, and what power it draws,
    `basis` what its time rests on.
    """

    name: str
    duration: float
    host_seconds: float = 0.0
    category: Category = "compute"
    parts: tuple[tuple[str, float], ...] = ()
    load: Load = NO_LOAD
    basis: tuple[Basis, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What each GPU sends to experts: so many tokens of `hidden` values, each to `topk` of `num_experts` experts, on
    the way there in fp8 with its scales or in bf16 as on the way back. A token goes to `top_groups` of `num_groups`
    groups of experts."""

    num_tokens: float
    hidden: int
    topk: int
    num_experts: int
    in_fp8: bool = True
    num_groups: int = 1
    top_groups: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Collective:
    """All members of the rank's group on `axis` meet; `nbytes` is the size as nccl-tests defines it, of an exchange
    what each rank sends. `tokens` says what a dispatch or combine carries."""

    name: str
    axis: Axis
    group: str
    operation: CollectiveOperation
    nbytes: float
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Point to point: `nbytes` to rank `peer`, whose `flag` is set when the last byte arrives."""

    name: str
    axis: Axis
    peer: int
    flag: str
    nbytes: float


@dataclass(frozen=True, slots=True)
class Record:
    """Set the rank's own `flag` once the stream comes here."""

    flag: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Hold the stream until the rank's own `flag` is set."""

    flag: str


Instruction = Compute | Collective | Transfer | Record | Wait
Block = tuple[Instruction, ...]


Pattern = float | Literal["message", "exchange", "inside", "pxn", "direct", "aligned"]
"""How bytes of a group lie on the wires: a chain of which so many leave each node; one message, or one of each
member to the next; from each to each inside nodes, or between them in one of three ways: see
sim/costs/collectives/exchange.py."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What a message or collective does to the wires: `latency` seconds first, then bytes over all wires at once.

    Where it stands for several equal ones, `loads` are those of all, `nbytes_of_one` is the `nbytes` of one, and
    `seconds_of_one` what one would take with its wires to itself. Its loads are made of `patterns`: ways in which a
    group's bytes lie on the wires, and how many bytes go so.

    `ceiling` is how fast it can go at most, in bytes per second of `nbytes`, however idle the wires are (a protocol,
    too few channels). While it runs, waiting for the last member included, its kernel holds `num_sms` SMs of each.
    """

    latency: float
    loads: tuple[tuple[Wire, float], ...]
    nbytes_of_one: float | None = None
    seconds_of_one: float | None = None
    patterns: tuple[tuple[Pattern, float], ...] = ()
    ceiling: float = float("inf")
    num_sms: int = 0

    @property
    def nbytes(self) -> float:
        """Bytes over its busiest wire: what its progress is counted in, and its share of a wire with others."""
        if self.nbytes_of_one is not None:
            return self.nbytes_of_one
        return max((nbytes for _, nbytes in self.loads), default=0.0)
