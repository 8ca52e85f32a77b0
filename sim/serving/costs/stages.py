"""The stages of a replica: which layers each has, and the tables of what they cost together.

A layer is attention and an MLP, each followed by a sum over tp and a norm; what these are, its kind says.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Final

from sim.deployment import Deployment, Layout
from sim.frameworks.serving import ServingFramework
from sim.models import LayerKind, Transformer, layer_kinds
from sim.plan import divisors
from sim.serving.costs.attention import Core, chunk_table, grouped_core
from sim.serving.costs.communication import sent
from sim.serving.costs.dense import around_attention, dense_mlp, norm, reduction
from sim.serving.costs.ends import embedding, head
from sim.serving.costs.experts import experts_mlp, numbered, shared_experts
from sim.serving.costs.latent import around_latent, latent_core
from sim.serving.costs.parts import Part, Rank, part, total
from sim.serving.costs.tables import CoreTables, StageTables, by_tokens
from sim.workload import ExpertLoad
from topologies.document import InputError
from topologies.hardware import Cluster

MLPS: Final[Mapping[bool, Callable[..., Part]]] = {False: dense_mlp, True: experts_mlp}
"""By whether a layer has experts: its MLP (rank, kind, graph), the sum over tp apart."""
ATTENTIONS: Final[Mapping[bool, tuple[Callable[..., Part], Callable[[Rank, LayerKind], Core]]]] = {
    False: (around_attention, grouped_core),
    True: (around_latent, latent_core),
}
"""By whether attention is latent: what goes by tokens (rank, kind, graph), and its core."""

_CORE_LAUNCHES: Final = 2
"""The write to the cache, and attention."""


def stage_layers(model: Transformer, deployment: Deployment) -> tuple[tuple[LayerKind, ...], ...]:
    """The layers of each stage: as the layout says, else evenly, the remainder on the stages before the last [vLLM,
    distributed/utils.py, get_pp_indices]. Raises InputError where they do not add up."""
    pp, kinds = deployment.layout.pp, layer_kinds(model)
    _check(deployment.layout, len(kinds))
    counts = deployment.layout.layers or _even(len(kinds), pp)
    if len(counts) != pp or sum(counts) != len(kinds):
        raise InputError(f"layers: {model.name} has {len(kinds)} for pp={pp}; give {pp} numbers that add up to it")
    ends = tuple(accumulate(counts))
    return tuple(kinds[end - count : end] for end, count in zip(ends, counts, strict=True))


def _check(layout: Layout, num_layers: int) -> None:
    ranks = layout.tp * layout.dp
    if layout.pp > num_layers:
        raise InputError(f"pp={layout.pp} stages for {num_layers} layers; use at most {num_layers}")
    if ranks % layout.ep:
        raise InputError(f"ep={layout.ep} does not divide tp x dp = {ranks}; use {divisors(ranks)}")


def _even(num_layers: int, pp: int) -> tuple[int, ...]:
    counts = [num_layers // pp] * pp
    for stage in range(num_layers % pp):
        counts[max(0, pp - 2 - stage)] += 1
    return tuple(counts)


def stage_tables(
    model: Transformer, cluster: Cluster, deployment: Deployment, framework: ServingFramework, load: ExpertLoad
) -> tuple[StageTables, ...]:
    """Of each stage, first to last, on the cluster's first GPUs."""
    stages = numbered(stage_layers(model, deployment), load)
    ranks = [rank_of(model, cluster, deployment, framework, stage, load) for stage in range(len(stages))]
    last = len(stages) - 1
    return tuple(
        _tables(rank, ranks[min(stage + 1, last)], kinds, core, is_first=stage == 0, is_last=stage == last)
        for stage, (rank, kinds, core) in enumerate(zip(ranks, stages, _cores(ranks, stages), strict=True))
    )


def rank_of(
    model: Transformer, cluster: Cluster, deployment: Deployment, framework: ServingFramework, stage: int,
    load: ExpertLoad,
) -> Rank:  # fmt: skip
    """The first rank of a stage."""
    tp = deployment.layout.tp
    first = stage * (deployment.layout.num_gpus // deployment.layout.pp)
    return Rank(
        model=model, cluster=cluster, gpus=tuple(range(first, first + tp)), deployment=deployment, framework=framework,
        load=load,
    )  # fmt: skip


def _cores(ranks: Sequence[Rank], stages: Sequence[Sequence[LayerKind]]) -> list[CoreTables]:
    """Attention's tables of each stage; stages of the same GPUs with as many layers of each window share them."""
    made: dict[tuple[object, ...], CoreTables] = {}
    found = []
    for rank, kinds in zip(ranks, stages, strict=True):
        counts = Counter(LayerKind(window=kind.window) for kind in kinds)
        alike = rank.gpu, *counts.items()
        if alike not in made:
            made[alike] = _core_tables(rank, counts)
        found.append(made[alike])
    return found


def _core_tables(rank: Rank, counts: Mapping[LayerKind, int]) -> CoreTables:
    core = ATTENTIONS[rank.model.mla is not None][1]
    cores = tuple((count, core(rank, kind)) for kind, count in counts.items())
    return CoreTables(cores=cores, chunks=chunk_table(cores))


def _tables(
    rank: Rank, following: Rank, kinds: Sequence[LayerKind], core: CoreTables, *, is_first: bool, is_last: bool
) -> StageTables:
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    sends = part() if is_last else part(compute=sent(rank, following.gpus))
    return StageTables(
        graph=by_tokens(_stage_part(rank, counts, is_first, graph=True), 0.0),
        eager=by_tokens(_stage_part(rank, counts, is_first, graph=False), rank.framework.launch_seconds),
        sampled=by_tokens(head(rank) if is_last else part(), 0.0),
        core=core,
        send=by_tokens(sends, 0.0),
        experts=by_tokens(total((float(count), shared_experts(rank, kind)) for kind, count in counts.items()), 0.0),
    )


def _stage_part(rank: Rank, counts: Mapping[LayerKind, int], is_first: bool, *, graph: bool) -> Part:
    """All that goes by tokens: each layer, and on the first stage the embedding and the first norm."""
    parts = [(float(count), layer_part(rank, kind, graph=graph)) for kind, count in counts.items()]
    return total([*parts, (float(is_first), embedding(rank, graph=graph)), (float(is_first), part(norm(rank)))])


def layer_part(rank: Rank, kind: LayerKind, *, graph: bool) -> Part:
    """A layer but for attention's core."""
    attention = ATTENTIONS[rank.model.mla is not None][0](rank, kind, graph=graph)
    mlp = MLPS[kind.has_experts](rank, kind, graph=graph)
    sums = reduction(rank, graph=graph)
    return total([(1.0, attention), (1.0, mlp), (2.0, sums), (1.0, part(launches=_CORE_LAUNCHES))])
