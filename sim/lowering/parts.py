"""What a rank does for an action, part by part: each piece of the pass, with the flags that tie it to other streams.

Between two parts the rank may wait for weights or hand gradients over; within one it does not. So a part is what can
be played once alone and put in one piece. Two passes of different microbatches may run as one: whenever the one waits
for bytes, the other computes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from sim.instructions import Block, Collective, Compute, Instruction, Record, Wait
from sim.layers.context import Pass, join
from sim.layers.stage import Weights
from sim.program import COMPUTE

Groups = tuple[tuple[str, tuple[int, ...]], ...]
"""The groups of a rank in which collectives of its passes run: axis, members."""


@dataclass(frozen=True)
class Condense:
    """How finely a pass is played. `piece` turns a piece, by its name, as these groups run it, into what the streams of
    each of their ranks do; `whole` puts together what may be played in one of a whole pass."""

    piece: Callable[[str, Pass, Groups], Pass]
    whole: Callable[[str, Pass], Pass]


class Part(NamedTuple):
    """A piece of a pass as it is played: flags of other streams before it, and after it; see stage.Piece."""

    name: str
    work: Pass
    weights: Weights
    saved_nbytes: float = 0.0
    before: Block = ()
    after: Block = ()


def played(parts: Iterable[Part]) -> Pass:
    """All parts one after the other, stream by stream."""
    return join(*({**part.work, COMPUTE: (*part.before, *part.work.get(COMPUTE, ()), *part.after)} for part in parts))


def paired(one: Sequence[Part], other: Sequence[Part]) -> Iterator[Part]:
    """The parts of two passes side by side, each pair as one; flags of both around it."""
    for first, second in zip_longest(one, other):
        if first is None or second is None:
            yield first or second
        else:
            yield Part(
                name=f"{first.name} + {second.name}",
                work=interleaved(first.work, second.work),
                weights=Weights(0, 0),
                before=first.before + second.before,
                after=first.after + second.after,
            )


def interleaved(one: Pass, other: Pass) -> Pass:
    """Two passes in turn: where the one comes to wait for another stream, the other goes on computing.

    A stream of communication does what both ask for in the order in which the compute stream comes to it.
    """
    segments = zip_longest(_segments(one), _segments(other), fillvalue=())
    compute = tuple(entry for pair in segments for block in pair for entry in block)
    beside = dict.fromkeys(stream for work in (one, other) for stream in work if stream != COMPUTE)
    return {
        COMPUTE: compute,
        **{stream: merged((one.get(stream, ()), other.get(stream, ())), compute) for stream in beside},
    }


def num_launches(work: Pass) -> int:
    """Kernels that the host starts."""
    return sum(isinstance(entry, Compute | Collective) for block in work.values() for entry in block)


def _segments(work: Pass) -> list[Block]:
    """The compute stream cut before each wait."""
    found: list[list[Instruction]] = [[]]
    for entry in work.get(COMPUTE, ()):
        if isinstance(entry, Wait) and found[-1]:
            found.append([])
        found[-1].append(entry)
    return [tuple(segment) for segment in found]


def merged(blocks: Iterable[Block], compute: Block) -> Block:
    """What several blocks of one stream do (wait, communicate, record, and so on), in the order in which the compute
    stream asks for it."""
    asked = {entry.flag: place for place, entry in enumerate(compute) if isinstance(entry, Record)}
    tasks = sorted((task for block in blocks for task in _tasks(block, asked)), key=lambda task: task[0])
    return tuple(entry for _, task in tasks for entry in task)


def _tasks(block: Block, asked: Mapping[str, int]) -> Iterator[tuple[int, Block]]:
    """Each begins with a wait for the compute stream; one that does not follows its predecessor."""
    place = -1
    task: list[Instruction] = []
    for entry in block:
        if isinstance(entry, Wait) and entry.flag in asked:
            if task:
                yield place, tuple(task)
            place, task = asked[entry.flag], []
        task.append(entry)
    if task:
        yield place, tuple(task)
