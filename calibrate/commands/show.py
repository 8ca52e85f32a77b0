"""`calibrate show`: the fits of a part, or of all in a file, beside the points that they were made from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibrate.commands.options import FORMATS, FabricName, Format, GpuName, Quiet
from sim.commands import console

if TYPE_CHECKING:
    from calibrate.shown import Shown


def show(
    part: Annotated[str, typer.Argument(help="a GPU or link, such as h200-sxm or nvlink4; or a profile or its folder")],
    tables: Annotated[list[Path] | None, typer.Argument(help="measurements to show beside the fits")] = None,
    only: Annotated[str, typer.Option("--part", help="the one part of a profile to show; else all")] = "",
    gpu: GpuName = None,
    fabric: FabricName = None,
    out: Annotated[Path | None, typer.Option(help="draw it as one page: a file .html")] = None,
    output: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Print the fits of a part: values with intervals, what they rest on, and how they hold."""
    console.one_of("format", output, FORMATS)
    with console.progress(quiet) as tell:
        tell(f"reading the fits of {part}")
        from calibrate import importers, shown
        from calibrate.profile import write_whole

        readings = [importers.read(table, gpu or _gpu(part), fabric) for table in tables or []]
        found = shown.of(part, importers.samples_of(readings), only, tell)
        if out is not None:
            from calibrate.page import render

            write_whole(out, render(_one(found)))
    console.show(_printed(found, output))
    if out is not None and not quiet:
        console.note(f"wrote {out}")


def _one(found: "list[Shown]") -> "Shown":
    """A page is of one part."""
    from topologies.document import InputError

    if len(found) > 1:
        raise InputError(f"--out: a page is of one part; say --part, one of {', '.join(one.part for one in found)}")
    return found[0]


def _gpu(part: str) -> str | None:
    """The part where it is a GPU: then tables need not name theirs."""
    from topologies.catalogue import named
    from topologies.document import InputError

    try:
        return named("gpus", part)
    except InputError:
        return None


def _printed(found: "list[Shown]", output: str) -> str:
    from calibrate import shown
    from sim.reports import tables

    if output == "table":
        return shown.render(found, console.list_columns())
    records = shown.records(found)
    return tables.as_json(records) if output == "json" else tables.as_csv(records)
