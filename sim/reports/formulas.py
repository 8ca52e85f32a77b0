"""How the figures of a result come about: a line for each, with the numbers put in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sim.explanation import Explanation
from sim.inventory import Resource
from sim.plan import Plan
from sim.reports.figures import dollars, number, tightest
from sim.reports.palette import holding
from sim.training import TrainingReport
from topologies.quantity import GIB, HOUR, TERA, flops, percent, seconds

RESOURCES: Mapping[Resource, str] = {
    "compute": "SMs",
    "hbm": "HBM",
    "scale_up": "links in nodes",
    "nic": "network",
    "latency": "latency",
    "host": "host",
    "waiting": "waiting for others",
}
CLOSED_FORMS = ("gpipe", "1f1b", "interleaved")


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """The key of a figure in the result, its value, the formula in numbers, and what bounds it."""

    key: str
    value: float
    text: str
    bound_by: str


def formulas(explanation: Explanation) -> tuple[Formula, ...]:
    """The figures that people ask for first; a figure that is made of the step's time is bound by what bounds that."""
    return tuple(_formulas(explanation.report, explanation))


def _formulas(report: TrainingReport, explanation: Explanation) -> Iterator[Formula]:
    result, by = report.result, str(explanation.bound_by)
    bounds = {"bubble_fraction": "waiting", "peak_memory_gib": "memory"}
    for key, text in {"step_time_s": _along_the_path(explanation), **texts(report)}.items():
        value = tightest(report)[0] if key == "peak_memory_gib" else number(result, key)
        yield Formula(key=key, value=value, text=text, bound_by=bounds.get(key, by))


def texts(report: TrainingReport) -> dict[str, str]:
    """By the key of the result, the formula of each figure that follows from the report alone, with its numbers."""
    result = report.result
    step, bubble = number(result, "step_time_s"), number(result, "bubble_fraction")
    found = {
        "tokens_per_s": _tokens(report),
        **_utilisations(report),
        "bubble_fraction": _bubble(report, bubble, step),
        "peak_memory_gib": _memory(report),
    }
    return found if result.get("cost_per_step_usd") is None else {**found, "cost_per_step_usd": _cost(report, step)}


def _along_the_path(explanation: Explanation) -> str:
    parts = [f"{RESOURCES[name]} {seconds(time)}" for name, time in explanation.resources.items() if time > 0]
    return f"along the critical path: {' + '.join(parts)}"


def _tokens(report: TrainingReport) -> str:
    tokens, step = number(report.result, "tokens_per_s"), number(report.result, "step_time_s")
    length = tokens * step / report.plan.global_batch
    return f"{report.plan.global_batch:,} sequences x {length:,.0f} tokens / {seconds(step)}"


def _utilisations(report: TrainingReport) -> dict[str, str]:
    """Model and hardware FLOPs over what the GPUs could do at their dense peak."""
    result, gpus = report.result, report.plan.num_gpus
    step, mfu = number(result, "step_time_s"), number(result, "mfu")
    peak = number(result, "model_tflops_per_gpu") * TERA / mfu
    could = f"({seconds(step)} x {gpus:,} GPU{'s' if gpus > 1 else ''} x {flops(peak)})"
    useful, done = (number(result, f"{kind}_tflops_per_gpu") * TERA * step * gpus for kind in ("model", "hardware"))
    return {
        "mfu": f"{useful:.4g} FLOP of the model / {could}",
        "hfu": f"{done:.4g} FLOP with what is recomputed / {could}",
    }


def _bubble(report: TrainingReport, bubble: float, step: float) -> str:
    text = f"mean over ranks, waiting for work of others: {seconds(bubble * step)} / {seconds(step)}"
    ideal = ideal_bubble(report.plan)
    return f"{text}; with equal stages and free messages {ideal}" if ideal else text


def ideal_bubble(plan: Plan) -> str:
    """What a schedule's bubble would be with equal stages and free messages, with its numbers; empty where no closed
    form holds (Huang et al. 2019; Narayanan et al. 2021)."""
    if plan.pp == 1 or plan.schedule not in CLOSED_FORMS:
        return ""
    p, m, v = plan.pp, plan.num_microbatches, plan.vpp
    return f"(p - 1) / (v m + p - 1) = {p - 1} / {v * m + p - 1} = {percent((p - 1) / (v * m + p - 1))}"


def _memory(report: TrainingReport) -> str:
    """The rank with least to spare, by what it holds."""
    peak = tightest(report)[0]
    places = [(abs(sum(held.values()) / GIB - peak), place) for place, held in enumerate(report.memory)]
    place = min(places)[1]
    parts = [f"{holding(key).title} {nbytes / GIB:.1f}" for key, nbytes in report.memory[place].items() if nbytes]
    return f"pipeline rank {place}, GiB: {' + '.join(parts)}"


def _cost(report: TrainingReport, step: float) -> str:
    price, hour = number(report.result, "price_per_gpu_hour_usd"), f"{HOUR:,.0f} s"
    return f"{report.plan.num_gpus:,} GPUs x {seconds(step)} / {hour} x {dollars(price)} an hour"
