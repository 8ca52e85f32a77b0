"""DeepEP: dispatch of tokens to the GPUs of their experts and the way back, by kernels that know the routing.

The normal kernels send a token once to every node that has one of its experts, on to each such rank there, and sum on
the way back in the same places; the low-latency kernels send it straight to each of its experts. Dispatch carries fp8
with a scale for every 128 values, combine carries bf16 [DeepSeek-AI, github.com/deepseek-ai/DeepEP].
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from sim.costs.collectives.chain import members
from sim.costs.collectives.deepep_kernels import (
    NETWORK_PARAMETERS,
    NODE_PARAMETERS,
    Mode,
    Phase,
    groups_hit,
    groups_open,
    sms_of_experts,
    times,
    token_nbytes,
)
from sim.costs.collectives.exchange import joined, scaled, spread
from sim.costs.law import Array, Law, Points, Values, fit_of
from sim.instructions import Activity, Pattern
from sim.instructions import Tokens as Tokens
from topologies.fabric import nic_of
from topologies.hardware import Cluster

MODES: Final[tuple[Mode, ...]] = ("normal", "low-latency")
PHASES: Final[tuple[Phase, ...]] = ("dispatch", "combine")
USUAL_SMS: Final = 20
"""SMs that the normal kernels take where nobody says [DeepEP, Buffer.num_sms]."""


def dispatch(
    cluster: Cluster, gpus: Sequence[int], tokens: Tokens, *, mode: Mode = "normal", num_sms: int = USUAL_SMS
) -> Activity:
    """Tokens to the ranks of their experts, notification included; experts are dealt evenly to the GPUs."""
    return _activity(cluster, tuple(gpus), tokens, mode, "dispatch", num_sms)


def combine(
    cluster: Cluster, gpus: Sequence[int], tokens: Tokens, *, mode: Mode = "normal", num_sms: int = USUAL_SMS
) -> Activity:
    """The way back of the same tokens, notification included, summed on the way."""
    return _activity(cluster, tuple(gpus), tokens, mode, "combine", num_sms)


@lru_cache(maxsize=65536)
def _activity(
    cluster: Cluster, gpus: tuple[int, ...], tokens: Tokens, mode: Mode, phase: Phase, num_sms: int
) -> Activity:
    if len(gpus) == 1 or tokens.num_tokens == 0:
        return Activity(latency=0.0, loads=())
    node, num_nodes = cluster.node_at(gpus[0]), len(members(cluster, gpus))
    law = NODE_LAWS[mode, phase] if num_nodes == 1 else NETWORK_LAWS[mode, phase]
    values = fit_of(node.scale_up if num_nodes == 1 else nic_of(node), law).values
    shape = _shape(tokens, phase, len(gpus), num_nodes, num_sms)
    latency, moving = times(node, mode, phase, values, shape, between=num_nodes > 1)
    patterns = _patterns(cluster, gpus, tokens, mode, phase)
    loads = joined(*(scaled(spread(cluster, gpus, pattern), nbytes) for pattern, nbytes in patterns))
    held = num_sms if mode == "normal" else int(sms_of_experts(tokens.num_experts, node.gpu.num_sms))
    ceiling = max(nbytes for _, nbytes in loads) / float(moving)
    return Activity(latency=float(latency), loads=loads, ceiling=ceiling, num_sms=held, patterns=patterns)


def _shape(tokens: Tokens, phase: Phase, num_gpus: int, num_nodes: int, num_sms: int) -> dict[str, Array]:
    facts = {
        "num_tokens": tokens.num_tokens,
        "hidden": _hidden(tokens, phase),
        "topk": tokens.topk,
        "num_experts": tokens.num_experts,
        "num_gpus": num_gpus,
        "num_nodes": num_nodes,
        "num_sms": num_sms,
        "gpus_open": groups_open(num_gpus, tokens.num_groups, tokens.top_groups),
        "nodes_open": groups_open(num_nodes, tokens.num_groups, tokens.top_groups),
        "experts_open": _experts_open(tokens),
    }
    return {name: np.asarray(float(value)) for name, value in facts.items()}


def _hidden(tokens: Tokens, phase: Phase) -> float:
    """Values of a token. A dispatch in bf16 moves the bytes of one in fp8 with 1.94 times as many values [the kernels
    copy bytes, whatever they mean: DeepEP, csrc/kernels/intranode.cu, int4]."""
    if phase == "combine" or tokens.in_fp8:
        return tokens.hidden
    return tokens.hidden * float(token_nbytes("normal", "combine", 1.0) / token_nbytes("normal", "dispatch", 1.0))


def _patterns(
    cluster: Cluster, gpus: tuple[int, ...], tokens: Tokens, mode: Mode, phase: Phase
) -> tuple[tuple[Pattern, float], ...]:
    """Bytes from each GPU to each other of its node, and to each in other nodes; on the way back they go the other
    way, which loads the same."""
    nbytes = tokens.num_tokens * float(token_nbytes(mode, phase, _hidden(tokens, phase)))
    if mode == "low-latency":
        each = nbytes * tokens.topk / len(gpus)
        return ("inside", each), ("direct", each)
    held = members(cluster, gpus)
    ranks, nodes = _parts_hit(tokens, len(gpus)), _parts_hit(tokens, len(held))
    local = max(map(len, held.values()))
    return ("inside", nbytes * ranks / local), ("aligned", nbytes * nodes / len(gpus))


def _parts_hit(tokens: Tokens, parts: int) -> float:
    """How many of so many equal parts of the GPUs a token goes to."""
    available = groups_open(parts, tokens.num_groups, tokens.top_groups)
    return float(groups_hit(available, tokens.topk, _experts_open(tokens)))


def _experts_open(tokens: Tokens) -> float:
    return tokens.num_experts * tokens.top_groups / tokens.num_groups


def _law(mode: Mode, phase: Phase, *, over_nodes: bool) -> Law[Cluster]:
    def seconds(cluster: Cluster, values: Values, points: Points) -> Array:
        latency, moving = times(cluster.node, mode, phase, values, points, between=over_nodes)
        return latency + moving

    inputs = ("num_tokens", "hidden", "topk", "num_experts", *(("num_nodes",) if over_nodes else ()))
    return Law(
        operation=f"deepep {mode} {phase} {'network' if over_nodes else 'node'}",
        inputs=(*inputs, "num_sms") if mode == "normal" else inputs,
        parameters=(NETWORK_PARAMETERS if over_nodes else NODE_PARAMETERS)[mode, phase],
        seconds=seconds,
    )


NODE_LAWS: Final = {(mode, phase): _law(mode, phase, over_nodes=False) for mode in MODES for phase in PHASES}
NETWORK_LAWS: Final = {(mode, phase): _law(mode, phase, over_nodes=True) for mode in MODES for phase in PHASES}
LAWS: Final = (*NODE_LAWS.values(), *NETWORK_LAWS.values())
