"""`calibrate compare`: two profiles, or what was measured for them, side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibrate.commands.options import FORMATS, FabricName, Format, GpuName, Quiet
from sim.commands import console

if TYPE_CHECKING:
    from calibrate.comparison.compare import Shift
    from calibrate.comparison.sides import Side

SIDE = "a profile.yaml or its folder, fits, a samples.jsonl, or measurements that `import` reads"


def compare(
    one: Annotated[Path, typer.Argument(help=SIDE)],
    two: Annotated[Path, typer.Argument(help="the same of another machine, or of the same later")],
    gpu: GpuName = None,
    fabric: FabricName = None,
    output: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Set two profiles side by side: what became slower or faster, at which sizes, beyond the noise of both."""
    console.one_of("format", output, FORMATS)
    with console.progress(quiet) as tell:
        tell(f"reading {one.name} and {two.name}")
        from calibrate.comparison import compare as comparing
        from calibrate.comparison import sides

        here, there = (sides.load(path, gpu, fabric) for path in (one, two))
        tell("comparing")
        shifts = comparing.shifts(here, there)
    console.show(_shown(here, there, shifts, output))


def _shown(one: "Side", two: "Side", shifts: "list[Shift]", output: str) -> str:
    from calibrate.comparison import findings
    from calibrate.comparison import tables as compared_tables
    from sim.reports import tables as lists

    if output == "table":
        return compared_tables.comparison(one, two, shifts, console.list_columns())
    records = [compared_tables.record(shift) for shift in shifts]
    if output == "csv":
        return lists.as_csv(records)
    return lists.as_json(
        {
            "one": compared_tables.side_record(one),
            "two": compared_tables.side_record(two),
            "differences": findings.differences(one, two),
            "compared": records,
            "sentences": findings.sentences(one, two, shifts),
        }
    )
