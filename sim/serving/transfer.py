"""A cache on its way from the GPUs that computed a prompt to those that will decode it: who sends what to whom.

Each GPU that decodes reads its layers and heads from one that has them, all at once and without the host [vLLM 0.19,
distributed/kv_transfer/kv_connector/v1/nixl_connector.py]. So a request's messages are one activity on the wires.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from sim.costs.collectives.point_to_point import at_once, send
from sim.deployment import Deployment, Layout
from sim.flow import Flow, flow_of
from sim.models import Transformer, layer_kinds
from sim.serving.costs.stages import stage_layers
from sim.serving.memory import token_nbytes
from topologies.fabric import Wire
from topologies.hardware import Cluster

WHOLE = 4096
"""Tokens of the message whose latency stands for all: only NVLink's depends on the size, by microseconds."""


class Message(NamedTuple):
    """From one GPU of a dp rank to one of another, both counted from their rank's first: bytes of all its tokens."""

    source: int
    target: int
    nbytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """From every dp rank of `prefill`'s replicas to every one of `decode`'s, on consecutive GPUs of the cluster: first
    those that decode. `numbers` of the wires that have been used so far, in the order in which they were met."""

    model: Transformer
    cluster: Cluster
    prefill: Deployment
    decode: Deployment
    numbers: dict[Wire, int] = field(default_factory=dict, compare=False)
    _flows: dict[tuple[int, int], Flow] = field(default_factory=dict, compare=False)

    def flow(self, source: int, target: int, tokens: int) -> Flow:
        """The cache of so many tokens from a dp rank that computes prompts to one that decodes."""
        flow = self._flows.get((source, target))
        if flow is None:
            flow = self._flows[source, target] = self._whole(source, target)
        share = self.nbytes(tokens) / self.nbytes(WHOLE)
        return Flow(
            latency=flow.latency,
            nbytes=flow.nbytes * share,
            usage=flow.usage,
            speed=flow.speed,
            ceiling=flow.ceiling,
        )

    def nbytes(self, tokens: int) -> float:
        """Bytes that move for so many tokens: every GPU that decodes gets its own part, copies included."""
        kept = sum([count * min(tokens, window or tokens) for window, count in _windows(self.model)])
        return kept * self.decode.layout.tp * token_nbytes(self.model, self.decode)

    def _whole(self, source: int, target: int) -> Flow:
        decoding = self.decode.replicas * self.decode.layout.num_gpus
        first = decoding + first_gpu(self.prefill.layout, source)
        other = first_gpu(self.decode.layout, target)
        messages = [
            send(self.cluster, first + each.source, other + each.target, each.nbytes)
            for each in parts(self.model, self.prefill, self.decode, WHOLE)
        ]
        return flow_of(self.cluster, at_once(messages), self.numbers)


def first_gpu(layout: Layout, rank: int) -> int:
    """The first GPU of a dp rank, counted through all replicas of a layout: in a stage, dp ranks are tp x cp apart."""
    replica, dp = divmod(rank, layout.dp)
    return replica * layout.num_gpus + dp * layout.tp * layout.cp


def parts(model: Transformer, prefill: Deployment, decode: Deployment, tokens: int) -> list[Message]:
    """The messages that bring the cache of so many tokens from one dp rank to another.

    Law: every GPU that decodes gets all layers of its stage, and its heads of each, once.
    """
    found: dict[tuple[int, int], float] = {}
    cps = prefill.layout.cp * decode.layout.cp
    token = token_nbytes(model, decode) / cps
    for one, other, kept in _shared_layers(model, prefill, decode, tokens):
        for source, target, heads in _shared_heads(model, prefill.layout.tp, decode.layout.tp):
            for c in range(cps):
                sender = _gpu(prefill.layout, one, c // decode.layout.cp, source)
                receiver = _gpu(decode.layout, other, c % decode.layout.cp, target)
                found[sender, receiver] = found.get((sender, receiver), 0.0) + token * heads * kept
    return [Message(source, target, nbytes) for (source, target), nbytes in found.items()]


@lru_cache(maxsize=64)
def _windows(model: Transformer) -> tuple[tuple[int | None, int], ...]:
    """How many layers have which window: they keep the keys of no more tokens than that."""
    return tuple(Counter(kind.window for kind in layer_kinds(model)).items())


def _gpu(layout: Layout, stage: int, cp: int, tp: int) -> int:
    """A GPU counted from its dp rank's first."""
    return stage * (layout.num_gpus // layout.pp) + cp * layout.tp + tp


def _shared_layers(
    model: Transformer, prefill: Deployment, decode: Deployment, tokens: int
) -> Iterator[tuple[int, int, int]]:
    """For each stage of one and of the other that have layers in common: tokens that those keep, added up."""
    windows = [kind.window or tokens for kind in layer_kinds(model)]
    for one, sent in enumerate(_stages(model, prefill)):
        for other, received in enumerate(_stages(model, decode)):
            common = range(max(sent.start, received.start), min(sent.stop, received.stop))
            if common:
                yield one, other, sum(min(tokens, windows[layer]) for layer in common)


def _stages(model: Transformer, deployment: Deployment) -> list[range]:
    counts = [len(stage) for stage in stage_layers(model, deployment)]
    return [range(end - count, end) for end, count in zip(accumulate(counts), counts, strict=True)]


def _shared_heads(model: Transformer, senders: int, receivers: int) -> Iterator[tuple[int, int, float]]:
    """For each tp rank that decodes, who sends it which share of its heads.

    A latent, which all have, comes from the rank at the same place, as does a head of which there are copies.
    """
    heads = 1 if model.mla is not None else model.num_kv_heads
    own = max(1, heads // receivers)
    for receiver in range(receivers):
        first = receiver * heads // receivers
        place = receiver * senders // receivers
        for head in range(first, first + own):
            holders = range(head * senders // heads, max((head + 1) * senders // heads, head * senders // heads + 1))
            yield min(max(place, holders[0]), holders[-1]), receiver, 1 / own
