"""FSDP, which is ZeRO 3: a rank keeps 1/n of the weights [Zhao et al. 2023, arXiv 2304.11277].

Each part's are gathered before its forward pass and again before its backward pass, while the part before computes, and
let go behind it; its gradients are reduce-scattered behind every backward pass, and each rank updates its share.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from calibrate.sharded import llama
from calibrate.sharded.beside import Arriving, all_gather
from calibrate.sharded.block import Shard, Tensors
from calibrate.sharded.ddp import accumulate, own_microbatches
from calibrate.sharded.flat import flatten, unflatten, when_all_have_gradients
from calibrate.sharded.llama import Part
from calibrate.sharded.share import Share, adamw_of, reduce, share_of, update
from calibrate.verification.sizes import Sizes


@dataclass(slots=True, kw_only=True)
class Unit:
    """A part whose weights come and go: they are views of `flat`, which has memory only from `ask` to `let_go`."""

    part: Part
    flat: Tensor
    own: Share
    arriving: Arriving | None = None


def prepare(shard: Shard, sizes: Sizes) -> Callable[[], Tensors]:
    """One rank's step with sharded weights."""
    units = [unit_of(shard, part) for part in llama.parts(shard, sizes)]
    microbatches = own_microbatches(shard, sizes)
    state = adamw_of(torch.cat([unit.own.weights for unit in units]))
    for unit in units:
        when_all_have_gradients(unit.part.leaves, partial(backward_done, shard, unit))

    def step() -> Tensors:
        loss = accumulate(shard, microbatches, partial(forward, shard, units))
        return {"loss": loss, **update(shard, [unit.own for unit in units], state)}

    return step


def unit_of(shard: Shard, part: Part) -> Unit:
    """The leaves are made of the flat tensor's memory alone: to autograd they do not change when it is filled again."""
    flat = flatten(part.leaves, shard.num_ranks)
    leaves = [view.data.requires_grad_() for view in unflatten(flat, part.leaves)]
    unit = Unit(
        part=replace(part, weights=dict(zip(part.weights, leaves, strict=True))),
        flat=flat,
        own=Share(weights=share_of(shard, part.leaves)),
    )
    let_go(unit)
    return unit


def forward(shard: Shard, units: Sequence[Unit], inputs: Tensor, targets: Tensor) -> Tensor:
    """Unit after unit, the next one's weights on their way; what comes out tells when its backward pass begins."""
    for place, unit in enumerate(units):
        for needed in units[place : place + 2]:
            ask(shard, needed)
        receive(unit)
        inputs = unit.part.run(inputs, unit.part.weights, targets)
        let_go(unit)
        begins = partial(backward_begins, shard, units[max(0, place - 1) : place + 1])
        inputs.register_hook(begins)  # type: ignore[no-untyped-call]
    return inputs


def backward_begins(shard: Shard, units: Sequence[Unit], gradient: Tensor) -> None:
    """Of the last of these units; the one before it, which comes next, is asked for."""
    for needed in reversed(units):
        ask(shard, needed)
    receive(units[-1])


def backward_done(shard: Shard, unit: Unit) -> None:
    """All its gradients are there."""
    let_go(unit)
    reduce(shard, unit.part.leaves, unit.own)


def ask(shard: Shard, unit: Unit) -> None:
    """For its weights, unless they were asked for."""
    if unit.arriving is None:
        unit.flat.untyped_storage().resize_(unit.flat.nbytes)
        unit.arriving = all_gather(unit.own.weights, unit.flat, shard, "weight gather")


def receive(unit: Unit) -> None:
    """Wait for its weights."""
    assert unit.arriving is not None
    unit.arriving()


def let_go(unit: Unit) -> None:
    """Give the memory of its weights back."""
    unit.flat.untyped_storage().resize_(0)
    unit.arriving = None
