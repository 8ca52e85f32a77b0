"""A rank's shares of the model: 1/n of the flat weights of each part, and of their gradients.

The optimizer's step on them is the rank's own, so its state, twelve bytes a weight, is 1/n too: ZeRO in one sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from calibrate.sharded.beside import Arriving, reduce_scatter
from calibrate.sharded.block import Shard
from calibrate.sharded.flat import flatten, taken_gradients

RATE: Final = 1e-3
BETAS: Final = (0.9, 0.95)
EPSILON: Final = 1e-5
DECAY: Final = 0.1
"""Of AdamW, as Llama 2 was trained [arXiv 2307.09288, section 2.2], but for a larger rate. At that epsilon no update
hangs on the sign of a gradient that is nothing but rounding."""


@dataclass(slots=True, kw_only=True)
class Share:
    """Of one part: the weights, and the gradient, as far as it has come, and as it is `arriving`."""

    weights: Tensor
    gradient: Tensor | None = None
    arriving: Arriving | None = None


def share_of(shard: Shard, tensors: Sequence[Tensor]) -> Tensor:
    """This rank's 1/n of these, as one flat tensor."""
    return flatten(tensors, shard.num_ranks).chunk(shard.num_ranks)[shard.rank].clone()


def reduce(shard: Shard, leaves: Sequence[Tensor], own: Share) -> None:
    """A part's gradients are all there: start their sum over the ranks, and let go of them."""
    settle(own)
    own.arriving = reduce_scatter(taken_gradients(leaves, shard.num_ranks), shard, "gradient reduce-scatter")


def settle(own: Share) -> None:
    """Wait for the sum that was started last, and add it up."""
    if own.arriving is not None:
        arrived, own.arriving = own.arriving(), None
        own.gradient = arrived if own.gradient is None else own.gradient.add_(arrived)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamW:
    """The state of AdamW [Loshchilov & Hutter 2019]: weights and both moments in fp32, the number of steps taken."""

    weights: Tensor
    first: Tensor
    second: Tensor
    num_steps: Tensor


def adamw_of(weights: Tensor) -> AdamW:
    """The state before the first step."""
    master = weights.detach().float().clone()
    first, second = torch.zeros_like(master), torch.zeros_like(master)
    return AdamW(weights=master, first=first, second=second, num_steps=master.new_zeros(()))


def update(shard: Shard, shares: Sequence[Share], state: AdamW) -> dict[str, Tensor]:
    """One step on all the rank's shares: their gradient, and their new weights; the next gradient begins anew."""
    gradients = []
    for own in shares:
        settle(own)
        assert own.gradient is not None
        gradients.append(own.gradient)
        own.gradient = None
    gradient = torch.cat(gradients)
    with shard.recorder.span("compute", "optimizer"):
        step(state, gradient)
        weights = state.weights.to(gradient.dtype)
        for own, new in zip(shares, torch.split(weights, [len(own.weights) for own in shares]), strict=True):
            own.weights.copy_(new)
    return {"own gradient": gradient, "own weights": weights}


def step(state: AdamW, gradient: Tensor) -> None:
    """A step in fp32, by one kernel: PyTorch's function, since its class loads the compiler, which takes seconds."""
    adamw(
        [state.weights],
        [gradient.float()],
        [state.first],
        [state.second],
        [],
        [state.num_steps],
        fused=True,
        amsgrad=False,
        beta1=BETAS[0],
        beta2=BETAS[1],
        lr=RATE,
        weight_decay=DECAY,
        eps=EPSILON,
        maximize=False,
    )
