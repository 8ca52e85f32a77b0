"""A schedule says who does which microbatch when, as data: for each pipeline rank, its actions in order.

F is one microbatch's forward pass through one stage, B its whole backward pass; or B comes in two halves, I (the input
gradient, which the stage before waits for) and W (the weight gradient, which nobody waits for).
Stages are counted over the whole model, chunk x pp + rank; an action prints as torch.distributed.pipelining's: 2F0.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
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


@dataclass(frozen=True, slots=True)
class Schedule:
    """Per pipeline rank, its actions in order; and where the global stages live.

    homes: the pipeline rank of each global stage: in rounds 0 1 2 3 0 1 2 3, or back and forth 0 1 2 3 3 2 1 0.
    num_models: 2 where the stages are two whole models, the second of which takes the microbatches of the second half
    from the other end (DualPipe); so of p ranks stages 0..p-1 and p..2p-1 are the same parts of the model.
    is_paired: a forward followed by a whole backward of another microbatch runs as one, each computing while the other
    communicates; see `passes`. Where two such are not to be one, the backward is written as I and W.
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

    def microbatches_of(self, stage: int, num_microbatches: int) -> range:
        """The microbatches that pass a stage: all, or of two models the half of its own."""
        model, each = stage // self.model_stages, num_microbatches // self.num_models
        return range(model * each, (model + 1) * each)

    def passes(self, rank: int) -> Iterator[tuple[Action, ...]]:
        """What a rank starts at once, in order: single actions, and pairs of a forward and a backward."""
        row, place = self.rows[rank], 0
        while place < len(row):
            both = row[place : place + 2]
            count = 2 if self.is_paired and is_pair(both) else 1
            yield both[:count]
            place += count


def in_rounds(num_ranks: int, num_chunks: int) -> tuple[int, ...]:
    """The usual homes: stage s on rank s % num_ranks."""
    return tuple(range(num_ranks)) * num_chunks


def back_and_forth(num_ranks: int) -> tuple[int, ...]:
    """Homes of two chunks whose second comes back: the V of ZB-V, and DualPipe's second model."""
    return (*range(num_ranks), *reversed(range(num_ranks)))


def is_pair(passes: Sequence[Action]) -> bool:
    """Whether these are a forward and then a whole backward of another microbatch, so that they may run as one."""
    return [action.kind for action in passes] == ["F", "B"] and passes[0].microbatch != passes[1].microbatch


def halves(backward: Action) -> tuple[Action, Action]:
    """The two halves of a whole backward."""
    return backward._replace(kind="I"), backward._replace(kind="W")


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


def numbered(
    passes: Iterable[str], stages: Sequence[int], first: Mapping[int, int] = MappingProxyType({})
) -> tuple[Action, ...]:
    """The actions of a rank from its passes, each a kind and the place of its stage in `stages`: B1.

    A stage takes its microbatches in order, from first[stage] on, else from 0. W is of the oldest I that has none yet,
    whatever stage is said.
    """
    counts: dict[tuple[bool, int], int] = {}
    due: deque[Action] = deque()
    made: list[Action] = []
    for each in passes:
        kind, stage = each[0], stages[int(each[1])]
        if kind == "W":
            made.append(due.popleft()._replace(kind="W"))
            continue
        key = kind == "F", stage
        count = counts.get(key, first.get(stage, 0))
        counts[key] = count + 1
        made.append(Action(cast(Kind, kind), stage, count))
        if kind == "I":
            due.append(made[-1])
    return tuple(made)


def weave(
    forwards: Sequence[Action], backwards: Sequence[Action], warmup: int, is_paired: bool = False
) -> tuple[Action, ...]:
    """`warmup` forwards, then one forward and one backward in turn, then the backwards that are left.

    is_paired: one forward more to warm up; and where all forwards do, the last of them is no pair with what follows.
    """
    warmup = min(warmup + is_paired, len(forwards))
    pairs = chain.from_iterable(zip(forwards[warmup:], backwards, strict=False))
    rest = backwards[len(forwards) - warmup :]
    if is_paired and warmup == len(forwards):
        return (*forwards, *halves(rest[0]), *rest[1:])
    return (*forwards[:warmup], *pairs, *rest)


def check_chunks(name: str, needed: int, num_chunks: int) -> None:
    """Raises InputError where a schedule of this name cannot have so many chunks per rank."""
    if num_chunks != needed:
        count, fix = ("one chunk", "vpp=1, or interleaved") if needed == 1 else ("two chunks", "vpp=2")
        raise InputError(f"schedule {name} holds {count} per rank, not vpp={num_chunks}; use {fix}")


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
