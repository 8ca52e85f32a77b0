"""`calibrate run`: this machine is measured, and what came out becomes its profile."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibrate.commands.options import FORMATS, Format, Quiet
from sim.commands import completion, console
from topologies.document import Fault, InputError

if TYPE_CHECKING:
    from calibrate.running.asked import Asked, Budget
    from calibrate.running.run import Result, Taken

BACKENDS = ("nccl", "gloo")
LONGEST = 24 * 60.0
"""Minutes."""

Backend = Annotated[
    str, typer.Option(help="nccl: GPUs; gloo: processes on processors", autocompletion=completion.words(*BACKENDS))
]
Processes = Annotated[
    int | None, typer.Option(help="how many; one for each GPU, or two on processors", min=1, max=1024)
]
Minutes = Annotated[float | None, typer.Option(help="how long to measure; 1 if quick, 30 if full, else 5")]


def run(
    quick: Annotated[bool, typer.Option("--quick", help="a minute: coarse")] = False,
    full: Annotated[bool, typer.Option("--full", help="half an hour: thorough")] = False,
    backend: Backend = "nccl",
    processes: Processes = None,
    out: Annotated[Path | None, typer.Option(help="the folder to write; calibration-<part>")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the points that the folder lacks")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be measured")] = False,
    only: Annotated[str, typer.Option(help="the operations whose names begin so, such as 'gemm'")] = "",
    gpu: Annotated[str, typer.Option(help="the GPU of the catalogue that it is taken for, or a file: its sheet")] = "",
    fabric: Annotated[str, typer.Option(help="what joins the nodes, such as ib-ndr400x8")] = "",
    minutes: Minutes = None,
    install: Annotated[bool, typer.Option("--install", help="use the fits in every simulation from now on")] = False,
    output: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Measure this machine - kernels, collectives, links - and write its profile.

    Exit code 5 says that points of the plan are left; --resume goes on with them.
    """
    console.one_of("format", output, FORMATS)
    console.one_of("backend", backend, BACKENDS)
    if install and backend == "gloo":
        raise InputError("--install: what is measured on a processor is no GPU's; use it by --profile")
    asked = _asked(quick, full, backend, only, gpu, fabric, minutes, dry_run)
    folder = _folder(asked, out, quiet)
    with console.progress(quiet) as tell:
        from calibrate.running import run as running

        taken = running.Taken(folder=folder, command=_command(), tell=tell)
        end = _measure(taken, asked, processes, resume=resume)
        if end is None:  # another rank than the first prints and writes nothing
            return
        shown, notes = (_plan(taken, output), []) if dry_run else _finish(taken, output, install)
    console.show(shown)
    for line in () if quiet else notes:
        console.note(line)
    if end != console.OK:
        raise typer.Exit(end)


def _folder(asked: "Asked", out: Path | None, quiet: bool) -> Path:
    """Where it will be written; what would spoil the measurement is told first, while it can still be mended."""
    with console.progress(quiet) as tell:
        tell("looking for devices")
        from calibrate.launching.launch import is_told
        from calibrate.machines.at_hand import problems_at_hand
        from calibrate.running import run as running

        folder = running.folder_of(asked, out)
        told = problems_at_hand(asked.backend) if is_told() and not quiet else []
    for line in told:
        console.note(line)
    return folder


def _command() -> str:
    """What was typed, for the profile; of paths, the last names."""
    words = (Path(word).name if "/" in word else word for word in sys.argv[1:])
    return " ".join(["calibrate", *words])


def _measure(taken: "Taken", asked: "Asked", processes: int | None, *, resume: bool) -> int | None:
    """Measure; the exit code of how it ended, None in a process that is not the first. A fault says what is kept."""
    from calibrate.running import run as running

    try:
        is_whole = running.measure(taken, asked, processes, resume=resume)
    except KeyboardInterrupt:
        if not taken.measured:
            raise
        taken.tell("interrupted, fitting what was measured (Ctrl-C again leaves the samples only)")
        return console.INTERRUPTED
    except (Fault, InputError) as error:
        kept = f"; {taken.measured} points are kept in {taken.folder}, --resume goes on" if taken.measured else ""
        raise type(error)(f"{error}{kept}") from None
    if is_whole is None:
        return None
    if not (taken.measured or taken.before or asked.is_plan):
        raise InputError(_why_nothing(taken, asked))
    return console.PARTIAL if taken.unmeasured and not asked.is_plan else console.OK


def _why_nothing(taken: "Taken", asked: "Asked") -> str:
    if taken.left_out:
        return f"nothing was measured: {taken.left_out[0].operation}: {taken.left_out[0].reason}"
    return f"--only {asked.only!r}: nothing that is measured here begins so; --dry-run lists what is"


def _finish(taken: "Taken", output: str, install: bool) -> tuple[str, list[str]]:
    """Fit and write; what is shown of it, and notes."""
    from calibrate.running import run as running

    result = running.finish(taken.folder, command=taken.command, tell=taken.tell)
    installed = running.install(result, taken.command) if install else []
    return _shown(result, output), [*_notes(taken, result, installed)]


def _asked(
    quick: bool, full: bool, backend: str, only: str, gpu: str, fabric: str, minutes: float | None, dry_run: bool
) -> "Asked":
    from calibrate.running.asked import MINUTES, Asked
    from topologies.quantity import MINUTE

    if quick and full:
        raise InputError("--quick and --full say different things; keep one of them")
    if backend == "gloo" and (gpu or fabric):
        raise InputError(f"--{'gpu' if gpu else 'fabric'}: --backend gloo measures no GPU; leave it out")
    if minutes is not None and not 0 < minutes <= LONGEST:
        raise InputError(f"--minutes {minutes:g}: write more than 0 and at most {LONGEST:.0f}")
    budget: Budget = "quick" if quick else "full" if full else "default"
    return Asked(
        backend="gloo" if backend == "gloo" else "nccl",
        budget=budget,
        seconds=MINUTE * (MINUTES[budget] if minutes is None else minutes),
        only=only,
        gpu=gpu,
        fabric=fabric,
        is_plan=dry_run,
    )


def _plan(taken: "Taken", output: str) -> str:
    from calibrate.running import summary as run_summary
    from sim.reports import tables

    if output == "table":
        return run_summary.plan(taken.plan, console.list_columns())
    records = run_summary.plan_records(taken.plan)
    return tables.as_json(records) if output == "json" else tables.as_csv(records)


def _shown(result: "Result", output: str) -> str:
    from calibrate import tables as fits
    from calibrate.running import summary as run_summary
    from sim.reports import tables

    if output == "table":
        return run_summary.text(result, console.list_columns())
    if output == "json":
        return tables.as_json(run_summary.record(result))
    return tables.as_csv(fits.fit_records(result.done))


def _notes(taken: "Taken", result: "Result", installed: list[Path]) -> Iterator[str]:
    from calibrate.running.run import PROFILE
    from calibrate.running.summary import left_out

    yield from left_out(taken.left_out)
    if taken.unmeasured:
        yield f"{taken.unmeasured} of {taken.plan.points} points are left; --resume goes on with them"
    written = [*([result.folder / PROFILE] if result.fitted else []), *installed]
    if written:
        yield f"wrote {', '.join(map(str, written))}"
