"""Activations that wait in the host's memory: copied out behind the forward pass, and in ahead of the backward pass.

The copy engines take no SM; a slot copies both ways at once, so each way has a stream of its own [Transformer Engine,
cpu_offload: a layer's activations come back while the layer behind it runs backward].
"""

from collections.abc import Sequence

from sim.costs.offload import copy_seconds
from sim.instructions import Block, Compute, Record, Wait
from sim.layers.context import Pass
from sim.lowering.parts import Part
from topologies.hardware import Gpu

OUT, IN = "copy out", "copy in"
"""The streams of a rank that copy to the host, and back."""


def copied_out(gpu: Gpu, parts: Sequence[Part], direction: str) -> tuple[list[Part], Pass]:
    """The parts of a forward pass, each followed by the copy of what it keeps."""
    made, stream = list(parts), list[Block]()
    for index, part in enumerate(parts):
        if part.saved_nbytes:
            there = f"{direction} kept {index}"
            made[index] = part._replace(after=(*part.after, Record(there)))
            stream.append((Wait(there), _copy(gpu, OUT, part.saved_nbytes)))
    return made, {OUT: tuple(entry for block in stream for entry in block)}


def copied_in(gpu: Gpu, parts: Sequence[Part], direction: str) -> tuple[list[Part], Pass]:
    """The parts of a backward pass, each waiting for what it needs, which is asked for as the part before begins."""
    kept = [index for index, part in enumerate(parts) if part.saved_nbytes]
    asks: dict[int, list[Record]] = {}
    stream: list[Block] = []
    made = list(parts)
    for place, index in enumerate(kept):
        ask, here = f"{direction} kept {index} asked", f"{direction} kept {index} here"
        asks.setdefault(kept[max(0, place - 1)], []).append(Record(ask))
        made[index] = made[index]._replace(before=(Wait(here), *made[index].before))
        stream.append((Wait(ask), _copy(gpu, IN, parts[index].saved_nbytes), Record(here)))
    for index, records in asks.items():
        made[index] = made[index]._replace(before=(*records, *made[index].before))
    return made, {IN: tuple(entry for block in stream for entry in block)}


def _copy(gpu: Gpu, name: str, nbytes: float) -> Compute:
    return Compute(name=name, duration=copy_seconds(gpu, nbytes), category="host")
