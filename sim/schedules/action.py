"""A schedule says who does which microbatch when, as data: for each pipeline rank, its actions in order.

F is one microbatch's forward pass through one stage, B its whole backward pass; or B comes in two halves, I (the input
gradient, which the stage before waits for) and W (the weight gradient, which nobody waits for).
Stages are counted over the whole model, chunk x pp + rank; an action prints as torch.distributed.pipelining's: 2F0.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple, cast

from topologies.document import InputError, shorten

Kind = Literal["F", "B", "I", "W"]

_WRITTEN = re.compile(r"([0-9]{1,9})([FBIW])([0-9]{1,9})")
_SHOWN_STEPS = 24


class Action(NamedTuple):
    """One pass of one microbatch through one global stage."""

    kind: Kind
    stage: int
    microbatch: int

    def __str__(self) -> str:
        return f"{self.stage}{self.kind}{self.microbatch}"

    @staticmethod
    def parse(text: str) -> "Action":
        """The inverse of str: "2F0". Raises InputError for anything else."""
        match = _WRITTEN.fullmatch(text.strip())
        if match is None:
            raise InputError(
                f"{shorten(text)} is not an action; write stage, kind (F, B, I or W) and microbatch, such as 2F0"
            )
        stage, kind, microbatch = match.groups()
        return Action(cast(Kind, kind), int(stage), int(microbatch))


@dataclass(frozen=True)
class Schedule:
    """Per pipeline rank, its actions in order; and where the global stages live.

    homes: the pipeline rank of each global stage: in rounds 0 1 2 3 0 1 2 3, or back and forth 0 1 2 3 3 2 1 0.
    num_models: 2 where the stages are two whole models, the second of which takes the microbatches of the second half
    from the other end (DualPipe); so of p ranks stages 0..p-1 and p..2p-1 are the same parts of the model.
    is_paired: a forward followed by a backward of another microbatch runs as one, each computing while the other
    communicates.
    """

    rows: tuple[tuple[Action, ...], ...]
    homes: tuple[int, ...]
    num_models: int = 1
    is_paired: bool = False

    @property
    def num_ranks(self) -> int:
        return len(self.rows)

    @property
    def model_stages(self) -> int:
        """Stages of one whole model."""
        return len(self.homes) // self.num_models

    def stages_of(self, rank: int) -> tuple[int, ...]:
        """The global stages that live on a rank."""
        return tuple(stage for stage, home in enumerate(self.homes) if home == rank)

    def after(self, stage: int) -> int | None:
        """The stage that takes this one's output in the forward pass; None after the last of a model."""
        return None if (stage + 1) % self.model_stages == 0 else stage + 1

    def before(self, stage: int) -> int | None:
        """The stage whose output this one takes in the forward pass."""
        return None if stage % self.model_stages == 0 else stage - 1


def in_rounds(num_ranks: int, num_chunks: int) -> tuple[int, ...]:
    """The usual homes: stage s on rank s % num_ranks."""
    return tuple(range(num_ranks)) * num_chunks


def back_and_forth(num_ranks: int) -> tuple[int, ...]:
    """Homes of two chunks whose second comes back: the V of ZB-V, and DualPipe's second model."""
    return (*range(num_ranks), *reversed(range(num_ranks)))

Grid = tuple[tuple[Action | None, ...], ...]
"""Per pipeline rank, what it does in each unit of time; None where it idles. All rows are equally long."""


class Deadlock(Exception):  # noqa: N818 - a state that a program comes to
    """Nothing can go on: `waits` names who waits for what around the circle, `grid` is the picture up to there."""

    def __init__(self, waits: tuple[str, ...], grid: str) -> None:
        super().__init__(waits, grid)
        self.waits = waits
        self.grid = grid

    def __str__(self) -> str:
        return f"deadlock: {', '.join(self.waits)}\n{self.grid}"


def actions(kind: Kind, slots: Iterable[tuple[int, int]]) -> list[Action]:
    """Actions of one kind at each (stage, microbatch), in order."""
    new = tuple.__new__  # twice as fast as Action(...), and a schedule may hold 100,000 of them
    return [new(Action, (kind, stage, microbatch)) for stage, microbatch in slots]


def weave(forwards: Sequence[Action], backwards: Sequence[Action], warmup: int) -> tuple[Action, ...]:
    """`warmup` forwards, then one forward and one backward in turn, then the backwards that are left."""
    pairs = zip(forwards[warmup:], backwards, strict=False)
    return (*forwards[:warmup], *chain.from_iterable(pairs), *backwards[len(forwards) - warmup :])


def picture(rows: Sequence[Sequence[Action | None]]) -> str:
    """A schedule or a grid as text, `rank 1 | F0 F1 B0 F2 B1 B2`, blank where idle.

    The stage is written (`5F0`) where ranks hold more than one.
    """
    several = any(action.stage != rank for rank, row in enumerate(rows) for action in row if action)
    cells = [[_cell(action, several) for action in row] for row in rows]
    width = max((len(cell) for row in cells for cell in row), default=0)
    label = len(str(len(rows) - 1))
    lines = (" ".join(cell.ljust(width) for cell in row) for row in cells)
    return "\n".join(f"rank {rank:>{label}} | {line}".rstrip() for rank, line in enumerate(lines))


def last_steps(rows: Sequence[Sequence[Action | None]]) -> str:
    """The picture of a grid that stopped; of a long one, only how it ended."""
    length = max(map(len, rows))
    first = max(0, length - _SHOWN_STEPS)
    note = f"the last {_SHOWN_STEPS} of {length} steps:\n" if first else ""
    return note + picture([row[first:] for row in rows])


def _cell(action: Action | None, several: bool) -> str:
    if action is None:
        return ""
    return str(action) if several else f"{action.kind}{action.microbatch}"
