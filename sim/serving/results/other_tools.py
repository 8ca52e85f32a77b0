"""The same load as other benchmarks would report it, where their words mean something else than vLLM's.

guidellm: `time_per_output_token` counts the first token's time, too; long answers weigh more there and in ITL.
aiperf: `inter_token_latency` is what vLLM's tool calls TPOT, `inter_chunk_latency` what it calls ITL.
"""

import numpy as np
from numpy.typing import NDArray

from sim.objectives import Limits
from sim.serving.record import Record
from sim.serving.results.goodput import good
from sim.serving.results.latency import PERCENTILES, Latencies, Sample, deviation, latencies, mean, percentile, sample
from topologies.quantity import MILLISECOND

Figures = dict[str, dict[str, float]]


def other_tools(record: Record, limits: Limits) -> dict[str, Figures]:
    """All of them, by the tool's name."""
    found = latencies(record)
    return {"guidellm": guidellm(record, found), "aiperf": aiperf(record, found, limits)}


def guidellm(record: Record, found: Latencies) -> Figures:
    """Metrics of guidellm under its names [at d07502b5: src/guidellm/schemas/base/request_stats.py,
    src/guidellm/benchmark/schemas/metrics.py].

    Request latency in seconds; time per output token = (last token - start) / n, weighted by n; inter-token latency =
    (last - first token) / (n - 1), weighted by n - 1. Its percentiles are a value that occurred; ours lie between two.
    """
    output = record.requests.output[found.rows]
    several = output > 1
    return {
        "request_latency": _figures(sample(found.e2el)),
        "time_to_first_token_ms": _milliseconds(found.ttft),
        "time_per_output_token_ms": _figures(sample(found.e2el / np.maximum(output, 1), output), MILLISECOND),
        "inter_token_latency_ms": _figures(sample(found.tpot[several], output[several] - 1), MILLISECOND),
        "output_tokens_per_second": {"mean": _per_second(record, int(output.sum()))},
        "requests_per_second": {"mean": _per_second(record, len(found.rows))},
    }


def aiperf(record: Record, found: Latencies, limits: Limits) -> Figures:
    """Metrics of NVIDIA's aiperf under its names [ai-dynamo/aiperf, README.md, Metrics
    Reference], latencies in milliseconds. `goodput`
    and the share of good requests (failed ones count as asked) where there are limits."""
    output = record.requests.output[found.rows]
    itl = found.tpot[output > 1]
    per_user = 1 / itl[itl > 0]
    return {
        "request_latency": _milliseconds(found.e2el, "avg"),
        "time_to_first_token": _milliseconds(found.ttft, "avg"),
        "inter_token_latency": _milliseconds(itl, "avg"),
        "inter_chunk_latency": _figures(found.samples["itl"], MILLISECOND, "avg"),
        "output_token_throughput_per_user": _figures(sample(per_user), average="avg"),
        "output_token_throughput": {"avg": _per_second(record, int(output.sum()))},
        "request_throughput": {"avg": _per_second(record, len(found.rows))},
        **_goodput(record, found, limits),
    }


def _goodput(record: Record, found: Latencies, limits: Limits) -> Figures:
    if not limits:
        return {}
    kept = int(good(found, limits).sum())
    asked = max(len(record.requests), 1)
    return {"goodput": {"avg": _per_second(record, kept)}, "good_request_fraction": {"avg": kept / asked}}


def _milliseconds(seconds: NDArray[np.float64], average: str = "mean") -> dict[str, float]:
    return _figures(sample(seconds), MILLISECOND, average)


def _figures(values: Sample, unit: float = 1.0, average: str = "mean") -> dict[str, float]:
    found = {average: mean(values), "std": deviation(values)}
    found |= {f"p{percent:g}": percentile(values, percent) for percent in PERCENTILES}
    return {key: value / unit for key, value in found.items()}


def _per_second(record: Record, number: int) -> float:
    return number / record.duration if record.duration > 0 else 0.0
