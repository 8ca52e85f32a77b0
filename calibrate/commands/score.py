"""`calibrate score`: the present fits beside measured kernels or collectives."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibrate.commands.options import FORMATS, FabricName, Format, GpuName, Profile, Quiet, profile_in
from sim.commands import console

if TYPE_CHECKING:
    from calibrate.score import Score


def score(
    table: Annotated[Path, typer.Argument(help="a CSV in a known layout, or a log of nccl-tests")],
    gpu: GpuName = None,
    fabric: FabricName = None,
    profile: Profile = None,
    output: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Compare the present fits with measurements; a row's own GPU and fabric win over the options."""
    console.one_of("format", output, FORMATS)
    with console.progress(quiet) as tell:
        tell(f"reading {table.name}")
        from calibrate import importers, limits
        from calibrate import score as scoring

        reading = importers.read(table, gpu, fabric)
        limits.check([reading], [table.name], share=scoring.MOST_IMPOSSIBLE)
        made = scoring.score(reading, profile_in(profile), tell)
    console.show(_shown(made, table.name, output))


def _shown(made: "Score", name: str, output: str) -> str:
    from calibrate import score as scoring
    from calibrate import tables
    from sim.reports import tables as lists

    if output == "table":
        return tables.scores(made, name, console.list_columns())
    found = scoring.summary(made)
    return lists.as_json(found) if output == "json" else lists.as_csv(scoring.rows(made))
