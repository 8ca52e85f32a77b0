"""ZeRO: what data parallelism holds on every rank is shared out over the ranks [Rajbhandari et al. 2020, 1910.02054].

1: the optimizer's state. Gradients are reduce-scattered behind the last backward pass, each rank updates its share of
the weights, and the new ones are gathered. 2: the gradients too, which are reduce-scattered behind every backward pass.
Both part by part, as soon as a part's last gradient is there. 3 is in fsdp.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from calibrate.sharded import fsdp, llama
from calibrate.sharded.beside import all_gather
from calibrate.sharded.block import Block, Shard, Tensors
from calibrate.sharded.ddp import accumulate, own_microbatches
from calibrate.sharded.flat import unflatten, when_all_have_gradients
from calibrate.sharded.llama import Part
from calibrate.sharded.share import Share, adamw_of, reduce, share_of, step, update
from calibrate.verification.sizes import Sizes


def prepare(shard: Shard, sizes: Sizes, num_passes: int) -> Callable[[], Tensors]:
    """One rank's step with whole weights, its gradients reduced every so many passes."""
    model, microbatches = llama.parts(shard, sizes), own_microbatches(shard, sizes)
    shares = [Share(weights=share_of(shard, part.leaves)) for part in model]
    state = adamw_of(torch.cat([own.weights for own in shares]))
    for part, own in zip(model, shares, strict=True):
        when_all_have_gradients(part.leaves, partial(reduce, shard, part.leaves, own), num_passes)

    def train() -> Tensors:
        loss = accumulate(shard, microbatches, partial(llama.forward, model))
        own = update(shard, shares, state)
        put_weights(model, gathered(shard, model, shares, own["own weights"]))
        return {"loss": loss, **own, **named(model)}

    return train


def gathered(shard: Shard, model: Sequence[Part], shares: Sequence[Share], own: Tensor) -> list[list[Tensor]]:
    """The new weights of each part, all parts at once: of each rank, its shares of them one behind the other."""
    whole = all_gather(own, own.new_empty(shard.num_ranks * len(own)), shard, "weight gather")()
    by_part = torch.split(whole.view(shard.num_ranks, -1), [len(each.weights) for each in shares], dim=1)
    return [unflatten(flat.flatten(), part.leaves) for part, flat in zip(model, by_part, strict=True)]


def put_weights(model: Sequence[Part], weights: Sequence[Sequence[Tensor]]) -> None:
    """New weights in place of those that each part has."""
    with torch.no_grad():
        for part, new in zip(model, weights, strict=True):
            for leaf, weight in zip(part.leaves, new, strict=True):
                leaf.copy_(weight)


def named(model: Sequence[Part]) -> dict[str, Tensor]:
    """Weights by the names of part and weight."""
    return {f"{part.name} {key}": weight.detach() for part in model for key, weight in part.weights.items()}


def reference(shard: Shard, sizes: Sizes) -> Tensors:
    """The unsharded model and its optimizer on the batch of all ranks, NUM_STEPS steps: all weights after the last, and
    of gradient and weights this rank's shares."""
    count = sizes.num_microbatches * shard.num_ranks
    model, batch = llama.of_many(shard, sizes, count), llama.in_one(llama.batches(shard, sizes, count))
    states = [[adamw_of(leaf) for leaf in part.leaves] for part in model]
    own: dict[str, Tensor] = {}
    for _ in range(NUM_STEPS):
        llama.forget_gradients(model)
        own["loss"] = own_loss(shard, sizes, model)
        torch.autograd.backward(llama.forward(model, *batch))
        own["own gradient"] = shares(shard, [[gradient_of(leaf) for leaf in part.leaves] for part in model])
        for part, of_part in zip(model, states, strict=True):
            for leaf, state in zip(part.leaves, of_part, strict=True):
                step(state, gradient_of(leaf))
        put_weights(model, [[state.weights for state in of_part] for of_part in states])
    return {**own, "own weights": shares(shard, [part.leaves for part in model]), **named(model)}


def own_loss(shard: Shard, sizes: Sizes, model: Sequence[Part]) -> Tensor:
    """The mean loss of the rank's microbatches at the weights of a model."""
    parts = [replace(part, weights=of.weights) for part, of in zip(llama.parts(shard, sizes), model, strict=True)]
    with torch.no_grad():
        return torch.stack([llama.forward(parts, *batch) for batch in own_microbatches(shard, sizes)]).mean()


def gradient_of(leaf: Tensor) -> Tensor:
    """What the backward pass left there."""
    assert leaf.grad is not None
    return leaf.grad


def shares(shard: Shard, tensors: Sequence[Sequence[Tensor]]) -> Tensor:
    """This rank's shares of each part's tensors, one behind the other."""
    return torch.cat([share_of(shard, of_part) for of_part in tensors])


def reference_of_shares(shard: Shard, sizes: Sizes) -> Tensors:
    """The same without the weights of which no rank has all."""
    return {name: tensor for name, tensor in reference(shard, sizes).items() if name in ("loss", *OWN)}


NUM_STEPS = 2
"""So many steps are compared: a second shows that the optimizer's state was kept."""

OWN = ("own gradient", "own weights")
"""What each rank has of the model."""

BLOCKS = (
    Block(
        name="zero 1",
        summary="the optimizer's state is shared out; gradients are reduce-scattered once a step",
        prepare=lambda shard, sizes: prepare(shard, sizes, sizes.num_microbatches),
        reference=reference,
        fits=lambda sizes, num_ranks: "",
        num_steps=NUM_STEPS,
    ),
    Block(
        name="zero 2",
        summary="gradients too; they are reduce-scattered behind every backward pass",
        prepare=lambda shard, sizes: prepare(shard, sizes, 1),
        reference=reference,
        fits=lambda sizes, num_ranks: "",
        num_steps=NUM_STEPS,
    ),
    Block(
        name="zero 3",
        summary="weights too; each part's are gathered for every pass (FSDP)",
        prepare=fsdp.prepare,
        reference=reference_of_shares,
        fits=lambda sizes, num_ranks: "",
        num_steps=NUM_STEPS,
    ),
)
