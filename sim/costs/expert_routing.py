"""Which experts a batch meets: each token goes to a few of many, so few tokens touch few experts, and many touch all.

A token goes to expert e with probability p_e, and tokens choose apart: t of them leave it alone with probability
(1 - p_e)^t. The experts that are touched have their weights read; that is the physics of decoding a mixture of experts.
Popularities are those of a whole load: they last, and a batch's own unevenness comes on top by chance.
"""

from functools import lru_cache
from typing import Final

import numpy as np

from sim.costs.expert_load import HEIGHTS, Load, drawn_ranks, rank_rows
from sim.costs.law import Array
from sim.workload import ExpertLoad

DRAWN: Final = 4096
"""Tokens of the batch that popularities are counted in."""
SPAN: Final = 0.625
"""An expert is at most so many times as popular as the least of a layer's, for each of the layer's experts: the finer
they are cut, the more they are specialists. With an exponent of 1 it is 80 for the 128 of Qwen3-30B-A3B, where that
gives both what share of experts takes 90 % of the choices and the entropy [gpu-container, handbook, derisk], and 5 for
the 8 of Mixtral 8x7B [Jiang et al. 2024, figure 7]."""
SPARSE: Final = np.unique(np.round(np.geomspace(1, 1 << 20, 60)))
"""Tokens at which the fullest rank is looked for; between them its experts are a straight line."""
MEANS: Final = np.geomspace(0.01, 4096, 160)
"""Mean rows of an expert between which the number of its tiles is interpolated; beyond, half a tile is not full."""


@lru_cache(maxsize=1024)
def chances(
    load: ExpertLoad, num_experts: int, top_k: int, ep: int, histogram: int = 0
) -> tuple[tuple[float, ...], ...]:
    """For each of `ep` ranks, the fullest first, and each of its experts, that a token goes there; they sum to top_k.

    A balanced load is that of random routing without favourites; of a power law it is the mean over many draws.
    """
    if load.kind == "balanced" or (load.kind == "power_law" and not load.exponent):
        return ((top_k / num_experts,) * (num_experts // ep),) * ep
    if load.kind == "power_law":
        drawn = drawn_ranks(DRAWN, top_k, num_experts, ep, load.exponent, 1.0, max(SPAN * num_experts, 1.0))
        return _shares(np.sort(drawn, axis=2)[:, :, ::-1].mean(axis=0))
    return _shares(np.array(rank_rows(load, DRAWN, top_k, num_experts, ep, histogram=histogram), float))


def _shares(ranks: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, (ranks / DRAWN).tolist()))


def expected_load(num_tokens: Array, chances: Array) -> Load:
    """The mean load for columns of tokens: of each rank (axis 1), whose experts tokens go to with such chances."""
    tokens = num_tokens[:, None, None]
    means = tokens * chances
    active = 1 - np.power(1 - np.minimum(chances, 1.0), tokens)
    rarely = 1 - np.exp(-means)
    scale = np.divide(active, rarely, out=np.ones_like(active), where=rarely > 0)
    return Load(
        rows=means.sum(axis=2),
        active=active.sum(axis=2),
        tiles=tuple((_tiles(means, place) * scale).sum(axis=2) for place in range(len(HEIGHTS))),
    )


def fullest_load(num_tokens: Array, chances: Array, load: Load) -> Load:
    """The mean load of whichever rank is the fullest, which is another in each pass: few tokens do not spread evenly,
    and one token alone fills the ranks that it goes to. Rows and tiles grow with the experts that are touched, where
    those of the rank that is fullest on average are not more. `load`: what is expected of each rank."""
    rows, active, tiles = load.rows.max(axis=1), load.active.max(axis=1), [one.max(axis=1) for one in load.tiles]
    most = np.maximum(active, np.interp(num_tokens, SPARSE, _most_active(chances)))
    tiles = [one * most / active for one in tiles]
    return Load(rows=np.maximum(rows, most), active=most, tiles=tuple(tiles))


def _most_active(chances: Array) -> Array:
    """For each of SPARSE tokens the mean of the most experts that are touched on one of the ranks, ranks taken apart.

    On each rank, one expert after the other: the chance that so many are touched. A token's experts are different ones,
    so at least one rank has its even share of them.
    """
    num_ranks, num_experts = chances.shape
    touched = 1 - np.power(1 - np.minimum(chances, 1.0), SPARSE[:, None, None])
    exactly = np.zeros((len(SPARSE), num_ranks, num_experts + 1))
    exactly[..., 0] = 1
    for expert in range(num_experts):
        comes = touched[..., expert, None]
        exactly[..., 1:] = exactly[..., 1:] * (1 - comes) + exactly[..., :-1] * comes
        exactly[..., 0] *= 1 - comes[..., 0]
    at_most = np.minimum(np.cumsum(exactly, axis=2), 1.0).prod(axis=1)
    least = np.ceil(round(chances.sum()) / num_ranks)
    most: Array = np.maximum((1 - at_most[:, :-1]).sum(axis=1), least)
    return most


def _tiles(means: Array, place: int) -> Array:
    """Tiles of a height for so many rows in the mean, rows spread like a Poisson's."""
    height = HEIGHTS[place]
    tiles: Array = np.interp(means, MEANS, _table()[place])
    tiles = np.where(means < MEANS[0], means, tiles)
    return np.where(means > MEANS[-1], means / height + 0.5, tiles)


@lru_cache(maxsize=1)
def _table() -> Array:
    """For each of HEIGHTS and MEANS the mean of ceil(rows / height)."""
    rows = np.arange(1, int(MEANS[-1] + 10 * np.sqrt(MEANS[-1])))
    weights = np.exp(rows * np.log(MEANS)[:, None] - MEANS[:, None] - np.cumsum(np.log(rows)))
    return np.array([weights @ np.ceil(rows / height) for height in HEIGHTS])
