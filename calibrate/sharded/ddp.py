"""Data parallelism: every rank has the whole model and microbatches of its own; gradients are averaged over the ranks.

They go bucket by bucket, the head's first: as soon as the last gradient of a bucket is there, its sum starts beside the
backward pass, so that little more than the last bucket's is waited for [Li et al. 2020, arXiv 2006.15704]. A bucket is
a part of the model here (embedding, a layer, head); PyTorch fills them up to 25 MiB.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from calibrate.sharded import llama
from calibrate.sharded.beside import Arriving, all_reduce
from calibrate.sharded.block import Block, Shard, Tensors
from calibrate.sharded.flat import taken_gradients, unflatten, when_all_have_gradients
from calibrate.sharded.llama import Batch, Part
from calibrate.verification.sizes import Sizes


def prepare(shard: Shard, sizes: Sizes) -> Callable[[], Tensors]:
    """One rank's step: its own microbatches, then the gradients of all ranks' at its weights."""
    model, microbatches = llama.parts(shard, sizes), own_microbatches(shard, sizes)
    summing: list[tuple[Part, Arriving]] = []

    def bucket_is_full(part: Part) -> None:
        bucket = taken_gradients(part.leaves, shard.num_ranks)
        summing.append((part, all_reduce(bucket, shard, "gradient sum")))

    for part in model:
        when_all_have_gradients(part.leaves, partial(bucket_is_full, part), num_passes=sizes.num_microbatches)

    def step() -> Tensors:
        llama.forget_gradients(model)
        loss = accumulate(shard, microbatches, partial(llama.forward, model))
        for part, summed in summing:
            put_gradients(part, summed())
        summing.clear()
        return {"loss": loss, **llama.gradients(model)}

    return step


def accumulate(shard: Shard, microbatches: list[Batch], forward: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Forward and backward of each microbatch, their gradients added up; the mean of their losses."""
    losses = []
    for number, batch in enumerate(microbatches):
        with shard.recorder.span("compute", f"0F{number}"):
            loss = forward(*batch) / len(microbatches)
        with shard.recorder.span("compute", f"0B{number}"):
            torch.autograd.backward(loss)
        losses.append(loss.detach())
    return torch.stack(losses).sum()


def put_gradients(part: Part, flat: Tensor) -> None:
    """A flat tensor of gradients, back at the weights that they are of."""
    for leaf, gradient in zip(part.leaves, unflatten(flat, part.leaves), strict=True):
        leaf.grad = gradient


def own_microbatches(shard: Shard, sizes: Sizes) -> list[Batch]:
    """Of the batch of all ranks, those of this one."""
    count = sizes.num_microbatches
    return llama.batches(shard, sizes, count * shard.num_ranks)[shard.rank * count :][:count]


def own_loss(shard: Shard, sizes: Sizes) -> Tensor:
    """The mean loss of the rank's microbatches, without anything sharded."""
    model = llama.parts(shard, sizes)
    with torch.no_grad():
        return torch.stack([llama.forward(model, *batch) for batch in own_microbatches(shard, sizes)]).mean()


def reference(shard: Shard, sizes: Sizes) -> Tensors:
    """The unsharded model on the batch of all ranks; the loss of what this rank has of it."""
    _, model = llama.reference(shard, sizes, sizes.num_microbatches * shard.num_ranks)
    return {"loss": own_loss(shard, sizes), **llama.gradients(model)}


BLOCKS = (
    Block(
        name="data parallel",
        summary="every rank has the whole model, and gradients are summed bucket by bucket",
        prepare=prepare,
        reference=reference,
        fits=lambda sizes, num_ranks: "",
    ),
)
