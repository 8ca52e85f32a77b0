"""A point to measure: one operation at one size, and how to make its tensors, run it once, and check what came out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch.distributed import ProcessGroup

from calibrate.running.asked import Budget

Regime = Literal["warm", "cold", "host", "sustained"]
"""What is timed, and what the caches hold then; timing.py says how.

warm: repetitions back to back, which find in the L2 what fits there, as in the tables that the laws were fitted to.
cold: the L2 is emptied before each. A processor's caches are written over for both. host: what the processor takes to
start it. sustained: for seconds on end, the mean once clocks have settled.
"""


class Run(NamedTuple):
    """`go` is one repetition (on a GPU it may only start); `check` says what is wrong with its result, or nothing.

    `times` is how many operations one `go` makes: times are of one. `found` are inputs of the law that only the run
    itself can tell, beside those of its point. On a GPU `before` is called before each sample and not timed: what must
    be under way when it begins. `trial` gives the run that is timed in place of this one, by collectives of the
    members: it is called once all of them have their tensors.
    """

    go: Callable[[], object]
    check: Callable[[], str]
    regime: Regime = "warm"
    times: int = 1
    found: Mapping[str, float] = {}
    before: Callable[[], object] | None = None
    trial: "Callable[[], Run] | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """This process among those that measure: one for each GPU, or so many on a processor.

    `group` are the processes that take part in the point at hand, by the measured backend; None where each runs alone.
    `shares_gpu`: several ranks run on one GPU, so that nothing that they measure is true of it.
    """

    rank: int
    num_ranks: int
    ranks_per_node: int
    device: torch.device
    group: ProcessGroup | None = None
    shares_gpu: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """`inputs` are those of the operation's law, in SI units; `part` the GPU or link that it is of.

    `members` are the ranks that take part together (a collective); none: each rank runs it alone, all of them at once.
    `prepare` makes the tensors, random, on the rank's device. `seconds` is about how long a repetition takes, so that a
    plan of the run can be told; `budget` the least thorough run that has it.
    """

    operation: str
    part: str
    gpu: str = ""
    fabric: str = ""
    inputs: Mapping[str, float]
    members: tuple[int, ...] = ()
    prepare: Callable[[Ranks], Run]
    seconds: float
    budget: Budget = "quick"
