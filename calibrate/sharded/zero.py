"""ZeRO: what data parallelism holds on every rank is shared out over the ranks [Rajbhandari et al. 2020, 1910.02054].

1: the optimizer's state. Gradients are reduce-scattered behind the last backward pass, each rank updates its share of
the weights, and the new ones are gathered. 2: the gradients too, which are reduce-scattered behind every backward pass.
Both part by part, as soon as a part's last gradient is there. 3 is in fsdp.py.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from calibrate.sharded import fsdp, llama
from calibrate.sharded.beside import all_gather
from calibrate.sharded.block import Block, Shard, Tensors
from calibrate.sharded.ddp import accumulate, own_loss, own_microbatches
from calibrate.sharded.flat import unflatten, when_all_have_gradients
from calibrate.sharded.llama import Part
from calibrate.sharded.share import Share, reduce, share_of, update, updated
from calibrate.verification.sizes import Sizes


def prepare(shard: Shard, sizes: Sizes, num_passes: int) -> Callable[[], Tensors]:
    """One rank's step with whole weights, its gradients reduced every so many passes."""
    model, microbatches = llama.parts(shard, sizes), own_microbatches(shard, sizes)
    shares = [Share(weights=share_of(shard, part.leaves)) for part in model]
    for part, own in zip(model, shares, strict=True):
        when_all_have_gradients(part.leaves, partial(reduce, shard, part.leaves, own), num_passes)

    def step() -> Tensors:
        loss = accumulate(shard, microbatches, partial(llama.forward, model))
        own = update(shard, shares)
        return {"loss": loss, **own, **gathered(shard, model, shares, own["own weights"])}

    return step


def gathered(shard: Shard, model: Sequence[Part], shares: Sequence[Share], own: Tensor) -> dict[str, Tensor]:
    """The whole model after the step, all parts at once: of each rank, its shares of them one behind the other."""
    whole = all_gather(own, own.new_empty(shard.num_ranks * len(own)), shard, "weight gather")()
    by_part = torch.split(whole.view(shard.num_ranks, -1), [len(each.weights) for each in shares], dim=1)
    weights = [unflatten(flat.flatten(), part.leaves) for part, flat in zip(model, by_part, strict=True)]
    return named(model, weights)


def named(model: Sequence[Part], weights: Sequence[Sequence[Tensor]]) -> dict[str, Tensor]:
    """Weights of each part by the names of both."""
    return {
        f"{part.name} {key}": weight
        for part, own in zip(model, weights, strict=True)
        for key, weight in zip(part.weights, own, strict=True)
    }


def reference(shard: Shard, sizes: Sizes) -> Tensors:
    """The unsharded model and its optimizer on the batch of all ranks: all weights after the step, and of gradient and
    weights this rank's shares."""
    _, model = llama.reference(shard, sizes, sizes.num_microbatches * shard.num_ranks)
    gradients = [[leaf.grad for leaf in part.leaves if leaf.grad is not None] for part in model]
    weights = [[updated(leaf, leaf.grad) for leaf in part.leaves if leaf.grad is not None] for part in model]
    return {
        "loss": own_loss(shard, sizes),
        "own gradient": torch.cat([share_of(shard, each) for each in gradients]),
        "own weights": torch.cat([share_of(shard, each) for each in weights]),
        **named(model, weights),
    }


def reference_of_shares(shard: Shard, sizes: Sizes) -> Tensors:
    """The same without the weights of which no rank has all."""
    return {name: tensor for name, tensor in reference(shard, sizes).items() if name in ("loss", *OWN)}


OWN = ("own gradient", "own weights")
"""What each rank has of the model."""

BLOCKS = (
    Block(
        name="zero 1",
        summary="the optimizer's state is shared out; gradients are reduce-scattered once a step",
        prepare=lambda shard, sizes: prepare(shard, sizes, sizes.num_microbatches),
        reference=reference,
        fits=lambda sizes, num_ranks: "",
    ),
    Block(
        name="zero 2",
        summary="gradients too; they are reduce-scattered behind every backward pass",
        prepare=lambda shard, sizes: prepare(shard, sizes, 1),
        reference=reference,
        fits=lambda sizes, num_ranks: "",
    ),
    Block(
        name="zero 3",
        summary="weights too; each part's are gathered for every pass (FSDP)",
        prepare=fsdp.prepare,
        reference=reference_of_shares,
        fits=lambda sizes, num_ranks: "",
    ),
)
