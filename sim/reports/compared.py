"""What `shardsim compare` shows: both steps, the waterfall from one to the other, and in what the scenarios differ."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from sim.comparison import SLOW_GPUS, SLOWED, Cause, Comparison
from sim.reports.figures import LEAST_SHARE, dollars, number, scenario_rows, tightest, title
from sim.reports.formulas import RESOURCES
from sim.reports.palette import BLACK, BLUE, GREY, VERMILLION, WHITE, part
from sim.reports.printed import heading, printed, words
from sim.training import TrainingReport
from topologies.quantity import percent, seconds

TITLES: Mapping[str, str] = {
    "attention": "attention core",
    "products": "matrix products",
    "memory_bound": "memory-bound kernels",
    "recomputation": "recomputation",
    SLOWED: "kernels slowed by communication beside",
    SLOW_GPUS: "slow GPUs",
}
NOWHERE = "-"
LEAST_BAR = 20
ROUNDING = 1e-9
SLOWER, FASTER, BOTH = "+", "-", "="


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A row of the waterfall: its words, from where to where it goes (in seconds), and its letter."""

    name: str
    detail: str
    start: float
    end: float
    letter: str

    @property
    def text(self) -> str:
        """Of the two steps their time, of a cause the difference."""
        return seconds(self.end) if self.letter == BOTH else signed(self.end - self.start)


def render(comparison: Comparison, console_width: int, color: bool) -> str:
    """The comparison as text for a terminal of that many columns."""
    return printed(lambda console, width: _show(console, comparison, width), console_width, color)


def record(comparison: Comparison) -> dict[str, object]:
    """The comparison under the keys of docs/design.md, section 6."""
    a, b = comparison.a, comparison.b
    low, high = comparison.interval
    return {
        "difference_s": b.timeline.duration - a.timeline.duration,
        "ratio": comparison.ratio,
        "interval": {"p10": low, "p50": comparison.ratio, "p90": high},
        "is_certain": comparison.is_certain,
        "waterfall": [cause_record(cause) for cause in comparison.causes],
        "scenario_changes": [{"field": name, "a": one, "b": other} for name, one, other in changes(a, b)],
        "a": side_record(a),
        "b": side_record(b),
    }


def cause_record(cause: Cause) -> dict[str, object]:
    """One part of the waterfall as data."""
    return {
        "cause": cause.key,
        "a_s": cause.a,
        "b_s": cause.b,
        "difference_s": cause.difference,
        "bound_by": cause.bound_by,
    }


def side_record(report: TrainingReport) -> dict[str, object]:
    """The whole result of one of the two, with what it was made from."""
    return {**report.result, "scenario": report.scenario, "command": report.command}


def changes(a: TrainingReport, b: TrainingReport) -> list[tuple[str, str, str]]:
    """Every field in which the scenarios, as they were run, differ, with both values."""
    one, other = dict(scenario_rows(a.scenario)), dict(scenario_rows(b.scenario))
    names = dict.fromkeys((*one, *other))
    pairs = ((name, one.get(name, NOWHERE), other.get(name, NOWHERE)) for name in names)
    return [pair for pair in pairs if pair[1] != pair[2]]


def verdict(comparison: Comparison) -> str:
    """Which is faster, by how much, and how sure that is."""
    ratio, (low, high) = comparison.ratio, comparison.interval
    if ratio == 1 and low == high:
        return "Both take equally long."
    said = f"B takes {ratio:.3f} times as long as A, with 80 % probability {low:.3f} to {high:.3f} times"
    faster = "A" if ratio > 1 else "B"
    sure = f"{faster} is faster" if comparison.is_certain else "which of them is faster is not certain"
    return f"{said}: {sure}. Errors that both share cancel.{_unequal_work(comparison)}"


def _unequal_work(comparison: Comparison) -> str:
    """A warning where the steps do not do the same."""
    a, b = (number(report.result, "tokens_per_s") * report.timeline.duration for report in (comparison.a, comparison.b))
    return "" if math.isclose(a, b) else f" But a step of A is {a:,.0f} tokens, one of B {b:,.0f}: look at tokens/s."


def figures(comparison: Comparison) -> list[tuple[str, str, str]]:
    """What people ask for first, of A and of B."""
    sides = [_figures(report) for report in (comparison.a, comparison.b)]
    return [(name, sides[0][name], sides[1][name]) for name in sides[0]]


def _figures(report: TrainingReport) -> dict[str, str]:
    result = report.result
    cost = result.get("cost_per_step_usd")
    run = result["run"]
    assert isinstance(run, Mapping)
    allocated, reserved, room = tightest(report)
    return {
        "step time": seconds(number(result, "step_time_s")),
        "tokens/s": f"{number(result, 'tokens_per_s'):,.0f}",
        "tokens/s per GPU": f"{number(result, 'tokens_per_s_per_gpu'):,.0f}",
        "MFU": percent(number(result, "mfu")),
        "HFU": percent(number(result, "hfu")),
        "bubble": percent(number(result, "bubble_fraction")),
        "peak memory": f"{allocated:.1f} GiB" + ("" if report.fits else ", does not fit"),
        "with reserve": f"{reserved:.1f} of {room:.1f} GiB",
        "cost per step": NOWHERE if cost is None else dollars(number(result, "cost_per_step_usd")),
        "cost of the run": NOWHERE if cost is None else dollars(number(run, "cost_usd")),
        "days of the run": f"{number(run, 'days'):.3g}",
    }


def memory(comparison: Comparison) -> list[tuple[str, str, str]]:
    """GiB that each pipeline rank holds at its peak, of A and of B; a rank that one of them does not have is left."""
    sides = [report.result["peak_memory_gib"] for report in (comparison.a, comparison.b)]
    a, b = (side if isinstance(side, list) else [] for side in sides)
    return [(f"pp {rank}", _gib(a, rank), _gib(b, rank)) for rank in range(max(len(a), len(b)))]


def _gib(peaks: Sequence[float], rank: int) -> str:
    return f"{peaks[rank]:.1f} GiB" if rank < len(peaks) else NOWHERE


def waterfall(comparison: Comparison) -> list[Bar]:
    """From A's bar over the causes that show to B's; what does not show is one bar, where all of it does."""
    a, b = comparison.a.timeline.duration, comparison.b.timeline.duration
    bars, at = [Bar(name="A", detail="", start=0.0, end=a, letter=BOTH)], a
    shown = [cause for cause in comparison.causes if abs(cause.difference) >= LEAST_SHARE * a]
    for cause in shown:
        change = cause.difference
        detail = f"{seconds(cause.a)} to {seconds(cause.b)}, bound by {RESOURCES[cause.bound_by]}"
        letter = SLOWER if change > 0 else FASTER
        bars.append(Bar(name=name_of(cause.key), detail=detail, start=at, end=at + change, letter=letter))
        at += change
    if abs(b - at) > ROUNDING * a:
        letter = SLOWER if b > at else FASTER
        bars.append(Bar(name="all else", detail="", start=at, end=b, letter=letter))
    return [*bars, Bar(name="B", detail="", start=0.0, end=b, letter=BOTH)]


def name_of(key: str) -> str:
    """A cause in words."""
    return TITLES.get(key) or part(key).title


def signed(time: float) -> str:
    """A difference of times for people: '+1.2 s'."""
    return f"{'+' if time >= 0 else '-'}{seconds(abs(time))}"


def scale(bars: Sequence[Bar]) -> tuple[float, float]:
    """The time at the left edge, and that at the right one: near the smallest where the differences are small."""
    inner = [end for bar in bars[1:-1] for end in (bar.start, bar.end)] + [bars[0].end, bars[-1].end]
    low, high = min(inner), max(inner)
    return max(0.0, low - max(high - low, LEAST_SHARE * high) / 2), high


def _show(console: Console, comparison: Comparison, width: int) -> None:
    for letter, report in (("A", comparison.a), ("B", comparison.b)):
        console.print(Text(f"{letter}: {title(report)}", style="bold"))
    console.print(words(verdict(comparison)))
    _show_pairs(console, "", figures(comparison))
    _show_waterfall(console, waterfall(comparison), width)
    _show_pairs(console, "Peak memory of each pipeline rank", memory(comparison))
    differing = changes(comparison.a, comparison.b)
    if differing:
        _show_pairs(console, "In what the scenarios differ", differing)


def _show_pairs(console: Console, name: str, rows: Sequence[tuple[str, str, str]]) -> None:
    if name:
        heading(console, name)
    grid = Table.grid(padding=(0, 2))
    grid.add_row("", Text("A", style="dim", justify="right"), Text("B", style="dim", justify="right"))
    for what, one, other in rows:
        style = "bold" if one != other else ""
        grid.add_row(words(what), Text(one, justify="right"), Text(other, justify="right", style=style))
    console.print(grid)


def _show_waterfall(console: Console, bars: Sequence[Bar], width: int) -> None:
    """A line of words and a bar for each; the axis need not begin at zero."""
    low, high = scale(bars)
    heading(console, f"From A to B, a GPU's step (the bars begin at {seconds(low)})")
    for bar in bars:
        detail = f"  {bar.detail}" if bar.detail else ""
        line = Text.assemble((f"{bar.text:>11}  ", "bold"), bar.name, (detail, "dim"), overflow="fold")
        console.print(line)
        console.print(_drawn(bar, low, high, width - 13))


def _drawn(bar: Bar, low: float, high: float, columns: int) -> Text:
    """The bar behind a margin as wide as the amounts; at least one letter long."""
    columns = max(columns, LEAST_BAR)
    ends = sorted(max(0.0, min(1.0, (end - low) / (high - low))) for end in (bar.start, bar.end))
    first = min(round(ends[0] * columns), columns - 1)
    length = max(1, round(ends[1] * columns) - first)
    looks = {
        BOTH: Style(color=BLACK, bgcolor=GREY),
        SLOWER: Style(color=BLACK, bgcolor=VERMILLION),
        FASTER: Style(color=WHITE, bgcolor=BLUE),
    }
    return Text.assemble(" " * (13 + first), (bar.letter * length, looks[bar.letter]), no_wrap=True, overflow="crop")
