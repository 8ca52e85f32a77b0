"""What `shardsim explain` shows: what bounds the step, formulas, the largest kernels, and what better parts gain."""

from collections.abc import Mapping, Sequence

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sim.explanation import Explanation
from sim.inventory import Entry
from sim.reports.figures import LEAST_SHARE, title, warning
from sim.reports.formulas import RESOURCES, Formula, formulas
from sim.reports.printed import heading, printed, words
from sim.sensitivity import CHANGES, Gain
from topologies.fabric import nic_of
from topologies.hardware import Cluster
from topologies.quantity import flops, nbytes, percent, rate, seconds

MOST_PARTS, MOST_ENTRIES = 8, 10


def render(explanation: Explanation, console_width: int, color: bool) -> str:
    """The explanation as text for a terminal of that many columns."""
    return printed(lambda console, _: _show(console, explanation), console_width, color)


def as_json(explanation: Explanation) -> str:
    """The explanation under the keys of docs/design.md, section 6."""
    return orjson.dumps(record(explanation), option=orjson.OPT_INDENT_2).decode() + "\n"


def record(explanation: Explanation) -> dict[str, object]:
    """The same as data."""
    report, step = explanation.report, explanation.report.timeline.duration
    cluster = report.cluster
    return {
        "step_time_s": report.result["step_time_s"],
        "bound_by": explanation.bound_by,
        "critical_path": {
            "by_resource_s": dict(explanation.resources),
            "parts": [
                {"what": part.what, "seconds": part.seconds, "share": part.seconds / step, "bound_by": part.bound_by}
                for part in explanation.parts
            ],
        },
        "figures": [_formula_record(one) for one in formulas(explanation)],
        "kernels": [_entry_record(entry, cluster, step) for entry in explanation.entries],
        "gains": {gain.change: gain.gain for gain in explanation.gains},
        "fits": report.fits,
        "scenario": report.scenario,
        "command": report.command.replace("shardsim train", "shardsim explain", 1),
    }


def _formula_record(one: Formula) -> dict[str, object]:
    return {"key": one.key, "value": one.value, "formula": one.text, "bound_by": one.bound_by}


def _entry_record(entry: Entry, cluster: Cluster, step: float) -> dict[str, object]:
    return {
        "name": entry.name,
        "kind": "kernel" if entry.is_kernel else "communication",
        "part": entry.family or entry.key,
        "count": entry.count,
        "seconds": entry.seconds,
        "total_s": entry.total,
        "share": entry.total / step,
        "flop": entry.flops,
        "bytes": entry.nbytes,
        "reached": entry.reached,
        "bound_by": entry.bound_by,
        "bounds": dict(entry.mix),
        "parameters": entry.origin,
        "source": source(entry, cluster),
    }


def source(entry: Entry, cluster: Cluster) -> str:
    """The fit that an entry's seconds rest on, and the part that was measured."""
    if not entry.operation:
        return ""
    part = (
        cluster.gpu if entry.is_kernel else nic_of(cluster.node) if entry.bound_by == "nic" else cluster.node.scale_up
    )
    fit = part.fits.get(entry.operation)
    return f"{entry.operation} of {part.name if fit is None else fit.part or part.name}"


def _show(console: Console, explanation: Explanation) -> None:
    report = explanation.report
    console.print(Text(f"{title(report)}: {seconds(report.timeline.duration)} a step", style="bold"))
    if warning(report):
        console.print(Text(warning(report), style="bold red"))
    _show_path(console, explanation)
    _show_formulas(console, formulas(explanation))
    _show_entries(console, explanation)
    _show_gains(console, explanation.gains)


def _show_path(console: Console, explanation: Explanation) -> None:
    step = explanation.report.timeline.duration
    heading(console, "The critical path, by what bounds it")
    _shares(console, [(RESOURCES[name], time, "") for name, time in explanation.resources.items()], step)
    heading(console, "The critical path, by what it consists of")
    parts = [(part.what, part.seconds, f"bound by {RESOURCES[part.bound_by]}") for part in explanation.parts]
    _shares(console, parts[:MOST_PARTS], step)


def _shares(console: Console, rows: Sequence[tuple[str, float, str]], whole: float) -> None:
    grid = Table.grid(padding=(0, 2))
    for name, time, more in rows:
        if time / whole >= LEAST_SHARE:
            amount = Text(percent(time / whole), justify="right"), Text(seconds(time), justify="right")
            grid.add_row(*amount, words(name), words(more, "dim"))
    console.print(grid)


def _show_formulas(console: Console, shown: Sequence[Formula]) -> None:
    heading(console, "How the figures come about")
    for one in shown:
        console.print(words(f"{one.key} = {value_text(one)}"))
        console.print(Text(f"  = {one.text}", style="dim", overflow="fold"))


def value_text(one: Formula) -> str:
    """The value of a figure for people."""
    units: Mapping[str, str] = {
        "step_time_s": seconds(one.value),
        "tokens_per_s": f"{one.value:,.0f}",
        "peak_memory_gib": f"{one.value:.1f} GiB",
        "cost_per_step_usd": f"${one.value:.4g}",
    }
    return units.get(one.key, percent(one.value))


def _show_entries(console: Console, explanation: Explanation) -> None:
    """The ten that take longest, each alone; whether they run beside one another, the critical path says."""
    heading(console, "The largest kernels and collectives of a GPU, each alone")
    step = explanation.report.timeline.duration
    grid = Table.grid(padding=(0, 2))
    for entry in explanation.entries[:MOST_ENTRIES]:
        share, each = percent(entry.total / step), f"{entry.count:,.0f} x {seconds(entry.seconds)}"
        more = f"{facts(entry)}; {entry.origin}: {source(entry, explanation.report.cluster)}"
        what = Text.assemble(f"{entry.name}, bound by {RESOURCES[entry.bound_by]}", (f"\n{more}", "dim"))
        grid.add_row(Text(share, justify="right"), Text(each, justify="right", no_wrap=True), what)
    console.print(grid)


def facts(entry: Entry) -> str:
    """What one does, at which rate, and what of the data sheet's rate that is."""
    return f"{work(entry)}, {percent(entry.reached, 0)} of the data sheet" if entry.reached else work(entry)


def work(entry: Entry) -> str:
    """What one does, in the unit of what bounds it, and at which rate."""
    if not entry.seconds:
        return ""
    if entry.is_kernel and entry.bound_by == "compute":
        return f"{entry.flops:.3g} FLOP at {flops(entry.flops / entry.seconds)}"
    if not entry.nbytes:
        return ""
    return f"{nbytes(entry.nbytes)} at {rate(entry.nbytes / entry.seconds)}"


def _show_gains(console: Console, gains: Sequence[Gain]) -> None:
    heading(console, "The same plan, played again with")
    grid = Table.grid(padding=(0, 2))
    for gain in gains:
        after = Text(seconds(gain.step_time), justify="right")
        grid.add_row(words(CHANGES[gain.change]), after, Text(saved(gain.gain), justify="right"))
    console.print(grid)
    console.print(words("The clock stays as it is, whatever power that takes.", "dim"))


def saved(gain: float) -> str:
    """A gain in words: what of the step it saves."""
    if abs(gain) < LEAST_SHARE:
        return "no shorter"
    return f"{percent(gain)} shorter" if gain > 0 else f"{percent(-gain)} longer"
