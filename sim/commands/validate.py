"""`shardsim validate`: predictions beside a table of runs that somebody measured, of training or of serving."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.commands import completion, console
from topologies.document import InputError

if TYPE_CHECKING:
    from sim.measured_runs.servers import Kind
    from sim.validation import Ledger

FORMATS = ("table", "json", "csv")


def validate(
    table: Annotated[
        Path, typer.Argument(help="a CSV of measured runs or servers; docs/validation.md describes its columns")
    ],
    requests: Annotated[
        Path | None, typer.Option(help="with a table of servers' configurations: what came of each request")
    ] = None,
    ops: Annotated[
        Path | None, typer.Option(help="with --requests: a folder of the operators' measured times; our own costs")
    ] = None,
    output: Annotated[
        str, typer.Option("--format", help="table, json or csv", autocompletion=completion.words(*FORMATS))
    ] = "table",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress on stderr")] = False,
) -> None:
    """Simulate measured runs, and say how far off the predictions are."""
    console.one_of("format", output, FORMATS)
    with console.progress(quiet) as tell:
        tell(f"reading {table.name}")
        from sim.measured_runs.servers import kind_of

        def on_row(done: int, total: int) -> None:
            tell(f"row {done + 1} of {total}")

        kind = kind_of(table)
        if kind != "configurations" and (requests or ops):
            raise InputError(f"{table.name}: --requests and --ops go with a table of servers' configurations")
        text = (
            _of_training(table, output, on_row)
            if kind == "training"
            else _of_serving(table, kind, requests, ops, output, on_row)
        )
    console.show(text)


def _of_serving(
    table: Path,
    kind: "Kind",
    requests: Path | None,
    ops: Path | None,
    output: str,
    on_row: Callable[[int, int], None],
) -> str:
    from sim import serving_validation
    from sim.reports import tables
    from sim.reports.serving import ledger as ledgers

    ledger = serving_validation.validate(table, kind, requests=requests, ops=ops, on_row=on_row)
    summary = serving_validation.summary(ledger)
    if output == "table":
        return ledgers.render(table.name, summary)
    return tables.as_json(summary) if output == "json" else tables.as_csv(serving_validation.rows(ledger))


def _of_training(table: Path, output: str, on_row: Callable[[int, int], None]) -> str:
    from sim import validation

    return _shown(validation.validate(table, on_row), table.name, output)


def _shown(ledger: "Ledger", name: str, output: str) -> str:
    from sim import validation
    from sim.reports import ledger as ledgers
    from sim.reports import tables

    summary = validation.summary(ledger)
    if output == "table":
        return ledgers.render(name, summary, validation.reasons(ledger))
    return tables.as_json(summary) if output == "json" else tables.as_csv(validation.rows(ledger))
