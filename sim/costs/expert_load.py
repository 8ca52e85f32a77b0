"""How many rows the experts of one rank get: what decides how long their products take.

The rank that gets most decides, for all wait for it. Balanced routing gives every rank the same; in truth an expert's
popularity is spread like a power law [DeepSeek-V3 about x^-1.01, Qwen3-235B about x^-1.2: aiconfigurator, collector].
A product asks for three things only: rows, experts that have any, and tiles when rows are cut into tiles of a height.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.costs.law import Array
from sim.workload import ExpertLoad

HEIGHTS: Final = (16, 32, 64, 128)
"""Rows of a tile that the kernels have."""

NUM_DRAWS: Final = 32
"""Draws of a power law that are averaged; the mean load of the fullest rank is then good to about 3 %."""

FEW_LOW, FEW_HIGH, MOST_OF_TOKENS = 0.01, 2.0, 0.8
"""Limits of the popularities: where there are fewer rows than experts, else from 1 to that part of the tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Columns: `rows` of all experts of a rank, experts that are `active`, `tiles` for each of HEIGHTS."""

    rows: Array
    active: Array
    tiles: tuple[Array, ...]


@lru_cache(maxsize=4096)
def load_of(rows_per_expert: tuple[int, ...]) -> Load:
    """The load of a histogram: the rows of each expert of a rank."""
    return _mean_load(np.array([rows_per_expert], float))


def balanced_rows(num_rows: int, num_experts: int) -> tuple[int, ...]:
    """Rows dealt to a rank's experts as evenly as whole rows allow: they differ by one at most."""
    each, left = divmod(num_rows, num_experts)
    return (each + 1,) * left + (each,) * (num_experts - left)


def balanced_load(num_rows: Array, num_experts: Array) -> Load:
    """What `load_of(balanced_rows(...))` is, for columns of rows and experts of a rank."""
    each = np.floor(num_rows / num_experts)
    left = num_rows - each * num_experts
    tiles = tuple(
        left * np.ceil((each + 1) * (1 / h)) + (num_experts - left) * np.ceil(each * (1 / h)) for h in HEIGHTS
    )
    return Load(rows=num_rows, active=np.minimum(num_rows, num_experts), tiles=tiles)


def rank_rows(
    load: ExpertLoad, num_tokens: int, top_k: int, num_experts: int, ep: int, *, histogram: int = 0
) -> tuple[tuple[int, ...], ...]:
    """Rows of the experts of each of `ep` ranks, the fullest rank first; one rank where all have the same.

    `num_tokens` are those of all ranks together, `histogram` says which of the load's is meant. What a capacity does is
    not counted. A power law of exponent 0 is balanced.
    """
    if load.kind == "histogram":
        return _histogram_rows(load.histograms[histogram], num_tokens, top_k, ep)
    if load.kind == "power_law" and load.exponent:
        return _power_law_ranks(num_tokens, top_k, num_experts, ep, load.exponent)
    return (balanced_rows(num_tokens * top_k, num_experts)[: num_experts // ep],)


def power_law_rows(num_tokens: int, top_k: int, num_experts: int, ep: int, skew: float) -> tuple[int, ...]:
    """Rows of each expert of the fullest of `ep` ranks, most first: the mean of many draws of a power law."""
    return _power_law_ranks(num_tokens, top_k, num_experts, ep, skew)[0]


@lru_cache(maxsize=256)
def _power_law_ranks(
    num_tokens: int, top_k: int, num_experts: int, ep: int, skew: float
) -> tuple[tuple[int, ...], ...]:
    """Of all ranks, fullest first: of many draws the mean of the fullest rank, of the one after it, and so on."""
    mean = np.sort(_drawn_ranks(num_tokens, top_k, num_experts, ep, skew), axis=2)[:, :, ::-1].mean(axis=0)
    whole = _whole(mean.reshape(1, -1), num_tokens * top_k).reshape(mean.shape)
    return tuple(tuple(int(rows) for rows in rank) for rank in whole)


@lru_cache(maxsize=256)
def _histogram_rows(popularity: tuple[float, ...], num_tokens: int, top_k: int, ep: int) -> tuple[tuple[int, ...], ...]:
    """Experts are dealt to the ranks in order. No token goes to an expert twice, so the most popular ones may have less
    than their share."""
    shares = np.array([popularity]) / sum(popularity)
    rows = _within(num_tokens * top_k * shares, num_tokens, num_tokens * top_k)[0].reshape(ep, -1)
    ranks = [tuple(int(count) for count in rank) for rank in rows]
    return tuple(sorted(ranks, key=sum, reverse=True))


def power_law_load(num_tokens: Array, top_k: Array, num_experts: Array, ep: Array, skew: Array) -> Load:
    """The load of the fullest rank, a column per argument, the mean of many draws."""
    table = np.column_stack([num_tokens, top_k, num_experts, ep, skew])
    cases, place = np.unique(table, axis=0, return_inverse=True)
    loads = [_power_law_load(int(n), int(k), int(experts), int(ranks), float(a)) for n, k, experts, ranks, a in cases]
    index = place.reshape(-1)
    tiles = tuple(_gathered([load.tiles[i] for load in loads], index) for i in range(len(HEIGHTS)))
    return Load(
        rows=_gathered([load.rows for load in loads], index),
        active=_gathered([load.active for load in loads], index),
        tiles=tiles,
    )


def _gathered(parts: list[Array], index: NDArray[np.intp]) -> Array:
    column: Array = np.concatenate(parts)[index]
    return column


@lru_cache(maxsize=16384)
def _power_law_load(num_tokens: int, top_k: int, num_experts: int, ep: int, skew: float) -> Load:
    return _mean_load(_drawn_ranks(num_tokens, top_k, num_experts, ep, skew)[:, 0])


def _mean_load(histograms: Array) -> Load:
    """The mean over histograms, one a line."""
    return Load(
        rows=np.array([histograms.sum(axis=1).mean()]),
        active=np.array([(histograms > 0).sum(axis=1).mean()]),
        tiles=tuple(np.array([np.ceil(histograms / height).sum(axis=1).mean()]) for height in HEIGHTS),
    )


@lru_cache(maxsize=256)
def _drawn_ranks(num_tokens: int, top_k: int, num_experts: int, ep: int, skew: float) -> Array:
    """Histograms of all ranks, fullest first, for each draw of popularities from a bounded power law."""
    many = num_tokens * top_k > num_experts
    limits = (1.0, max(MOST_OF_TOKENS * num_tokens, 1.0)) if many else (FEW_LOW, FEW_HIGH)
    return drawn_ranks(num_tokens, top_k, num_experts, ep, skew, *limits)


def drawn_ranks(
    num_tokens: int, top_k: int, num_experts: int, ep: int, skew: float, low: float, high: float
) -> Array:  # fmt: skip
    """The same where popularities lie between two limits: draws x ranks x experts of each."""
    random = np.random.default_rng(0)
    popularity = _power_law(random.random((NUM_DRAWS, num_experts)), low, high, skew)
    num_rows = num_tokens * top_k
    wanted = num_rows * popularity / popularity.sum(axis=1, keepdims=True)
    rows = _within(wanted, num_tokens, num_rows, 1 + 0.01 * random.random(wanted.shape))
    ranks = rows.reshape(NUM_DRAWS, ep, num_experts // ep)
    order = np.argsort(-ranks.sum(axis=2), axis=1, kind="stable")
    sorted_ranks: Array = np.take_along_axis(ranks, order[:, :, None], axis=1)
    return sorted_ranks


def _within(wanted: Array, most: int, num_rows: int, uneven: Array | float = 1.0) -> Array:
    """Whole rows of which no expert has more than `most`, the number of tokens: none goes to one expert twice. What is
    too much goes to the others by their room, `uneven` times."""
    rows = _whole(wanted, num_rows)
    room = np.maximum(most - rows, 0.0) * uneven
    excess = np.maximum(rows - most, 0.0).sum(axis=1, keepdims=True)
    shared = excess * room / np.maximum(room.sum(axis=1, keepdims=True), 1.0)
    return _whole(np.minimum(rows, most) + shared, num_rows)


def _power_law(uniform: Array, low: float, high: float, exponent: float) -> Array:
    """Density x^-exponent between two limits, by the inverse of its distribution."""
    if exponent == 1:
        return low * (high / low) ** uniform
    power = 1 - exponent
    drawn: Array = (low**power + uniform * (high**power - low**power)) ** (1 / power)
    return drawn


def _whole(rows: Array, total: int) -> Array:
    """Rows rounded down, and one more for those with the largest remainders until each line sums to `total`."""
    floor = np.floor(rows)
    missing = total - floor.sum(axis=1, keepdims=True)
    place = np.argsort(np.argsort(floor - rows, axis=1, kind="stable"), axis=1, kind="stable")
    whole: Array = floor + (place < missing)
    return whole
