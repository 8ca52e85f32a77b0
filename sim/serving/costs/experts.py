"""A layer's experts in a pass: the router, the products of the experts that tokens touch, and the carrying of tokens.

With experts dealt to tp ranks, all of which know every token, the sum over tp carries results back; ranks of data-
parallel attention have tokens of their own, which are carried to the experts and back, dealt or each split over all
ranks. All wait for the fullest rank: its time is the pass's, the mean rank's is compute, the rest is the straggler's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import count

import numpy as np

from sim.costs import gemm
from sim.costs.expert_load import Load
from sim.costs.expert_routing import expected_load, fullest_load
from sim.costs.grouped_gemm import expert_layer
from sim.costs.law import Array
from sim.costs.memory_bound import NBYTES, streams
from sim.deployment import Deployment, Layout
from sim.models import LayerKind, Moe, Transformer
from sim.serving.costs.carrying import carried, moved_weights
from sim.serving.costs.dense import mlp
from sim.serving.costs.formats import expert_format
from sim.serving.costs.parts import TOKENS, Part, Rank, part, total
from sim.serving.costs.placement import placed
from sim.serving.costs.products import plain
from sim.workload import ExpertLoad
from topologies.document import InputError
from topologies.hardware import Gpu

_LAUNCHES = 8
"""Kernels of a layer of experts: its gate, top-k, alignment of rows, two products, activation, sum of rows, a cast."""


def numbered(stages: Sequence[Sequence[LayerKind]], load: ExpertLoad) -> tuple[tuple[LayerKind, ...], ...]:
    """The layers of each stage with the histogram of each; those with equal ones are alike. Layers beyond the last
    histogram have the last one."""
    shapes, counter = load.histograms, count()
    return tuple(tuple(_with_histogram(kind, shapes, counter) for kind in kinds) for kinds in stages)


def experts_mlp(rank: Rank, kind: LayerKind, *, graph: bool) -> Part:
    """Router, experts, shared experts; the sum over tp apart. A row of TOKENS is the tokens of each dp rank."""
    moe = moe_of(rank)
    beside = mlp(rank, moe.shared_ffn) if moe.shared_ffn else part()
    routed = part(compute=_routed(rank, moe), launches=_LAUNCHES)
    return total([(1.0, routed), (1.0, _dealt(rank, kind, graph=graph)), (1.0, beside)])


def shared_experts(rank: Rank, kind: LayerKind) -> Part:
    """Of these what goes by the tokens of all dp ranks, where they share experts: products and carrying."""
    if not kind.has_experts or rank.deployment.layout.dp == 1:
        return part()
    return _dealt(rank, kind, graph=False)


def expert_seconds(rank: Rank, histogram: int = 0) -> tuple[Array, Array]:
    """Seconds of the experts of the mean rank and of the fullest, by tokens of each dp rank."""
    mean, fullest = _seconds(rank.gpu, rank.model, rank.deployment, rank.load, histogram)
    return mean, np.maximum(mean, fullest)


def moe_of(rank: Rank) -> Moe:
    """The model's experts."""
    assert rank.model.moe is not None
    return rank.model.moe


def _dealt(rank: Rank, kind: LayerKind, *, graph: bool) -> Part:
    mean, fullest = expert_seconds(rank, kind.histogram)
    return part(compute=mean, straggler=fullest - mean, ep=carried(rank, graph=graph) + moved_weights(rank))


def _with_histogram(kind: LayerKind, shapes: tuple[tuple[float, ...], ...], counter: Iterator[int]) -> LayerKind:
    if not kind.has_experts or not shapes:
        return kind
    return replace(kind, histogram=shapes.index(shapes[min(next(counter), len(shapes) - 1)]))


@lru_cache(maxsize=256)
def _seconds(
    gpu: Gpu, model: Transformer, deployment: Deployment, load: ExpertLoad, histogram: int
) -> tuple[Array, Array]:
    """The fullest rank is taken to have the most rows, experts and tiles that any has: the same one mostly does. Alike
    on all stages of the same GPUs."""
    moe, layout = model.moe, deployment.layout
    assert moe is not None
    _check_width(moe, layout)
    ranks = np.array(placed(load, moe, layout.ep, deployment.experts, histogram))
    tokens = TOKENS * layout.dp
    expected = expected_load(tokens, ranks)
    mean, fullest = _mean(expected), fullest_load(tokens, ranks, expected)
    sizes = {"hidden": model.hidden, "width": moe.ffn / layout.expert_tp, "num_experts": ranks.shape[1]}
    kind = expert_format(gpu, deployment.weights)
    known = np.minimum(tokens, fullest.rows) if layout.dp > 1 else tokens
    made = [expert_layer(gpu, each, known, precision=kind, **sizes) for each in (mean, fullest)]
    return made[0], made[1]


def _check_width(moe: Moe, layout: Layout) -> None:
    """InputError where experts cannot be split evenly [vLLM 0.19, fused_moe/config.py, FusedMoEConfig]."""
    if moe.ffn % layout.expert_tp:
        split = f"tp x dp / ep = {layout.tp} x {layout.dp} / {layout.ep} = {layout.expert_tp}"
        raise InputError(f"{split} does not divide the {moe.ffn} columns of an expert; take more ep, or replicas")


def _mean(loads: Load) -> Load:
    """That of the mean rank."""
    tiles = tuple(column.mean(axis=1) for column in loads.tiles)
    return Load(rows=loads.rows.mean(axis=1), active=loads.active.mean(axis=1), tiles=tiles)


def _routed(rank: Rank, moe: Moe) -> Array:
    """A score of each expert, and the best few."""
    columns = np.full_like(TOKENS, moe.num_experts), np.full_like(TOKENS, rank.model.hidden)
    scores = gemm.seconds(rank.gpu, TOKENS, *columns, plain(rank.gpu), cold_weights=True)
    return scores + streams(rank.gpu, NBYTES["router top-k softmax"] * moe.num_experts * TOKENS)
