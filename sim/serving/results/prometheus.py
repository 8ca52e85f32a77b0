"""A served load as a Prometheus server would have scraped it from vLLM, in OpenMetrics text with timestamps.

Names, labels and buckets are vLLM's [0.19.0, vllm/v1/metrics/loggers.py, with its HELP in other words]; ours begin with
`shardsim:`. All replicas are counted together, so that no engine is named, and an answer of one token has no time per
output token. Latencies are those of clients. Preemptions and single gaps are left out: a record has not when they were.
Into Prometheus it goes by `promtool tsdb create-blocks-from openmetrics FILE DIRECTORY`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.objectives import Limits
from sim.serving.record import Record
from sim.serving.results.goodput import good
from sim.serving.results.latency import Latencies, latencies
from sim.serving.results.output import token_times
from sim.serving.results.series import gauges
from sim.serving.results.windows import Windows, windows
from topologies.quantity import HOUR

BEGAN: Final = 1_767_225_600.0
"""Seconds from 1970 to 2026-01-01 00:00 UTC, when a load begins unless another time is asked for."""
TTFT_BUCKETS: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0,
    640.0, 2560.0,
)  # fmt: skip
TPOT_BUCKETS: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
LATENCY_BUCKETS: Final = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """A metric: its samples' endings (name suffix, label), and their values by time (rows) and ending (columns)."""

    name: str
    kind: str
    about: str
    endings: Sequence[tuple[str, str]]
    values: Column


def openmetrics(
    record: Record,
    *,
    model: str,
    num_gpus: int,
    price: float | None = None,
    limits: Limits | None = None,
    began: float = BEGAN,
    window: float | None = None,
) -> bytes:
    """What a scrape at the beginning and at the end of each window says; `began` in seconds since 1970.

    price (US dollars per GPU-hour) gives `shardsim:cost_usd`, limits give `shardsim:good_requests`.
    """
    over, found = windows(record, window), latencies(record)
    families = [*_gauges(record, over), *_counters(record, found, over), *_histograms(record, found, over)]
    if limits:
        kept = over.counts(over.of(record.finished[found.rows]), good(found, limits).astype(float))
        families.append(_counter("shardsim:good_requests", "Requests that kept every limit.", kept))
    if price is not None:
        each = np.full(over.number, num_gpus * over.seconds / HOUR * price)
        families.append(_counter("shardsim:cost_usd", "Price of all GPUs since the beginning, in US dollars.", each))
    stamps = [f"{began + over.seconds * index:.3f}" for index in range(over.number + 1)]
    lines = (line for family in families for line in _lines(family, _label(model), stamps))
    return ("\n".join(lines) + "\n# EOF\n").encode()


def _gauges(record: Record, over: Windows) -> Iterator[_Family]:
    held = gauges(record, over.ends)
    yield _gauge("vllm:num_requests_running", "Requests in the batches of the model.", held["running"])
    yield _gauge("vllm:num_requests_waiting", "Requests that wait to be processed.", held["waiting"])
    yield _gauge("vllm:kv_cache_usage_perc", "Use of the KV cache; 1 is all of it.", held["kv_use"])


def _counters(record: Record, found: Latencies, over: Windows) -> Iterator[_Family]:
    begun = np.flatnonzero(~np.isnan(record.first_token))
    prompts = over.of(record.first_token[begun])
    asked, hit = record.requests.prompt[begun].astype(float), record.cached[begun].astype(float)
    times, tokens = token_times(record)
    yield _counter("vllm:prompt_tokens", "Tokens of prompts that are done.", over.counts(prompts, asked))
    yield _counter("vllm:generation_tokens", "Tokens generated.", over.counts(over.of(times), tokens))
    yield _counter("vllm:prefix_cache_queries", "Tokens looked up in the prefix cache.", over.counts(prompts, asked))
    yield _counter("vllm:prefix_cache_hits", "Tokens found in the prefix cache.", over.counts(prompts, hit))
    answered = over.counts(over.of(record.finished[found.rows]))
    yield _counter("vllm:request_success", "Requests answered.", answered, ',finished_reason="length"')


def _histograms(record: Record, found: Latencies, over: Windows) -> Iterator[_Family]:
    first, last = over.of(record.first_token[found.rows]), over.of(record.finished[found.rows])
    several = ~np.isnan(found.tpot)
    yield _histogram("vllm:time_to_first_token_seconds", "Time to first token.", first, found.ttft, TTFT_BUCKETS, over)
    name, tpot = "vllm:request_time_per_output_token_seconds", found.tpot[several]
    yield _histogram(name, "Time per output token of a request.", last[several], tpot, TPOT_BUCKETS, over)
    yield _histogram(
        "vllm:e2e_request_latency_seconds", "Latency of a request.", last, found.e2el, LATENCY_BUCKETS, over
    )
    name = "vllm:request_queue_time_seconds"
    yield _histogram(name, "Time until the first pass.", last, found.queue, LATENCY_BUCKETS, over)


def _gauge(name: str, about: str, values: Column) -> _Family:
    column = np.concatenate([[0.0], values])[:, None]
    return _Family(name=name, kind="gauge", about=about, endings=[("", "")], values=column)


def _counter(name: str, about: str, each: Column, label: str = "") -> _Family:
    """From what each window adds."""
    column = np.concatenate([[0.0], np.cumsum(each)])[:, None]
    return _Family(name=name, kind="counter", about=about, endings=[("_total", label)], values=column)


def _histogram(
    name: str, about: str, window: NDArray[np.intp], values: Column, buckets: Sequence[float], over: Windows
) -> _Family:
    """Cumulative over buckets and time, as Prometheus has it: of each bucket how many are at most its edge."""
    width = len(buckets) + 1
    cell = window * width + np.searchsorted(np.array(buckets), values, side="left")
    counts = np.bincount(cell, minlength=over.number * width).reshape(over.number, width).cumsum(axis=1)
    columns = np.column_stack([counts, counts[:, -1], over.counts(window, values)]).cumsum(axis=0)
    endings = [("_bucket", f',le="{edge}"') for edge in (*map(str, map(float, buckets)), "+Inf")]
    return _Family(
        name=name,
        kind="histogram",
        about=about,
        endings=[*endings, ("_count", ""), ("_sum", "")],
        values=np.vstack([np.zeros(columns.shape[1]), columns]),
    )


def _lines(family: _Family, label: str, stamps: Iterable[str]) -> Iterator[str]:
    yield f"# TYPE {family.name} {family.kind}"
    yield f"# HELP {family.name} {family.about}"
    heads = [f"{family.name}{suffix}{{{label}{extra}}}" for suffix, extra in family.endings]
    for stamp, values in zip(stamps, family.values.tolist(), strict=True):
        for head, value in zip(heads, values, strict=True):
            yield f"{head} {value!r} {stamp}"


def _label(model: str) -> str:
    escaped = model.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'model_name="{escaped}"'
