"""The figures of a served load, under the keys and definitions of `vllm bench serve`.

Beside them stand ours: blocks of the cache, the bubble, how busy the GPUs were, what it cost, where the time went.
[vLLM, vllm/benchmarks/serve.py at 009e6d4a.]
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sim.objectives import METRICS, Limits, Objective, limits_of
from sim.requests import Load
from sim.serving.record import CAUSES, Prefilled, Record, Steps
from sim.serving.results.cost import busy_fraction, costs
from sim.serving.results.goodput import attainments, described, good
from sim.serving.results.latency import PERCENTILES, Latencies, Sample, deviation, latencies, mean, percentile
from sim.serving.results.output import token_times
from sim.serving.results.series import pools
from topologies.quantity import GIB, MILLISECOND


def summarize(
    record: Record,
    *,
    num_gpus: int,
    price: float | None = None,
    objectives: Sequence[Objective] = (),
    limits: Limits | None = None,
) -> dict[str, object]:
    """The result as JSON: times in seconds or, where the key says so, milliseconds; price in US dollars per GPU-hour.

    `request_goodput` is of requests that keep all `limits` (None: those that the objectives set), null without any.
    """
    found = latencies(record)
    limits = limits_of(objectives) if limits is None else limits
    return {
        **_throughput(record, found, limits),
        **{key: value for metric in METRICS for key, value in _latency(metric, found.samples[metric]).items()},
        "objectives": [described(each) for each in attainments(found, objectives)],
        "kv_blocks": record.num_blocks,
        "preemptions": int(record.preemptions.sum()),
        "cached_prompt_tokens": int(record.cached.sum()),
        "bubble_fraction": bubble_fraction(record),
        "gpu_busy_fraction": busy_fraction(record, num_gpus),
        "stage_busy_fractions": _stages_busy(record.stage_busy, record.duration),
        "prefill": None if record.prefill is None else _prefill(record.prefill, record.duration),
        **costs(record, num_gpus, price),
        "breakdown": breakdown(record.causes[found.rows], found.e2el),
        "first_token_breakdown": breakdown(record.first_causes[found.rows], found.ttft),
    }


def asked(record: Record, load: Load, model: str) -> dict[str, object]:
    """What was asked, as the tool's file says it. Null: a rate where a trace says when requests come; no limit."""
    rate = math.inf if load.is_at_once else load.rate
    return {
        "model_id": model,
        "num_prompts": len(record.requests),
        "request_rate": "inf" if rate == math.inf else rate,
        "burstiness": load.burstiness,
        "max_concurrency": load.concurrency,
    }


def breakdown(causes: NDArray[np.float64], latency: NDArray[np.float64]) -> dict[str, float]:
    """The mean request's seconds by cause, as fractions of the mean latency: they sum to 1 (without requests, to 0)."""
    total = float(latency.sum())
    parts = causes.sum(axis=0) / total if total > 0 else np.zeros(len(CAUSES))
    return dict(zip(CAUSES, parts.tolist(), strict=True))


def bubble_fraction(record: Record) -> float:
    """The share of its time, while its replica has a pass under way, in which the mean pipeline stage does nothing.

    0 where there is one stage: what it waits for is its host, not another stage.
    """
    busy = under_way = 0.0
    first = 0
    for stages, _ in pools(record):
        num_ranks, num_stages = stages.shape
        if num_stages > 1:
            busy += float(stages.sum())
            under_way += num_stages * _under_way(record.steps, range(first, first + num_ranks))
        first += num_ranks
    return max(0.0, 1 - busy / under_way) if under_way > 0 else 0.0


def _prefill(apart: Prefilled, duration: float) -> dict[str, object]:
    """Of the replicas for prompts alone, and of what they sent to the others."""
    seconds = apart.seconds[~np.isnan(apart.seconds)]
    stages = _stages_busy(apart.stage_busy, duration)
    return {
        "gpu_busy_fraction": sum(stages) / len(stages),
        "stage_busy_fractions": stages,
        "kv_blocks": apart.num_blocks,
        "kv_transfer_gib": float(apart.nbytes.sum()) / GIB,
        "mean_kv_transfer_ms": (float(seconds.mean()) if len(seconds) else 0.0) / MILLISECOND,
    }


def _stages_busy(busy: NDArray[np.float64], duration: float) -> list[float]:
    """By stage, the share of the whole time in which those of the mean replica are busy."""
    return [float(seconds) / duration if duration > 0 else 0.0 for seconds in busy.mean(axis=0)]


def _under_way(steps: Steps, ranks: range) -> float:
    """Seconds in which a replica has at least one pass under way, of all these together."""
    chosen = (steps.replica >= ranks.start) & (steps.replica < ranks.stop)
    if not chosen.any():
        return 0.0
    apart = (steps.replica * (float(steps.end.max()) + 1))[chosen]
    order = np.argsort(steps.start[chosen] + apart, kind="stable")
    start, end = (steps.start[chosen] + apart)[order], (steps.end[chosen] + apart)[order]
    before = np.concatenate([[-np.inf], np.maximum.accumulate(end)[:-1]])
    return float(np.maximum(end - np.maximum(start, before), 0).sum())


def _throughput(record: Record, found: Latencies, limits: Limits) -> dict[str, object]:
    duration = record.duration
    prompt, output = (int(column[found.rows].sum()) for column in (record.requests.prompt, record.requests.output))
    kept = int(good(found, limits).sum()) if limits else None
    return {
        "duration": duration,
        "completed": len(found.rows),
        "failed": len(record.requests) - len(found.rows),
        "total_input_tokens": prompt,
        "total_output_tokens": output,
        "request_throughput": _rate(len(found.rows), duration),
        "request_goodput": None if kept is None else _rate(kept, duration),
        "output_throughput": _rate(output, duration),
        "total_token_throughput": _rate(prompt + output, duration),
        "max_output_tokens_per_s": _most_tokens_in_a_second(record),
        "max_concurrent_requests": _most_at_once(record.sent[found.rows], record.finished[found.rows]),
    }


def _latency(metric: str, values: Sample) -> dict[str, float]:
    seconds = {
        f"mean_{metric}_ms": mean(values),
        f"median_{metric}_ms": percentile(values, 50),
        f"std_{metric}_ms": deviation(values),
        **{f"p{percent:g}_{metric}_ms": percentile(values, percent) for percent in PERCENTILES},
    }
    return {key: value / MILLISECOND for key, value in seconds.items()}


def _rate(number: int, duration: float) -> float:
    return number / duration if duration > 0 else 0.0


def _most_tokens_in_a_second(record: Record) -> float:
    """In whole seconds, counted from the first request sent, with the two clocks of output.py."""
    times, tokens = token_times(record)
    if len(times) == 0:
        return 0.0
    return float(np.bincount((times - np.nanmin(record.sent)).astype(np.int64), tokens).max())


def _most_at_once(sent: NDArray[np.float64], finished: NDArray[np.float64]) -> int:
    """Requests under way at one instant; who leaves at it makes room for who comes. (Older versions of
    vLLM's tool count by whole seconds, which is at least as many.)"""
    if len(sent) == 0:
        return 0
    come = np.sort(sent)
    gone = np.searchsorted(np.sort(finished), come, side="right")
    return int((np.arange(1, len(come) + 1) - gone).max())
