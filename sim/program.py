"""A program: what every stream of every rank has to do in one step, as instruction lists.

Steps of a stream that do the same for another microbatch share one block; the action tells them apart.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from sim.instructions import Activity, Block, Collective, Transfer
from sim.schedules import Action

COMPUTE = "compute"
"""The stream of a rank that runs its kernels."""

Step = tuple[Action | None, Block]
"""One entry of a stream: the action it belongs to (None at the end of the step), and what it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One CUDA stream of one rank: its steps run in order, beside the rank's other streams."""

    rank: int
    name: str
    steps: Sequence[Step]

    def actions(self) -> list[Action | None]:
        """The action of each step."""
        return [action for action, _ in self.steps]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """All streams, and what they need to be played.

    `groups[name, rank]` lists the ranks of that rank's group which are in the program; `activities` holds for each
    collective and transfer of a rank what it does to the wires; `ranks_folded[rank]` is how many it stands for;
    `slowness[rank]` how many times as long its kernels take as they say, where that is not once.
    """

    streams: tuple[Stream, ...]
    groups: Mapping[tuple[str, int], tuple[int, ...]]
    activities: Mapping[tuple[Collective | Transfer, int], Activity]
    ranks_folded: Mapping[int, int]
    slowness: Mapping[int, float] = field(default_factory=dict)


def different_blocks(streams: Iterable[Stream]) -> Iterator[tuple[int, Block]]:
    """Every different block of every stream, once, with its rank."""
    for stream in streams:
        every = list(map(itemgetter(1), stream.steps))
        blocks = dict(zip(map(id, every), every, strict=True))
        yield from ((stream.rank, block) for block in blocks.values())
