"""A served load over time, in windows of equal length: queue, cache, tokens, latencies, promises kept, and cost.

Gauges (running, waiting, use of the cache) are those at a window's end, as Prometheus would scrape them: what each
scheduler said in its last pass. Latencies are of requests whose first token, or whose last, came to its client in the
window; further tokens count when their pass was done at the server (see output.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.objectives import Limits
from sim.serving.record import Record, Steps
from sim.serving.results.goodput import good
from sim.serving.results.latency import Latencies, latencies
from sim.serving.results.output import token_times
from sim.serving.results.windows import Windows, windows
from topologies.quantity import HOUR

PERCENTILES: Final = (50.0, 95.0, 99.0)
Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """`columns` by name, a row for each window; NaN where nothing is known of it. `window` in seconds.

    t_s: the window's end, in seconds from the first request; running, waiting: requests; kv_use: fraction of the cache
    that requests hold; prompt_tokens_per_s, output_tokens_per_s: of prompts done and tokens out in the window;
    pNN_ttft_s, pNN_tpot_s; slo_attainment: share of the requests answered in it that kept all limits;
    cost_per_query_usd: of all GPUs in the window, over requests answered in it.
    """

    window: float
    columns: dict[str, Column]


def series(
    record: Record,
    *,
    num_gpus: int,
    price: float | None = None,
    limits: Limits | None = None,
    window: float | None = None,
) -> Series:
    """Windows of `window` seconds; None: a second, or as many whole ones as make at most 600 windows.

    price: US dollars per GPU-hour; limits: those that a good request keeps.
    """
    over, found = windows(record, window), latencies(record)
    finished = over.of(record.finished[found.rows])
    answered = over.counts(finished)
    kept = over.counts(finished, good(found, limits or {}).astype(float))
    dollars = np.nan if price is None else num_gpus * over.seconds / HOUR * price
    columns = {
        "t_s": over.ends - over.begin,
        **gauges(record, over.ends),
        **_tokens(record, over),
        **_latencies(record, found, over),
        "slo_attainment": _ratio(kept, answered) if limits else np.full(over.number, np.nan),
        "cost_per_query_usd": _ratio(np.full(over.number, dollars), answered),
    }
    return Series(window=over.seconds, columns=columns)


def gauges(record: Record, times: Column) -> dict[str, Column]:
    """What all schedulers together said last before each time: requests that run and wait, the share of blocks held."""
    steps, blocks = record.steps, sum(busy.shape[0] * each for busy, each in pools(record))
    until = _until(steps)
    return {
        "running": _held(steps, until, steps.running, times),
        "waiting": _held(steps, until, steps.waiting, times),
        "kv_use": _held(steps, until, steps.used_blocks, times) / max(blocks, 1),
    }


def pools(record: Record) -> list[tuple[NDArray[np.float64], int]]:
    """Of replicas that decode, then of those for prompts alone: seconds that stages were busy, ranks x stages, and
    blocks of each rank's cache."""
    apart = record.prefill
    both = [] if apart is None else [(apart.stage_busy, apart.num_blocks)]
    return [(record.stage_busy, record.num_blocks), *both]


def percentiles_by(
    group: NDArray[np.intp], values: Column, number: int, percents: Sequence[float]
) -> dict[float, Column]:
    """Of each of `number` groups the percentiles of its values, as numpy.percentile; NaN for an empty one."""
    order = np.lexsort((values, group))
    ranked = np.append(values[order], np.nan)
    counts = np.bincount(group, minlength=number)
    first = np.cumsum(counts) - counts
    found = {}
    for percent in percents:
        rank = percent / 100 * np.maximum(counts - 1, 0)
        below = np.floor(rank).astype(np.intp)
        low = ranked[first + below]
        high = ranked[first + np.minimum(below + 1, np.maximum(counts - 1, 0))]
        found[percent] = np.where(counts > 0, low + (high - low) * (rank - below), np.nan)
    return found


def _tokens(record: Record, over: Windows) -> dict[str, Column]:
    rows = np.flatnonzero(~np.isnan(record.first_token))
    prompts = over.counts(over.of(record.first_token[rows]), record.requests.prompt[rows].astype(float))
    times, tokens = token_times(record)
    return {
        "prompt_tokens_per_s": prompts / over.seconds,
        "output_tokens_per_s": over.counts(over.of(times), tokens) / over.seconds,
    }


def _latencies(record: Record, found: Latencies, over: Windows) -> dict[str, Column]:
    several = ~np.isnan(found.tpot)
    first, last = over.of(record.first_token[found.rows]), over.of(record.finished[found.rows[several]])
    ttft = percentiles_by(first, found.ttft, over.number, PERCENTILES)
    tpot = percentiles_by(last, found.tpot[several], over.number, PERCENTILES)
    return {
        **{f"p{percent:g}_ttft_s": column for percent, column in ttft.items()},
        **{f"p{percent:g}_tpot_s": column for percent, column in tpot.items()},
    }


def _until(steps: Steps) -> Column:
    """By step, until when what it said holds: its replica's next pass, or, if that rests before it, its last end."""
    order = np.lexsort((steps.start, steps.replica))
    replica, start, end = steps.replica[order], steps.start[order], steps.end[order]
    apart = replica * (float(end.max(initial=0.0)) + 1)
    ended = np.maximum.accumulate(end + apart) - apart
    following = np.append(start[1:], np.inf)
    following[np.flatnonzero(np.diff(replica))] = np.inf
    until = np.empty(len(order))
    until[order] = np.minimum(following, ended)
    return until


def _held(steps: Steps, until: Column, values: NDArray[np.int64], times: Column) -> Column:
    """The sum over replicas of what holds at each time."""
    begun, over = np.argsort(steps.start, kind="stable"), np.argsort(until, kind="stable")
    rising = np.concatenate([[0], np.cumsum(values[begun])])
    falling = np.concatenate([[0], np.cumsum(values[over])])
    come = rising[np.searchsorted(steps.start[begun], times, side="left")]
    gone = falling[np.searchsorted(until[over], times, side="left")]
    held: Column = (come - gone).astype(np.float64)
    return held


def _ratio(amounts: Column, numbers: Column) -> Column:
    return np.where(numbers > 0, amounts / np.maximum(numbers, 1), np.nan)
