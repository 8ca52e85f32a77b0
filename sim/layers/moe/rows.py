"""How many rows of tokens the experts of each rank get, and how long all wait for the fullest rank.

A row is a token on its way to one of its experts. One rank is played for all, so what its experts compute takes the
time of the rank that takes longest: the mean over the ranks is compute, the rest is waiting for the experts.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from statistics import fmean

from sim.costs.expert_load import rank_rows
from sim.instructions import Block, Compute, Instruction
from sim.layers.context import Context
from sim.models.transformer import LayerKind, Moe, layer_kinds

Rows = tuple[int, ...]
"""Of each expert of one rank."""


def moe_of(context: Context) -> Moe:
    """The model's experts."""
    moe = context.model.moe
    assert moe is not None
    return moe


def of_experts(context: Context) -> Context:
    """The same with experts in place of dense matrices: cut over `etp` ranks."""
    return replace(context, tp=context.etp)


def kinds(context: Context) -> tuple[LayerKind, ...]:
    """The kind of every layer; where each layer of experts has a histogram of its own, those with equal ones are alike.

    Layers beyond the last histogram have the last one.
    """
    histograms, last = context.experts.histograms, len(context.experts.histograms) - 1
    if last < 1:
        return layer_kinds(context.model)
    numbered, index = [], 0
    for kind in layer_kinds(context.model):
        shape = histograms.index(histograms[min(index, last)])
        numbered.append(replace(kind, histogram=shape) if kind.has_experts else kind)
        index += kind.has_experts
    return tuple(numbered)


def num_tokens(context: Context) -> int:
    """Tokens of all ranks that share the experts: each rank of ep x etp has 1/tp of its microbatch."""
    return context.num_tokens * context.ep * context.etp // context.tp


def rows_by_rank(context: Context) -> tuple[Rows, ...]:
    """Rows of each rank of an ep group, the fullest first; one rank where all have the same."""
    moe = moe_of(context)
    if context.experts.capacity_factor is not None:
        return ((_capacity(context) * _num_sources(context),) * (moe.num_experts // context.ep),)
    shape = (num_tokens(context), moe.top_k, moe.num_experts, context.ep)
    return rank_rows(context.experts, *shape, histogram=context.kind.histogram)


def fullest_rows(context: Context) -> int:
    """Rows of the fullest rank."""
    return sum(rows_by_rank(context)[0])


def fullness(context: Context) -> float:
    """Rows of the fullest rank relative to the mean."""
    totals = [sum(rows) for rows in rows_by_rank(context)]
    return max(totals) / fmean(totals)


def own_rows(context: Context) -> int:
    """Rows that the rank's own tokens become: each goes to `top_k` experts, or every expert takes what it has room for
    [GShard, arXiv 2006.16668; Megatron-Core, --moe-pad-expert-input-to-capacity]."""
    moe = moe_of(context)
    if context.experts.capacity_factor is not None:
        return _capacity(context) * moe.num_experts
    return context.local_tokens * moe.top_k


def on_the_fullest(context: Context, block_of: Callable[[Rows], Block]) -> Block:
    """What the experts of a rank do, made for every rank of the group; of each kernel the slowest rank's."""
    blocks = [block_of(rows) for rows in dict.fromkeys(rows_by_rank(context))]
    weights = [rows_by_rank(context).count(rows) for rows in dict.fromkeys(rows_by_rank(context))]
    return tuple(_awaited(alike, weights) for alike in zip(*blocks, strict=True))


def _awaited(alike: tuple[Instruction, ...], weights: list[int]) -> Instruction:
    """The slowest of one kernel on all ranks, its parts the mean and what the others wait."""
    kernels = [kernel for kernel in alike if isinstance(kernel, Compute)]
    slowest = max(kernels, key=lambda kernel: kernel.duration)
    mean = fmean([kernel.duration for kernel in kernels], weights)
    if len(kernels) < 2 or mean == slowest.duration:
        return slowest
    return replace(slowest, parts=(("compute", mean), ("exposed_ep", slowest.duration - mean)))


def _num_sources(context: Context) -> int:
    """How many times the rank's own tokens that is."""
    return num_tokens(context) // context.local_tokens


def _capacity(context: Context) -> int:
    """Rows that an expert takes of each rank's tokens."""
    moe, factor = moe_of(context), context.experts.capacity_factor
    assert factor is not None
    return math.ceil(context.local_tokens * moe.top_k / moe.num_experts * factor)
