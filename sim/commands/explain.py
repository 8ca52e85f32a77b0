"""`shardsim explain`: what bounds a step, how its figures come about, and what better hardware would gain."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sim.commands import console
from sim.commands.train import Run, command, simulated

if TYPE_CHECKING:
    from sim.explanation import Explanation


def show(run: Run) -> None:
    """Say what bounds a step, and what better hardware would gain."""
    with console.progress(run.quiet) as tell:
        from sim.explanation import explain as explained

        explanation = explained(run.scenario, run.report, detail=run.detail, tell=tell)
        printed = PRINTERS[run.output](explanation)
    console.show(printed)


def _as_table(explanation: "Explanation") -> str:
    from sim.reports.explained import render

    return render(explanation, console.columns(), console.has_color())


def _as_json(explanation: "Explanation") -> str:
    from sim.reports.explained import as_json

    return as_json(explanation)


def _as_csv(explanation: "Explanation") -> str:
    from sim.reports import explained, tables

    kernels = explained.record(explanation)["kernels"]
    assert isinstance(kernels, list)
    return tables.as_csv(kernels)


PRINTERS: Mapping[str, Callable[["Explanation"], str]] = {"table": _as_table, "json": _as_json, "csv": _as_csv}

explain = command(simulated, show)
