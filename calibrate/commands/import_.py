"""`calibrate import`: measurements that other tools made, as one file of samples."""

from pathlib import Path
from typing import Annotated

import typer

from calibrate.commands.options import FabricName, Files, GpuName, Quiet, skipped_lines
from sim.commands import console

DEFAULT_NAME = "samples.csv"


def import_(
    files: Files,
    out: Annotated[Path, typer.Option(help="the file of samples, or a folder for samples.csv")],
    gpu: GpuName = None,
    fabric: FabricName = None,
    quiet: Quiet = False,
) -> None:
    """Read measurements that other tools made, and write them as samples."""
    with console.progress(quiet) as tell:
        from calibrate import importers, limits, sanity
        from calibrate.importers import written
        from calibrate.profile import write_whole

        readings, names = [], [file.name for file in files]
        for file in files:
            tell(f"reading {file.name}")
            readings.append(importers.read(file, gpu, fabric))
        limits.check(readings, names)
        readings = sanity.without_nonsense(readings, names)
        samples = importers.samples_of(readings)
        target = out / DEFAULT_NAME if out.is_dir() or not out.suffix else out
        write_whole(target, written.write(samples))
    if not quiet:
        for line in skipped_lines(readings, names):
            console.note(line)
        console.note(f"wrote {sum(map(len, samples)):,} samples to {target}")
