"""`shardsim validate`: predictions beside a table of runs that somebody measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.commands import completion, console

if TYPE_CHECKING:
    from sim.validation import Ledger

FORMATS = ("table", "json", "csv")


def validate(
    table: Annotated[Path, typer.Argument(help="a CSV of measured runs; docs/validation.md describes its columns")],
    output: Annotated[
        str, typer.Option("--format", help="table, json or csv", autocompletion=completion.words(*FORMATS))
    ] = "table",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress on stderr")] = False,
) -> None:
    """Simulate measured runs, and say how far off the predictions are."""
    console.one_of("format", output, FORMATS)
    with console.progress(quiet) as tell:
        tell(f"reading {table.name}")
        from sim import validation

        ledger = validation.validate(table, lambda done, total: tell(f"row {done + 1} of {total}"))
    console.show(_shown(ledger, table.name, output))


def _shown(ledger: "Ledger", name: str, output: str) -> str:
    from sim import validation
    from sim.reports import ledger as ledgers
    from sim.reports import tables

    summary = validation.summary(ledger)
    if output == "table":
        return ledgers.render(name, summary, validation.reasons(ledger))
    return tables.as_json(summary) if output == "json" else tables.as_csv(validation.rows(ledger))
