"""`calibrate check`: a health check: is anything slower than it was, or than such hardware is?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibrate.commands.compare import SIDE
from calibrate.commands.options import FORMATS, FabricName, Format, GpuName, Quiet
from sim.commands import console

if TYPE_CHECKING:
    from calibrate.comparison.compare import Shift
    from calibrate.comparison.sides import Side


def check(
    profile: Annotated[Path, typer.Argument(help=SIDE)],
    against: Annotated[
        Path | None,
        typer.Option(help="the reference, such as a profile of a day when all was well; else shipped fits"),
    ] = None,
    tolerance: Annotated[str, typer.Option(help="how much slower anything may be, beyond its noise")] = "5%",
    gpu: GpuName = None,
    fabric: FabricName = None,
    output: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Tell whether a machine is as fast as its reference. Exit code 3 where something is slower than the tolerance."""
    console.one_of("format", output, FORMATS)
    allowed = _share(tolerance)
    with console.progress(quiet) as tell:
        tell(f"reading {profile.name}")
        from calibrate.comparison import compare as comparing
        from calibrate.comparison import sides

        subject = sides.load(profile, gpu, fabric)
        reference = sides.load(against, gpu, fabric) if against else sides.shipped(subject.parts)
        _check_alike(subject, reference)
        tell("comparing")
        shifts = comparing.shifts(reference, subject)
    console.show(_shown(reference, subject, shifts, allowed, output))
    if against is None and not quiet:
        console.note("against the shipped fits of this hardware; --against FILE compares with a machine of your own")
    if not all(comparing.is_within(shift, allowed) for shift in shifts):
        raise typer.Exit(console.INFEASIBLE)


def _share(text: str) -> float:
    """A tolerance such as 5% or 0.05 as a share. InputError for what is none."""
    from topologies.document import InputError, shorten

    try:
        share = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        share = float("nan")
    if not 0 <= share < 1:
        raise InputError(f"--tolerance {shorten(text)} is no share; write one such as 5%")
    return share


def _check_alike(subject: "Side", reference: "Side") -> None:
    from topologies.document import InputError

    if subject.is_cpu != reference.is_cpu:
        cpu, other = (subject, reference) if subject.is_cpu else (reference, subject)
        said = f"{cpu.name} is of processes on a processor, {other.name} of GPUs"
        raise InputError(f"{said}: neither tells anything of the other; name a reference of the same hardware")


def _shown(reference: "Side", subject: "Side", shifts: "list[Shift]", allowed: float, output: str) -> str:
    from calibrate.comparison import tables as compared_tables
    from sim.reports import tables as lists

    if output == "table":
        return compared_tables.verdict(reference, subject, shifts, allowed, console.list_columns())
    record = compared_tables.check_record(reference, subject, shifts, allowed)
    return lists.as_csv(record["checks"]) if output == "csv" else lists.as_json(record)
