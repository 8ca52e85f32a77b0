"""The headline of a served load: figures in few words, each with how it comes about, its numbers put in."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sim.objectives import Metric
from sim.reports.figures import count, dollars, mapping, number
from sim.reports.serving.figures import milliseconds, objectives
from sim.reports.serving.palette import CAUSES
from sim.serving.simulation import ServingReport
from topologies.quantity import MILLISECOND, nbytes, percent, seconds

SHOWN: Final = 0.005
"""Of a latency: the least cause that is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A figure, a few words beside it, and the sentence at its pointer."""

    name: str
    value: str
    detail: str
    formula: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """An objective, what came of it in words, and whether it is kept."""

    metric: Metric
    text: str
    seconds: float
    came: str
    met: bool


def promises(report: ServingReport) -> tuple[Promise, ...]:
    """In the order in which they were made."""
    return tuple(
        Promise(
            metric=one.metric,
            text=str(one),
            seconds=one.seconds,
            came=f"{figure.value}; {figure.detail}",
            met=not figure.is_bad,
        )
        for one, figure in zip(report.objectives, objectives(report), strict=True)
    )


def headline(report: ServingReport) -> tuple[Told, ...]:
    """Promises, latencies, throughput, cost, cache: what a reader asks for first."""
    return tuple(_headline(report))


def _headline(report: ServingReport) -> Iterator[Told]:
    yield _promised(report)
    yield _latency(report, "ttft", _first_token(report))
    yield _latency(report, "tpot", _each_token(report))
    yield _tokens(report)
    yield _requests(report)
    yield from _costs(report)
    yield _blocks(report)


def _promised(report: ServingReport) -> Told:
    made = promises(report)
    if not made:
        formula = "No promise was made; write one, such as p99 ttft < 2 s."
        return Told(name="promises", value="none", detail="none was made", formula=formula)
    kept = sum(one.met for one in made)
    said = "; ".join(f"{one.text}: {one.came}" for one in made)
    value = "kept" if kept == len(made) else "MISSED"
    return Told(name="promises", value=value, detail=f"{kept} of {len(made)} kept", formula=f"{said}.")


def _latency(report: ServingReport, metric: Metric, formula: str) -> Told:
    half, last = (milliseconds(report.result, f"{one}_{metric}_ms") for one in ("median", "p99"))
    return Told(name=f"{metric.upper()} p50", value=half, detail=f"p99 {last}", formula=formula)


def _first_token(report: ServingReport) -> str:
    """The mean as the sum of its causes."""
    whole = number(report.result, "mean_ttft_ms") * MILLISECOND
    shares = mapping(report.result, "first_token_breakdown")
    parts = sorted(((number(shares, name), name) for name in shares), reverse=True)
    said = " + ".join(f"{seconds(share * whole)} {CAUSES[name].title}" for share, name in parts if share >= SHOWN)
    return f"From sending a request to its first token. The mean is {seconds(whole)} = {said}."


def _each_token(report: ServingReport) -> str:
    whole, first, each = (milliseconds(report.result, f"mean_{metric}_ms") for metric in ("e2el", "ttft", "tpot"))
    return (
        "For each further token of an answer: (time of the whole answer - time to its first token) / (tokens - 1), by "
        f"request. In the mean the whole takes {whole}, the first token {first}, each further one {each}."
    )


def _tokens(report: ServingReport) -> Told:
    result = report.result
    rate, busy = number(result, "output_throughput"), number(result, "gpu_busy_fraction")
    return Told(
        name="tokens/s",
        value=f"{rate:,.0f}",
        detail=f"GPUs {percent(busy, 0)} busy",
        formula=f"{number(result, 'total_output_tokens'):,.0f} tokens of answers / {_duration(report)}, from the first "
        f"request to the last token: {rate / report.num_gpus:,.0f} per GPU. The mean GPU computes or communicates in "
        f"{seconds(busy * number(result, 'duration'))} of it. Of the time in which passes are under way, the mean "
        f"pipeline stage has nothing to do in {percent(number(result, 'bubble_fraction'))}, its bubble.",
    )


def _requests(report: ServingReport) -> Told:
    result = report.result
    rate, good, failed = number(result, "request_throughput"), result["request_goodput"], number(result, "failed")
    formula = f"{number(result, 'completed'):,.0f} answers / {_duration(report)}; {failed:,.0f} requests failed."
    if not isinstance(good, float):
        return Told(name="requests/s", value=f"{rate:.3g}", detail="answered", formula=formula)
    kept = "Goodput counts those that kept the time of each promised percentile."
    return Told(name="requests/s", value=f"{rate:.3g}", detail=f"goodput {good:.3g}", formula=f"{formula} {kept}")


def _costs(report: ServingReport) -> Iterator[Told]:
    result = report.result
    if report.price is None or result["cost_per_query_usd"] is None:
        formula = "No price of this GPU is known; write one under all other settings."
        yield Told(name="cost per query", value="?", detail="no price known", formula=formula)
        return
    answers, tokens = number(result, "completed"), number(result, "total_output_tokens")
    bill = f"{report.num_gpus:,} GPUs x {dollars(report.price)} an hour x {_duration(report)}"
    by_use = f"By use: only the {percent(number(result, 'gpu_busy_fraction'))} of it in which GPUs are busy."
    for name, key, over in (
        ("cost per query", "cost_per_query", f"{answers:,.0f} answers"),
        ("per M output tokens", "cost_per_million_output_tokens", f"{tokens:,.0f} tokens of answers x a million"),
    ):
        yield Told(
            name=name,
            value=dollars(number(result, f"{key}_usd")),
            detail=f"by use {dollars(number(result, f'{key}_by_use_usd'))}",
            formula=f"{bill} / {over}. {by_use}",
        )


def _blocks(report: ServingReport) -> Told:
    blocks, size = number(report.result, "kv_blocks"), report.settings.block_size
    return Told(
        name="KV blocks",
        value=f"{blocks:,.0f}",
        detail=f"{count(blocks * size)} tokens",
        formula=_room(report, size),
    )


def _room(report: ServingReport, size: int) -> str:
    """What the cache is given, and what for."""
    held = report.memory.nbytes
    preempted = f"{number(report.result, 'preemptions'):,.0f} requests were preempted for want of blocks."
    if report.deployment.cache.num_blocks is not None:
        return f"As it was said; each holds the keys and values of {size} tokens. {preempted}"
    parts = ", ".join(f"{name} {nbytes(amount)}" for name, amount in held.items() if name != "cache")
    each = nbytes(held["cache"] / max(1, report.memory.num_blocks))
    return (
        f"{nbytes(held['cache'])} / {each} for the {size} tokens of a block, on the GPU with least room: what is left "
        f"of {nbytes(report.cluster.gpu.memory_nbytes)} beside {parts}, and a reserve. {preempted}"
    )


def _duration(report: ServingReport) -> str:
    return seconds(number(report.result, "duration"))
