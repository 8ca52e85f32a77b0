"""Ranks that share a prompt's tokens: each computes every cp-th part of them, and sees the others' keys and values.

Round a ring they are passed while attention runs, and what attention does not hide shows [Liu et al. 2023, Ring
Attention, arXiv 2310.01889]; or heads are exchanged for tokens before it and back after it, and nothing hides that
[Jacobs et al. 2023, Ulysses, arXiv 2309.14509]. The cache stays where it was made, so decodes read a part on each rank.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from sim.costs import ELEMENT
from sim.costs.collectives import all_gather, alone, reduce_scatter
from sim.costs.collectives.all_to_all import all_to_all
from sim.costs.collectives.point_to_point import send
from sim.deployment import ContextKind
from sim.serving.costs.dense import kv_heads
from sim.serving.costs.parts import Rank
from sim.serving.passes import PassCosts, Shape, Stage, Steady
from topologies.document import InputError


@dataclass(frozen=True, slots=True)
class Sharing:
    """`PassCosts` of cp ranks, from those of one rank and, for each stage, its first GPU's rank and its layers."""

    one: PassCosts
    ranks: tuple[Rank, ...]
    num_layers: tuple[int, ...]
    _decodes: dict[int, list[float]] = field(init=False, default_factory=dict)

    @property
    def cp(self) -> int:
        return self.ranks[0].deployment.layout.cp

    @property
    def num_stages(self) -> int:
        return self.one.num_stages

    def host(self, num_seqs: int) -> float:
        """As one rank's."""
        return self.one.host(num_seqs)

    def stages(self, shape: Shape) -> list[Stage]:
        """Each stage, first to last."""
        return self._with_sharing(shape, self.one.stages(part_of(shape, self.cp)))

    def together(self, shapes: Sequence[Shape]) -> list[list[Stage]]:
        """Of ranks of data-parallel attention, each of which is cp ranks."""
        found = self.one.together([part_of(shape, self.cp) for shape in shapes])
        return [self._with_sharing(shape, stages) for shape, stages in zip(shapes, found, strict=True)]

    def decodes(self, num_decodes: int, context: int, num_passes: int, longest: int = 0) -> Steady:
        """Consecutive passes of the same requests."""
        passes = [
            self.stages(Shape(num_decodes, context + at * num_decodes, (), num_decodes, longest and longest + at))
            for at in range(num_passes)
        ]
        return Steady(passes[0], [[stage.attention for stage in stages] for stages in zip(*passes, strict=True)])

    def _with_sharing(self, shape: Shape, stages: Sequence[Stage]) -> list[Stage]:
        """The stages with what sharing takes. Attention takes no less than a cp-th of the whole: a kernel by itself is
        quicker while the clock has not followed the power limit down, kernels one after another are not."""
        alone = self._decoding(shape.num_decodes)
        if not shape.prefills:
            return [stage._replace(cp=seconds) for stage, seconds in zip(stages, alone, strict=True)]
        whole = self.one.stages(Shape(0, 0, shape.prefills))
        parts = self.one.stages(part_of(Shape(0, 0, shape.prefills), self.cp))
        heated = [max(0.0, one.attention / self.cp - part.attention) for one, part in zip(whole, parts, strict=True)]
        found = []
        for at, stage in enumerate(stages):
            seconds = self._prefilling(at, shape.prefills, parts[at].attention + heated[at])
            if shape.num_decodes:
                found.append(stage._replace(cp=alone[at], prefill=stage.prefill + seconds + heated[at]))
            else:
                found.append(stage._replace(cp=seconds, attention=stage.attention + heated[at]))
        return found

    def _decoding(self, num_decodes: int) -> list[float]:
        """Seconds of each stage that decodes' sharing takes."""
        found = self._decodes.get(num_decodes)
        if found is None:
            layers = zip(self.ranks, self.num_layers, strict=True)
            found = [count * decoding(rank, num_decodes) if num_decodes else 0.0 for rank, count in layers]
            self._decodes[num_decodes] = found
        return found

    def _prefilling(self, at: int, prefills: Sequence[tuple[int, int]], attention: float) -> float:
        """Seconds of a stage that chunks' sharing takes, beside so many of attention."""
        rank, layers = self.ranks[at], self.num_layers[at]
        hidden = attention / (layers * len(prefills))
        return layers * sum([prefilling(rank, *chunk, hidden) for chunk in prefills])


def part_of(shape: Shape, cp: int) -> Shape:
    """What one rank has of a pass: as much of each chunk's attention as the others (early and late tokens together: as
    if they lay in the middle), and a part of the keys that decodes meet."""
    chunks = tuple(_part(*one, cp) for one in shape.prefills)
    return shape._replace(context=-(-shape.context // cp), prefills=chunks, longest=-(-shape.longest // cp))


def prefilling(rank: Rank, new: int, cached: int, hidden: float) -> float:
    """Seconds of a layer that a chunk's sharing takes where attention hides so many of them."""
    layout = rank.deployment.layout
    return PREFILLING[layout.cp_kind](rank, new, cached, hidden)


def decoding(rank: Rank, num_decodes: int) -> float:
    """Seconds of a layer: queries to all ranks, and the parts of the results added up; or heads exchanged."""
    layout, gpus = rank.deployment.layout, sharing(rank)
    nbytes = float(ELEMENT * num_decodes * rank.model.query_width / rank.tp)
    if layout.cp_kind == "all-to-all":
        return _exchanged(rank, num_decodes / layout.cp)
    return sum(alone(rank.cluster, way(rank.cluster, gpus, nbytes)) for way in (all_gather, reduce_scatter))


def sharing(rank: Rank) -> tuple[int, ...]:
    """The cp ranks: tp GPUs apart."""
    first = rank.gpus[0]
    return tuple(range(first, first + rank.deployment.layout.cp * rank.tp, rank.tp))


def check(rank: Rank) -> None:
    """InputError where heads cannot be exchanged."""
    layout, heads = rank.deployment.layout, rank.model.num_heads // rank.tp
    if layout.cp_kind == "all-to-all" and heads % layout.cp:
        raise InputError(f"cp={layout.cp} does not divide the {heads} heads of a tp rank; take cp_kind=ring or less cp")


def _part(new: int, cached: int, cp: int) -> tuple[int, int]:
    own = -(-new // cp)
    return own, cached + (new - own) // 2


def _ring(rank: Rank, new: int, cached: int, hidden: float) -> float:
    """cp - 1 steps, each beside a cp-th part of the attention."""
    cp = rank.deployment.layout.cp
    step = _step(rank, ELEMENT * _key_width(rank) * -(-(new + cached) // cp))
    return (cp - 1) * max(0.0, step - hidden / cp)


@lru_cache(maxsize=65536)
def _step(rank: Rank, nbytes: float) -> float:
    """Seconds to pass keys and values on to the next rank, the slowest of them."""
    ring = sharing(rank)
    pairs = zip(ring, (*ring[1:], ring[0]), strict=True)
    return max(alone(rank.cluster, send(rank.cluster, *pair, nbytes)) for pair in pairs)


def _ulysses(rank: Rank, new: int, cached: int, hidden: float) -> float:
    del cached, hidden
    return _exchanged(rank, -(-new // rank.deployment.layout.cp))


@lru_cache(maxsize=65536)
def _exchanged(rank: Rank, tokens: float) -> float:
    """Queries, keys and values of so many tokens of a rank there, and results back."""
    queries, keys = ELEMENT * rank.model.query_width / rank.tp, ELEMENT * _key_width(rank)
    sizes = (tokens * (queries + keys), tokens * queries)
    return sum(alone(rank.cluster, all_to_all(rank.cluster, sharing(rank), nbytes)) for nbytes in sizes)


def _key_width(rank: Rank) -> int:
    """Numbers of a token that attention sees, on one rank of tp: keys and values, or the latent."""
    model = rank.model
    return model.mla.kv_lora_rank + model.mla.rope_head_dim if model.mla else 2 * kv_heads(rank) * model.head_dim


PREFILLING: Final[Mapping[ContextKind, Callable[[Rank, int, int, float], float]]] = {
    "ring": _ring,
    "all-to-all": _ulysses,
}
"""By the layout's cp_kind."""
