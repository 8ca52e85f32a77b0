"""`calibrate verify`: real sharded blocks, each beside its reference and beside the simulator."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from calibrate.commands.options import FORMATS, Format, Quiet
from calibrate.commands.run import BACKENDS, Backend, Processes
from sim.commands import console
from topologies.document import InputError

if TYPE_CHECKING:
    from calibrate.machines import machine
    from calibrate.verification.verified import Verification


def verify(
    backend: Backend = "nccl",
    processes: Processes = None,
    profile: Annotated[
        Path | None, typer.Option(help="this machine's profile; calibration-<part>/profile.yaml")
    ] = None,
    only: Annotated[str, typer.Option(help="the blocks whose names have this in them, such as 'pipeline'")] = "",
    out: Annotated[Path | None, typer.Option(help="a folder for a page with all timelines, JSON and traces")] = None,
    output: Format = "table",
    quiet: Quiet = False,
) -> int:
    """Run small sharded blocks on this machine, and set them beside a reference and the simulator.

    Exit code 3 says that a block does not give what its reference gives; how far times are off is only told.
    """
    console.one_of("format", output, FORMATS)
    console.one_of("backend", backend, BACKENDS)
    with console.progress(quiet) as tell:
        tell("starting")
        from calibrate.verification import files as verified_files
        from calibrate.verification import verify as verification
        from sim.reports import files

        if out is not None:
            files.make(out)
        chosen = cast("machine.Backend", backend)
        found = verification.verify(profile, chosen, processes, _names(only), tell)
        if found is None:
            return console.OK
        if out is not None:
            verified_files.write(found, out)
    console.show(_shown(found, output))
    if not quiet:
        _note(found, profile is None, out)
    return console.INFEASIBLE if found.unequal else console.OK


def _names(only: str) -> list[str]:
    from calibrate.verification.predicted import PLANS

    names = [name for name in PLANS if only.lower() in name]
    if not names:
        raise InputError(f"--only {only!r}: no block has that in its name; there are {', '.join(PLANS)}")
    return names


def _note(found: "Verification", is_found_here: bool, out: Path | None) -> None:
    from calibrate.verification import files as verified_files

    if is_found_here:
        console.note(f"with {found.profile}, found here")
    if out is not None:
        console.note(f"wrote {out / verified_files.PAGE}, results.json beside it, and traces for Perfetto")
    for ran in found.unequal:
        console.note(f"{ran.name} does not equal its reference: {ran.why}")


def _shown(found: "Verification", output: str) -> str:
    from calibrate.verification import verified
    from sim.reports import tables

    if output == "table":
        return verified.render(found, console.list_columns())
    if output == "json":
        return tables.as_json(verified.record(found))
    return tables.as_csv([verified.block_record(one) for one in found.blocks])
