"""The options that commands of `calibrate` share."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.commands import completion

if TYPE_CHECKING:
    from calibrate.importers import Reading
    from topologies.fits import Fits

FORMATS = ("table", "json", "csv")

Files = Annotated[list[Path], typer.Argument(help="CSVs, logs of nccl-tests and mamf-finder, PyTorch traces")]
GpuName = Annotated[str | None, typer.Option("--gpu", help="the GPU of rows that do not name theirs")]
FabricName = Annotated[str | None, typer.Option("--fabric", help="what joins the nodes, such as ib-ndr400x8")]
Profile = Annotated[Path | None, typer.Option(help="fits to lay over those of the package: a file or a folder")]
Format = Annotated[str, typer.Option("--format", help="table, json or csv", autocompletion=completion.words(*FORMATS))]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no notes and no progress on stderr")]


def profile_in(path: Path | None) -> "Mapping[str, Fits]":
    """The fits of a profile by part; none where none is given. InputError where they say what cannot be."""
    if path is None:
        return {}
    from calibrate import sanity

    return sanity.checked(path)


def skipped_lines(readings: "list[Reading]", names: list[str]) -> list[str]:
    """A line for each reason for which rows of a file are not used."""
    from collections import Counter

    lines = []
    for reading, name in zip(readings, names, strict=True):
        for reason, count in Counter(one.reason for one in reading.skipped).most_common():
            lines.append(f"{name}: {count} {'row' if count == 1 else 'rows'} not used: {reason}")
    return lines
