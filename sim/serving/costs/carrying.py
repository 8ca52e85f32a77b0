"""Tokens of data-parallel attention on their way to the experts of other ranks, and back.

Gathered by all and summed, as vLLM does by itself; sent to where they go by all-to-all; or by DeepEP's kernels: the
normal ones for prompts, those of low latency in the graphs of decoding. Each tp rank carries its part of the tokens;
where experts are not shared out, all of them, as each rank has a part of every expert.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from sim.costs import ELEMENT
from sim.costs.collectives import all_gather, alone, reduce_scatter
from sim.costs.collectives.all_to_all import all_to_all
from sim.costs.collectives.deepep import combine, dispatch
from sim.costs.collectives.deepep_kernels import Mode
from sim.costs.law import Array
from sim.deployment import ExpertExchange
from sim.instructions import Activity, Tokens
from sim.models import expert_parameters
from sim.serving.costs.formats import bytes_per_number, expert_format
from sim.serving.costs.parts import TOKENS, Rank
from topologies.fabric import Wire, capacity
from topologies.hardware import Cluster

_SPARSE: Final = np.unique(np.round(np.geomspace(1, TOKENS[-1], 40)))
LOW_LATENCY_TOKENS: Final = 1024
"""Tokens of a rank up to which DeepEP's low-latency kernels have buffers [vLLM 0.19, envs.py:
VLLM_MOE_DP_CHUNK_SIZE 256; DeepEP README: 128 of a decode batch, more on request]."""


@lru_cache(maxsize=64)
def carried(rank: Rank, *, graph: bool) -> Array:
    """Seconds there and back of a layer, by tokens of each dp rank; nothing where every rank knows all tokens."""
    layout = rank.deployment.layout
    if layout.dp == 1:
        return np.zeros_like(TOKENS)
    way = EXCHANGES[layout.ep_kind if layout.ep > 1 else "all-gather"]
    return np.interp(TOKENS, _SPARSE, [way(rank, float(tokens) / rank.tp, graph) for tokens in _SPARSE])


def moved_weights(rank: Rank) -> float:
    """Seconds of a layer in which experts change places: as if after so many passes each came from another rank, over
    the busiest wires' share of an exchange among all. Every pass has its share of them: the mean is right, but the one
    long pass in so many is missing from the highest percentiles of the time between tokens."""
    deployment = rank.deployment
    if deployment.experts.rebalanced is None or deployment.layout.ep == 1:
        return 0.0
    moe = rank.model.moe
    assert moe is not None
    slots = (moe.num_experts + deployment.experts.redundant) / deployment.layout.ep
    number = bytes_per_number(expert_format(rank.gpu, deployment.weights))
    gpus = sharing(rank)
    nbytes = slots * expert_parameters(rank.model) * number * deployment.layout.ep / len(gpus)
    return alone(rank.cluster, all_to_all(rank.cluster, gpus, nbytes)) / deployment.experts.rebalanced


def sharing(rank: Rank) -> tuple[int, ...]:
    """All tp x dp ranks of the stage."""
    layout = rank.deployment.layout
    return tuple(range(rank.gpus[0], rank.gpus[0] + layout.tp * layout.dp))


def _gathered(rank: Rank, tokens: float, graph: bool) -> float:
    """Parts of tokens among all ranks; where experts are not shared out, whole tokens among the dp ranks, for each tp
    rank at once [vLLM 0.19, distributed/device_communicators/all2all.py, AgRsAll2AllManager; the sum over tp comes
    after it]."""
    del graph
    gpus, layout = sharing(rank), rank.deployment.layout
    nbytes = ELEMENT * rank.model.hidden * tokens * len(gpus)
    groups = [gpus] if layout.ep > 1 else [gpus[at :: layout.tp] for at in range(layout.tp)]
    ways = all_gather, reduce_scatter
    return sum(_together(rank.cluster, [way(rank.cluster, group, nbytes) for group in groups]) for way in ways)


def _together(cluster: Cluster, activities: Sequence[Activity]) -> float:
    """Seconds of activities that are alike, where they share wires no less than these need for all."""
    loads: defaultdict[Wire, float] = defaultdict(float)
    for activity in activities:
        for wire, nbytes in activity.loads:
            loads[wire] += nbytes
    wires = max(nbytes / capacity(cluster, wire) for wire, nbytes in loads.items())
    return max(alone(cluster, activities[0]), activities[0].latency + wires)


def _sent(rank: Rank, tokens: float, graph: bool) -> float:
    """A row for each expert that a token goes to, there and back in 16 bits."""
    del graph
    moe = rank.model.moe
    assert moe is not None
    nbytes = ELEMENT * rank.model.hidden * tokens * moe.top_k
    return 2 * alone(rank.cluster, all_to_all(rank.cluster, sharing(rank), nbytes))


def _by_deepep(rank: Rank, tokens: float, graph: bool) -> float:
    moe = rank.model.moe
    assert moe is not None
    sent = Tokens(
        num_tokens=tokens,
        hidden=rank.model.hidden,
        topk=moe.top_k,
        num_experts=moe.num_experts,
        in_fp8=expert_format(rank.gpu, rank.deployment.weights) in ("fp8", "fp8_block"),
        num_groups=moe.num_groups,
        top_groups=moe.top_groups,
    )
    mode: Mode = "low-latency" if graph and tokens <= LOW_LATENCY_TOKENS else "normal"
    return sum(alone(rank.cluster, way(rank.cluster, sharing(rank), sent, mode=mode)) for way in (dispatch, combine))


EXCHANGES: Final[Mapping[ExpertExchange, Callable[[Rank, float, bool], float]]] = {
    "all-gather": _gathered,
    "all-to-all": _sent,
    "deepep": _by_deepep,
}
"""By the layout's ep_kind."""
