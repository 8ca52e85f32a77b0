"""Blocks that run beside others: what the compute stream does at their begin and end, and flags that tie the two.

What overlaps is not said anywhere: a block on another stream starts when its flag is set, and the compute stream waits
where it needs the result.
"""

from dataclasses import replace
from typing import NamedTuple

from sim.instructions import Block, Instruction, Record, Transfer, Wait
from sim.layers.context import Pass


class Beside(NamedTuple):
    """Where the compute stream starts a block of another stream, the block itself, and where it needs the result."""

    begin: Block
    aside: Block
    end: Block


def beside(block: Block, name: str) -> Beside:
    """A block with the flags around it; nothing of nothing."""
    if not block:
        return Beside((), (), ())
    ready, done = f"{name} ready", f"{name} done"
    return Beside((Record(ready),), (Wait(ready), *block, Record(done)), (Wait(done),))


def again(one: Pass) -> Pass:
    """The same pass once more, in which instructions and flags have names of their own."""
    return {stream: again_block(block) for stream, block in one.items()}


def again_block(block: Block) -> Block:
    """The same instructions once more."""
    return tuple(map(_again, block))


def _again(instruction: Instruction) -> Instruction:
    if isinstance(instruction, Record | Wait):
        return type(instruction)(f"recompute {instruction.flag}")
    assert not isinstance(instruction, Transfer)
    return replace(instruction, name=f"recompute {instruction.name}")
