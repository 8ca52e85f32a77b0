"""What parts of a layer cost by number of tokens, as columns over TOKENS; a stage is a sum of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from sim.costs.law import Array
from sim.deployment import Deployment
from sim.frameworks.serving import ServingFramework
from sim.models import Transformer
from sim.workload import ROUTED, ExpertLoad
from topologies.hardware import Cluster, Gpu

DENSE: Final = 512
"""Up to so many tokens each number has a row."""


def _tokens() -> Array:
    """Then steps of 16, of 64, and of a few per cent."""
    steps = (np.arange(1, DENSE + 1), np.arange(528, 4097, 16), np.arange(4160, 16385, 64))
    far = np.unique(np.round(np.geomspace(16384, 1 << 20, 120)))[1:]
    return np.concatenate([*steps, far]).astype(np.float64)


TOKENS: Final = _tokens()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rank:
    """One GPU of a stage, and what it is part of: `gpus` are the ranks of its tensor parallelism, itself the first. One
    is like no other, so that what was computed for it is found again at once."""

    model: Transformer
    cluster: Cluster
    gpus: tuple[int, ...]
    deployment: Deployment
    framework: ServingFramework
    load: ExpertLoad = ROUTED

    @property
    def gpu(self) -> Gpu:
        return self.cluster.gpu_at(self.gpus[0])

    @property
    def tp(self) -> int:
        return len(self.gpus)


class Part(NamedTuple):
    """Seconds by number of tokens (rows of TOKENS): kernels; all-reduces of tp; all-to-all and the like of experts;
    waiting for the busiest rank's experts. `launches`: kernels that a host would start one by one."""

    compute: Array
    tp: Array
    ep: Array
    straggler: Array
    launches: float


def part(
    compute: Array | float = 0.0,
    tp: Array | float = 0.0,
    ep: Array | float = 0.0,
    straggler: Array | float = 0.0,
    launches: float = 0.0,
) -> Part:
    """A part of which some columns are nought."""

    def column(one: Array | float) -> Array:
        return np.broadcast_to(np.asarray(one, np.float64), TOKENS.shape)

    return Part(column(compute), column(tp), column(ep), column(straggler), launches)


def total(parts: Iterable[tuple[float, Part]]) -> Part:
    """The sum of parts, each so many times."""
    sums = part()
    for count, one in parts:
        sums = Part(
            sums.compute + count * one.compute,
            sums.tp + count * one.tp,
            sums.ep + count * one.ep,
            sums.straggler + count * one.straggler,
            sums.launches + count * one.launches,
        )
    return sums
