"""`calibrate fit`: samples become the fits of parts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibrate.commands.options import FORMATS, FabricName, Files, Format, GpuName, Quiet, skipped_lines
from sim.commands import console
from topologies.document import InputError

if TYPE_CHECKING:
    from calibrate.fitting import Fitted, Left


def fit(
    files: Files,
    gpu: GpuName = None,
    fabric: FabricName = None,
    out: Annotated[
        Path | None, typer.Option(help="a folder for a file per part, or the file of one part; the user's own fits")
    ] = None,
    only: Annotated[str | None, typer.Option(help="the operations whose names begin so, such as 'gemm'")] = None,
    source: Annotated[str | None, typer.Option(help="where the measurements are from; said in the fits")] = None,
    seed: Annotated[int, typer.Option(help="which points are left out; same seed, same bytes")] = 0,
    output: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Fit the costs of the simulator to measurements, and write the fits where it finds them."""
    console.one_of("format", output, FORMATS)
    with console.progress(quiet) as tell:
        tell("reading")
        from calibrate import importers, limits, sanity
        from calibrate.fitting import fit_all
        from topologies.fits import users_folder

        readings, names = [importers.read(file, gpu, fabric) for file in files], [file.name for file in files]
        limits.check(readings, names)
        readings = sanity.without_nonsense(readings, names)
        samples = [
            replace(one, source=source or one.source)
            for one in importers.samples_of(readings)
            if one.operation.startswith(only or "")
        ]
        notes = skipped_lines(readings, names)
        if not samples:
            raise InputError(notes[0] if notes else f"nothing to fit: {_nothing(only, names)}")
        target = out or users_folder()
        _check_target(target, {one.part for one in samples})
        done: list[Fitted | Left] = []
        try:
            for one in fit_all(samples, seed=seed, tell=tell):
                done.append(one)
        except KeyboardInterrupt:
            _write(done, target, seed, quiet)
            raise
    _check_any_fitted(done)
    console.show(_shown(done, output))
    if not quiet:
        for line in notes:
            console.note(line)
        for line in _kept(done):
            console.note(line)
    _write(done, target, seed, quiet)


def _nothing(only: str | None, names: list[str]) -> str:
    return f"no operation begins with {only}" if only else f"no measurements in {', '.join(names)}"


def _kept(done: "list[Fitted | Left]") -> Iterator[str]:
    """Where samples speak of some parameters only: what rests on the others is predicted as before."""
    from calibrate.fitting import Fitted

    for one in done:
        if isinstance(one, Fitted) and one.num_kept:
            count = f"{one.num_kept} of {len(one.fit.values)} parameters"
            yield f"{one.operation} on {one.part}: {count} stay as they were, these samples say nothing of them"


def _check_target(target: Path, parts: set[str]) -> None:
    if target.suffix == ".yaml" and len(parts) > 1:
        raise InputError(f"--out {target}: samples of {', '.join(sorted(parts))}; name a folder for a file of each")


def _check_any_fitted(done: "list[Fitted | Left]") -> None:
    from calibrate.fitting import Left

    left = [one for one in done if isinstance(one, Left)]
    if len(left) == len(done):
        raise InputError("\n".join(f"not fitted: {one.operation} on {one.part}: {one.reason}" for one in left[:2]))


def _write(done: "list[Fitted | Left]", target: Path, seed: int, quiet: bool) -> None:
    from calibrate.fitting import Fitted, by_part
    from calibrate.profile import merge_fits

    written = []
    for part, fits in by_part(one for one in done if isinstance(one, Fitted)).items():
        file = target if target.suffix == ".yaml" else target / f"{part}.yaml"
        merge_fits(file, part, fits, command=f"calibrate fit --seed {seed}")
        written.append(file)
    if written and not quiet:
        console.note(f"wrote {', '.join(map(str, written))}")


def _shown(done: "list[Fitted | Left]", output: str) -> str:
    from calibrate import tables
    from sim.reports import tables as lists

    if output == "table":
        return tables.fits(done, console.list_columns())
    records = tables.fit_records(done)
    return lists.as_json(records) if output == "json" else lists.as_csv(records)
