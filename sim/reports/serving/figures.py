"""What a report of a served load says first, in words: the same figures for the terminal and for the page."""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from sim.objectives import Metric
from sim.reports.figures import LEAST_SHARE, Figure, Share, count, dollars, mapping, number, percent
from sim.reports.serving.palette import CAUSES
from sim.serving.results import Saturation
from sim.serving.simulation import ServingReport
from topologies.quantity import MILLISECOND, seconds

LITTLE: Final = 0.05
METRIC_TITLES: Final[Mapping[Metric, str]] = {
    "ttft": "TTFT, to the first token",
    "tpot": "TPOT, for each further token",
    "itl": "ITL, between two tokens",
    "e2el": "E2EL, to the last token",
}


def title(report: ServingReport) -> str:
    """Model, number of GPUs, cluster; how many of its nodes, where it takes several."""
    nodes = -(-report.num_gpus // report.cluster.node.num_gpus)
    where = f"{_counted(nodes, 'node')} of {report.cluster.name}" if nodes > 1 else report.cluster.name
    return f"{report.model.name} served by {_counted(report.num_gpus, 'GPU')} of {where}"


def layout(report: ServingReport) -> str:
    """The deployment in a line: '2 replicas of tp 4, pp 1; weights bf16; vllm-0.19'."""
    spread = report.deployment.layout
    degrees = {name: getattr(spread, name) for name in ("tp", "pp", "dp", "cp", "ep")}
    said = ", ".join(f"{name} {degree}" for name, degree in degrees.items() if degree > 1 or name in ("tp", "pp"))
    apart = report.deployment.prefill
    beside = "" if apart is None else f"; prefill on {_counted(apart.replicas, 'replica')} of tp {apart.layout.tp}"
    replicas = _counted(report.deployment.replicas, "replica")
    return f"{replicas} of {said}{beside}; weights {report.deployment.weights}; {report.framework.name}"


def answer(report: ServingReport) -> str:
    """The result in a few sentences: that promises are kept (a broken one is told apart), how long an answer takes,
    what it costs, how near the knee it is."""
    return " ".join(_sentences(report))


def verdict(report: ServingReport) -> str:
    """Whether the objectives are met, in a line; empty where there are none."""
    if not report.objectives:
        return ""
    missed = misses(report)
    if not missed:
        return f"Meets {'its objective' if len(report.objectives) == 1 else 'all its objectives'}."
    return f"{missed[0].upper()}{missed[1:]}."


def objectives(report: ServingReport) -> tuple[Figure, ...]:
    """What came of each objective, and the share of requests that kept its time."""
    listed = report.result["objectives"]
    assert isinstance(listed, list)
    return tuple(_objective(one) for one in listed)


def headline(report: ServingReport) -> tuple[Figure, ...]:
    """The numbers that people ask for first."""
    return tuple(_headline(report))


def shares(fractions: Mapping[str, object]) -> tuple[Share, ...]:
    """The causes of a breakdown that show in per cent with one decimal."""
    amounts = ((CAUSES[key], number(fractions, key)) for key in fractions)
    return tuple(
        Share(kind=kind, amount=amount, text=percent(amount)) for kind, amount in amounts if amount >= LEAST_SHARE
    )


def knee(report: ServingReport) -> str:
    """How near the knee the load is, in a sentence; empty where that is not known."""
    found = report.saturation
    if found is None:
        return ""
    more = _sensitivity(found)
    if found.knee is None or found.headroom is None:
        return f"{unreachable(found) or f'Not even {found.points[0].rate:.2g} requests a second are served'}; {more}."
    if found.beyond is None:
        return f"The knee lies beyond {found.knee:.3g} requests/s, {found.headroom:+.0%} of this load; {more}."
    where = f"below this load ({found.asked:.3g}/s)" if found.headroom < 0 else f"{found.headroom:.0%} above this load"
    return f"The knee is at {found.knee:.3g} requests/s, {where}; {more}.".replace("%", " %").replace("  %", " %")


def unreachable(found: Saturation) -> str:
    """Which objectives no rate keeps, and what comes of them where requests are alone; empty where there are none."""
    if not found.never:
        return ""
    came = " and ".join(seconds(one.value) if np.isfinite(one.value) else "not all answered" for one in found.never)
    names = " and ".join(str(one.objective) for one in found.never)
    verb = "is" if len(found.never) == 1 else "are"
    return f"{names} cannot be met: even at {found.points[0].rate:.2g} requests a second it {verb} {came}"


def misses(report: ServingReport) -> str:
    """Which objectives are missed, by what, and which of them could not be met at any rate; empty where all are met."""
    missed = "; ".join(f"{one.name}: {one.value}" for one in objectives(report) if one.is_bad)
    if not missed:
        return ""
    why = "" if report.saturation is None else unreachable(report.saturation)
    return f"misses {missed}" + (f"; {why}" if why else "")


def _sensitivity(found: Saturation) -> str:
    """What a little more load, or as much less capacity, does to the wait."""
    if abs(found.wait_with_more - found.wait) <= LITTLE * found.wait:
        return f"3 % more load hardly moves the mean wait of {seconds(found.wait)}"
    return f"3 % more load moves the mean wait from {seconds(found.wait)} to {seconds(found.wait_with_more)}"


def milliseconds(result: Mapping[str, object], key: str) -> str:
    """A time of a result whose key ends in _ms, for people."""
    return seconds(number(result, key) * MILLISECOND)


def _sentences(report: ServingReport) -> Iterator[str]:
    result = report.result
    if report.objectives and report.is_met:
        yield verdict(report)
    rate, tokens = number(result, "request_throughput"), number(result, "output_throughput")
    yield (
        f"Users wait {milliseconds(result, 'mean_ttft_ms')} for the first token (99 % at most "
        f"{milliseconds(result, 'p99_ttft_ms')}) and {milliseconds(result, 'mean_tpot_ms')} for each further one."
    )
    yield f"{rate:.3g} requests and {tokens:,.0f} tokens are answered in a second."
    if result["cost_per_query_usd"] is not None:
        million = dollars(number(result, "cost_per_million_output_tokens_usd"))
        yield f"A query costs {dollars(number(result, 'cost_per_query_usd'))}, a million output tokens {million}."
    largest = max(shares(mapping(result, "first_token_breakdown")), key=lambda one: one.amount, default=None)
    if largest is not None:
        yield f"Most of the time to the first token is {largest.kind.title} ({largest.text})."
    if knee(report):
        yield knee(report)


def _headline(report: ServingReport) -> Iterator[Figure]:
    result = report.result
    for metric, name in (("ttft", "TTFT"), ("tpot", "TPOT"), ("e2el", "E2EL")):
        detail = f"p50 {milliseconds(result, f'median_{metric}_ms')}, p99 {milliseconds(result, f'p99_{metric}_ms')}"
        detail += _sure(result, f"mean_{metric}_ms")
        missed = any(one.metric == metric for one in report.objectives) and _misses(report, metric)
        yield Figure(name=f"mean {name}", value=milliseconds(result, f"mean_{metric}_ms"), detail=detail, is_bad=missed)
    tokens = number(result, "output_throughput")
    yield Figure(name="output tokens/s", value=f"{tokens:,.0f}", detail=f"{tokens / report.num_gpus:,.0f} per GPU")
    yield Figure(name="requests/s", value=f"{number(result, 'request_throughput'):.3g}", detail=_completed(result))
    if result["request_goodput"] is not None:
        good = number(result, "request_goodput")
        yield Figure(name="goodput", value=f"{good:.3g}/s", detail="requests/s that keep every limit")
    yield from _costs(report)
    yield Figure(name="KV blocks", value=f"{number(result, 'kv_blocks'):,.0f}", detail=_cache(report))
    busy, bubble = number(result, "gpu_busy_fraction"), number(result, "bubble_fraction")
    yield Figure(name="GPU busy", value=percent(busy), detail=f"{_stages(result)}pipeline bubble {percent(bubble)}")
    if result["prefill"] is not None:
        yield _transfer(mapping(result, "prefill"))
    yield from _knee(report)


def _transfer(prefill: Mapping[str, object]) -> Figure:
    """What replicas for prompts alone sent."""
    busy, sent = percent(number(prefill, "gpu_busy_fraction")), number(prefill, "kv_transfer_gib")
    detail = f"mean, {sent:,.3g} GiB in all; GPUs for prompts {busy} busy"
    return Figure(name="KV transfer", value=milliseconds(prefill, "mean_kv_transfer_ms"), detail=detail)


def _stages(result: Mapping[str, object]) -> str:
    """How evenly the stages of a pipeline are busy."""
    busy = result["stage_busy_fractions"]
    if not isinstance(busy, list) or len(busy) < 2:
        return ""
    return f"stages {percent(min(busy), 0)} to {percent(max(busy), 0)}, "


def _sure(result: Mapping[str, object], key: str) -> str:
    """The range that holds a mean with 80 % probability, where one is known."""
    bounds = mapping(result, "interval").get(key)
    if not isinstance(bounds, Mapping):
        return ""
    return f"; the mean: 80 % within {milliseconds(bounds, 'p10')} to {milliseconds(bounds, 'p90')}"


def _knee(report: ServingReport) -> Iterator[Figure]:
    found = report.saturation
    if found is None:
        return
    if found.knee is None or found.headroom is None:
        names = " and ".join(str(one.objective) for one in found.never)
        yield Figure(name="knee", value="none", detail=f"no rate keeps {names}" if names else "", is_bad=True)
        return
    above = f"{'over' if found.beyond is None else ''} {found.knee:.3g}/s".strip()
    detail = f"{found.headroom:+.0%} of this load".replace("%", " %")
    yield Figure(name="knee", value=above, detail=detail, is_bad=found.headroom < 0)


def _costs(report: ServingReport) -> Iterator[Figure]:
    result = report.result
    if result["cost_per_query_usd"] is None:
        yield Figure(name="cost per query", value="?", detail="no price known: --price 2.50 gives one")
        return
    by_use = dollars(number(result, "cost_per_query_by_use_usd"))
    query = dollars(number(result, "cost_per_query_usd"))
    yield Figure(name="cost per query", value=query, detail=f"{by_use} by use of the GPUs")
    million = dollars(number(result, "cost_per_million_output_tokens_usd"))
    both = dollars(number(result, "cost_per_million_tokens_usd"))
    yield Figure(name="per million output tokens", value=million, detail=f"{both} with the prompts'")


def _objective(one: object) -> Figure:
    assert isinstance(one, Mapping)
    unanswered = "not all answered" if one["share_of_requests"] else "nothing answered"
    came = unanswered if one["value_ms"] is None else milliseconds(one, "value_ms")
    kept = f"{percent(number(one, 'share_of_requests'))} of requests keep it"
    return Figure(name=str(one["objective"]), value=came, detail=kept, is_bad=not one["met"])


def _misses(report: ServingReport, metric: str) -> bool:
    return any(one.is_bad and metric in one.name.split() for one in objectives(report))


def _completed(result: Mapping[str, object]) -> str:
    done, failed = number(result, "completed"), number(result, "failed")
    said = f"{done:,.0f} answered in {seconds(number(result, 'duration'))}"
    return f"{said}, {failed:,.0f} not" if failed else said


def _cache(report: ServingReport) -> str:
    tokens = report.settings.num_blocks * report.settings.block_size
    return f"{count(tokens)} tokens on a rank; {number(report.result, 'preemptions'):,.0f} preemptions"


def _counted(amount: int, noun: str) -> str:
    return f"{amount:,} {noun}" + ("" if amount == 1 else "s")
