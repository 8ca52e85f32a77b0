"""What `--out DIR` asks of a command that plays: a folder that is tried before the run, and a word of what it holds."""

import contextlib
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from sim.commands import console


@contextlib.contextmanager
def prepared(out: Path | None, files: tuple[Path, ...]) -> Iterator[Mapping[str, bytes]]:
    """Make the folder before the run that is played within, and take the inputs as they are now, by their names.

    A folder that is new and still empty when the run fails is gone again. Raises InputError where it cannot be written
    or an input is gone.
    """
    if out is None:
        yield {}
        return
    from sim.reports.files import make, read

    is_new = not os.path.exists(out)  # no error for an impossible name: `make` refuses it in words
    make(out)
    try:
        yield read(files)
    except BaseException:
        if is_new and not any(out.iterdir()):
            out.rmdir()
        raise


def with_profile(command: str, profile: Path | None) -> str:
    """The command that plays the same, with the profile that was laid over it."""
    return command if profile is None else f"{command} --profile {shlex.quote(str(profile))}"


def note_written(written: tuple[Path, ...], out: Path | None, quiet: bool) -> None:
    """Tell which files there are, those of a folder within by that folder alone."""
    if out is not None and not quiet:
        names = dict.fromkeys(path.relative_to(out).parts[0] for path in written)
        console.note(f"wrote {', '.join(names)} to {out}")
