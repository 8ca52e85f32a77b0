"""A small Llama in parts: embedding, layers, head [Touvron et al. 2023, arXiv 2307.09288]; no biases, untied embedding.

Pipelines deal the parts to their stages; data parallelism sums gradients part by part, and ZeRO shards each. A layer's
halves are those that tensor parallelism is compared with, so its kernels are those that sim/layers plays.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from calibrate.sharded import attention, kernels, mlp
from calibrate.sharded.block import Shard, Tensors
from calibrate.sharded.weights import Whole, drawn, product_scale, replicated
from calibrate.verification.sizes import Sizes

Run = Callable[[Tensor, Tensors, Tensor], Tensor]
"""Inputs, weights and targets to outputs. Inputs are token ids of the embedding, else hidden states (tokens, hidden);
the head alone looks at the targets, and gives the loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of the model with its whole weights, which are leaves for autograd."""

    name: str
    weights: Mapping[str, Tensor]
    run: Run

    @property
    def leaves(self) -> list[Tensor]:
        return list(self.weights.values())


class Batch(NamedTuple):
    """Token ids (tokens,) of all sequences one after the other, and of each token the next."""

    inputs: Tensor
    targets: Tensor


def num_parts(sizes: Sizes) -> int:
    """Embedding, layers, head."""
    return sizes.num_layers + 2


def part(shard: Shard, sizes: Sizes, place: int) -> Part:
    """The part at a place of the model; its weights are the same on every rank that asks for it."""
    name, wholes, run = _plan(sizes, place)
    weights = {key: drawn(f"{name} {key}", whole, shard).requires_grad_() for key, whole in wholes.items()}
    return Part(name=name, weights=weights, run=run)


def parts(shard: Shard, sizes: Sizes) -> list[Part]:
    """The whole model."""
    return [part(shard, sizes, place) for place in range(num_parts(sizes))]


def batches(shard: Shard, sizes: Sizes, count: int) -> list[Batch]:
    """So many microbatches of random tokens, the same on every rank."""
    generator = torch.Generator().manual_seed(count)
    shape = count, sizes.micro_batch, sizes.seq_len + 1
    tokens = torch.randint(sizes.vocab, shape, generator=generator).to(shard.device)
    return [Batch(each[:, :-1].flatten(), each[:, 1:].flatten()) for each in tokens]


def forward(model: Sequence[Part], inputs: Tensor, targets: Tensor) -> Tensor:
    """Part after part; where the last is the head, the mean loss of all tokens."""
    for each in model:
        inputs = each.run(inputs, each.weights, targets)
    return inputs


def of_many(shard: Shard, sizes: Sizes, count: int) -> list[Part]:
    """The whole model as it runs so many microbatches as one."""
    return parts(shard, replace(sizes, micro_batch=count * sizes.micro_batch))


def in_one(microbatches: Sequence[Batch]) -> Batch:
    """Several microbatches as one."""
    return Batch(*(torch.cat(tokens) for tokens in zip(*microbatches, strict=True)))


def reference(shard: Shard, sizes: Sizes, count: int) -> tuple[Tensor, list[Part]]:
    """The unsharded model, with the gradients of so many microbatches as one batch at its weights; and the loss."""
    model = of_many(shard, sizes, count)
    loss = forward(model, *in_one(batches(shard, sizes, count)))
    torch.autograd.backward(loss)
    return loss.detach(), model


def gradients(model: Sequence[Part]) -> dict[str, Tensor]:
    """What the backward passes left, by the names of part and weight."""
    leaves = {f"{each.name} {key} gradient": leaf for each in model for key, leaf in each.weights.items()}
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


def forget_gradients(model: Sequence[Part]) -> None:
    """So that the next step begins anew."""
    for each in model:
        for leaf in each.leaves:
            leaf.grad = None


def _plan(sizes: Sizes, place: int) -> tuple[str, Mapping[str, Whole], Run]:
    """Name, weights and function of a part."""
    table = Whole((sizes.vocab, sizes.hidden), replicated, product_scale(sizes.hidden))
    if place == 0:
        return "embedding", {"table": table}, _embedding
    if place == num_parts(sizes) - 1:
        return "head", {"final norm": Whole((sizes.hidden,), replicated), "logits": table}, _head
    return f"layer {place - 1}", {**attention.weights(sizes), **mlp.weights(sizes)}, partial(_layer, sizes)


def _embedding(tokens: Tensor, weights: Tensors, targets: Tensor) -> Tensor:
    return functional.embedding(tokens, weights["table"])


def _layer(sizes: Sizes, hidden: Tensor, weights: Tensors, targets: Tensor) -> Tensor:
    return mlp.plain(attention.plain(hidden, weights, sizes), weights)


def _head(hidden: Tensor, weights: Tensors, targets: Tensor) -> Tensor:
    """Logits go to fp32 before the loss, as the simulator counts them."""
    logits = functional.linear(kernels.rms_norm(hidden, weights["final norm"]), weights["logits"])
    return functional.cross_entropy(logits.float(), targets)
