"""The figures by which people weigh layouts: each with its value, its 80 % interval, its formula, and its change.

What is the step time times a constant, or a constant over it, has the step time's interval. Memory is counted and not
timed, and errors of kernels stretch a bubble and its step alike: of these no interval is known.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from sim.reports.figures import breakdown, count, days, dollars, mapping, number, tightest
from sim.reports.formulas import texts
from sim.training import TrainingReport
from sim.uncertainty import exposed_interval
from topologies.quantity import percent, seconds

NO_BUBBLE: Final = "errors of kernels stretch the bubble and the step alike"
NO_MEMORY: Final = "memory is counted from the plan, not timed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Indicator:
    """One figure. `span` is the interval as text, empty where none is known, and `unknown` says why; `amount` and
    `bounds` are numbers in the unit of the result (fractions, seconds, dollars, GiB). `capacity` is what the amount
    must fit into: against another capacity a change is neither good nor bad."""

    key: str
    title: str
    amount: float
    value: str
    formula: str
    bounds: tuple[float, float] | None = None
    span: str = ""
    unknown: str = ""
    lower_is_better: bool = True
    is_bad: bool = False
    capacity: float | None = None


def indicators(report: TrainingReport) -> tuple[Indicator, ...]:
    """Step time, MFU, tokens/s, bubble, exposed communication, peak memory, dollars of a step and of the run."""
    return tuple(_indicators(report))


def change(now: Indicator, before: Indicator) -> str:
    """From one to another of the same figure: '-12.3 %', for shares in points; empty where it does not show."""
    if now.value.endswith("%"):
        points = 100 * (now.amount - before.amount)
        return _signed(points, "points")
    return _signed(100 * (now.amount / before.amount - 1), "%") if before.amount else ""


def _signed(amount: float, unit: str) -> str:
    return f"{amount:+.1f} {unit}" if abs(amount) >= 0.05 else ""


def _indicators(report: TrainingReport) -> Iterator[Indicator]:
    result, said = report.result, texts(report)
    bubble = number(result, "bubble_fraction")
    yield _timed(report, "step_time_s", "step time", seconds, _sum(report), power=1)
    yield _timed(report, "mfu", "MFU", percent, said["mfu"], power=-1)
    yield _timed(report, "tokens_per_s", "tokens/s", lambda rate: f"{rate:,.0f}", said["tokens_per_s"], power=-1)
    yield Indicator(
        key="bubble_fraction",
        title="bubble",
        amount=bubble,
        value=percent(bubble),
        formula=said["bubble_fraction"],
        unknown=NO_BUBBLE,
    )
    yield _exposed(report)
    yield _memory(report, said["peak_memory_gib"])
    yield from _costs(report, said.get("cost_per_step_usd", ""))


def _timed(
    report: TrainingReport, key: str, title: str, shown: Callable[[float], str], formula: str, *, power: int
) -> Indicator:
    """A figure that goes with the step time, or with its inverse."""
    amount = number(report.result, key)
    return _scaled(report, key, title, amount, shown, formula, power=power)


def _scaled(
    report: TrainingReport,
    key: str,
    title: str,
    amount: float,
    shown: Callable[[float], str],
    formula: str,
    *,
    power: int,
) -> Indicator:
    interval = mapping(report.result, "interval")
    factors = [(number(interval, end) / number(interval, "p50_s")) ** power for end in ("p10_s", "p90_s")]
    low, high = (amount * factor for factor in sorted(factors))
    return Indicator(
        key=key,
        title=title,
        amount=amount,
        value=shown(amount),
        formula=formula,
        bounds=(low, high),
        span=f"{shown(low)} to {shown(high)}",
        lower_is_better=power > 0,
    )


def _sum(report: TrainingReport) -> str:
    """The step by what its time goes into."""
    step = number(report.result, "step_time_s")
    parts = breakdown(mapping(report.result, "breakdown"))
    return "mean over ranks: " + " + ".join(f"{part.kind.title} {seconds(part.amount * step)}" for part in parts)


def _exposed(report: TrainingReport) -> Indicator:
    found = exposed_interval(report.timeline, report.cluster)
    parts = breakdown(
        {key: share for key, share in mapping(report.result, "breakdown").items() if key.startswith("exposed")}
    )
    said = " + ".join(f"{part.kind.title.removeprefix('exposed ')} {part.text}" for part in parts)
    bounds = found["p10"], found["p90"]
    return Indicator(
        key="exposed",
        title="exposed communication",
        amount=found["p50"],
        value=percent(found["p50"]),
        formula=f"of the step, mean over ranks, with no kernel beside it: {said or 'none'}",
        bounds=bounds,
        span=f"{percent(bounds[0])} to {percent(bounds[1])}",
    )


def _memory(report: TrainingReport, formula: str) -> Indicator:
    allocated, reserved, room = tightest(report)
    return Indicator(
        key="peak_memory_gib",
        title="peak memory",
        amount=reserved,
        value=f"{reserved:.1f} of {room:.1f} GiB",
        formula=f"{formula} = {allocated:.1f} allocated; with the allocator's reserve {reserved:.1f}, which must fit",
        capacity=room,
        unknown=NO_MEMORY,
        is_bad=not report.fits,
    )


def _costs(report: TrainingReport, formula: str) -> Iterator[Indicator]:
    """In dollars where a price is known, else the days of the run."""
    run = mapping(report.result, "run")
    steps, tokens = number(run, "steps"), count(number(run, "tokens"))
    title = f"run of {tokens} tokens"
    long = f"{steps:,.0f} steps"
    if not formula:
        amount = number(run, "days")
        step = seconds(number(report.result, "step_time_s"))
        yield _scaled(report, "days", title, amount, days, f"{long} x {step}; no price of these GPUs is known", power=1)
        return
    cost = number(report.result, "cost_per_step_usd")
    yield _timed(report, "cost_per_step_usd", "cost per step", dollars, formula, power=1)
    said = f"{long} x {dollars(cost)}; {days(number(run, 'days'))}, {count(number(run, 'gpu_hours'))} GPU-hours"
    yield _scaled(report, "cost_usd", title, number(run, "cost_usd"), dollars, said, power=1)
