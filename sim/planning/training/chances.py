"""Which of several plans is really the fastest, and what it costs to be wrong.

Errors of plans on one machine go together: if its matrix products are slower than thought, they are in every plan. So
an error is drawn for each cause and not for each plan, and moves a plan by that cause's share of its step: what plans
have in common cancels. What no cost knows of is drawn for each kind of time (compute, exposed communication, bubble),
for plans that spend their time alike are wrong alike.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.planning.training.work import Summary
from sim.uncertainty import EIGHTY_PERCENT, UNMODELLED, Spread

DRAWS: Final = 20_000
SEED: Final = 0


class Chances(NamedTuple):
    """Of each plan the chance that none of the others is faster, and its regret: by how much longer its steps take than
    those of the fastest, on average, as a share."""

    fastest: tuple[float, ...]
    regret: tuple[float, ...]


def chances(seconds: Sequence[float], summaries: Sequence[Summary]) -> Chances:
    """Of plans with these seconds per step; the same for the same plans."""
    random = np.random.default_rng(SEED)
    logs = np.tile(np.log(np.array(seconds)), (DRAWS, 1))
    moved = [_moved_by(one) for one in summaries]
    for cause in dict.fromkeys(cause for one in moved for cause in one):
        draws = random.standard_normal(DRAWS)
        logs += np.column_stack([_errors(draws, one.get(cause, (0.0, 0.0))) for one in moved])
    return _of(np.exp(logs))


def _of(seconds: NDArray[np.float64]) -> Chances:
    """From what each plan takes in each draw (draws x plans)."""
    least = seconds.min(axis=1, keepdims=True)
    is_fastest = seconds == least
    share = is_fastest / is_fastest.sum(axis=1, keepdims=True)
    return Chances(tuple(share.mean(axis=0).tolist()), tuple((seconds / least - 1).mean(axis=0).tolist()))


def _errors(draws: NDArray[np.float64], spread: Spread) -> NDArray[np.float64]:
    """ln(real / predicted), from the 10th and the 90th percentile."""
    return np.where(draws < 0, abs(spread[0]), abs(spread[1])) * draws / EIGHTY_PERCENT


def _moved_by(summary: Summary) -> Mapping[str, Spread]:
    """By cause, how far it moves the whole step: share x spread. A bubble is as sure as the work waited for."""
    found: dict[str, Spread] = {}
    for one in summary.shares:
        low, high = found.get(one.cause, (0.0, 0.0))
        found[one.cause] = low + one.share * one.spread[0], high + one.share * one.spread[1]
    for key, share in summary.breakdown.items():
        found[f"what no cost knows of: {key}"] = share * UNMODELLED[0], share * UNMODELLED[1]
    return found
