"""The journal of a run: a first line that says what was measured where, then a line of JSON for each measurement.

A line is written at once and is on the disk before the next point runs, so a run that is killed loses none that it told
of. Only the last line can be torn; it is dropped, and the run goes on behind the others.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from calibrate.machines.machine import Machine, check_hardware
from calibrate.measurement import Measurement
from calibrate.records import machine_in, machine_record, mapping, measurement_in, number, record
from calibrate.samples import Samples
from sim.costs.law import TIMED
from topologies.document import InputError, Value, shorten
from topologies.quantity import MB

FORMAT: Final = "shardsim samples 1"
NAME: Final = "samples.jsonl"
SUFFIX: Final = ".jsonl"
TOOK: Final = "took"
"""The field of a line that says for how many seconds the run was at its point."""
LARGEST = 200 * MB
_SAME_VERSIONS = ("driver", "cuda", "nccl", "torch")
_SAME_COUNTS = ("backend", "part", "link", "fabric", "num_gpus", "num_nodes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """On which machine, by which command and on which day the measurements were begun, as the first line says; and for
    how many seconds all runs together measured."""

    machine: Machine
    command: str
    date: str
    seconds: float = 0.0


def read(path: Path) -> tuple[Machine, tuple[Measurement, ...]]:
    """The machine and what was measured on it, in order; a torn last line counts as not written.

    Raises InputError, with the line, for any other line that is no measurement.
    """
    header, measurements = read_whole(path)
    return header.machine, measurements


def begins(path: Path) -> bool:
    """Whether a journal has its first line, without which it holds nothing."""
    return bool(_lines(path))


def read_whole(path: Path) -> tuple[Header, tuple[Measurement, ...]]:
    """As `read`, with all else that the journal says."""
    lines = _lines(path)
    if not lines:
        raise InputError(f"{path}: nothing was measured yet; `calibrate run --out {path.parent} --resume` goes on")
    header = _header(f"{path}:1", _json(f"{path}:1", lines[0]))
    rows = [(f"{path}:{row}", _json(f"{path}:{row}", line)) for row, line in enumerate(lines[1:], 2)]
    seconds = sum(abs(number(at, TOOK, data.get(TOOK, 0.0))) for at, data in rows)
    return replace(header, seconds=seconds), tuple(_measured(at, data, header.machine) for at, data in rows)


def _measured(at: str, data: Mapping[str, Value], machine: Machine) -> Measurement:
    """A line's measurement; InputError where it is of another machine than the first line's."""
    if "format" in data:
        raise InputError(f"{at}: another run begins here; keep the samples of each run in a file of its own")
    one = measurement_in(at, data)
    is_own = one.gpu == machine.part and one.fabric == machine.fabric if one.gpu else one.part == machine.part
    if not is_own:
        of = f"{one.part} of {one.gpu} {one.fabric}".strip() if one.gpu else one.part
        raise InputError(f"{at}: of {of}, but the first line is of {machine.part}; keep each machine in its own file")
    return one


def samples(machine: Machine, measurements: Sequence[Measurement], *, source: str = "") -> list[Samples]:
    """What can be fitted, one element for each operation on each part: neither wrong results nor throttled ones.

    `rows` are lines of the journal.
    """
    groups: dict[tuple[object, ...], list[tuple[int, Measurement]]] = {}
    for row, one in enumerate(measurements, 2):
        if not one.wrong and not one.throttled:
            groups.setdefault((one.operation, one.part, one.gpu, one.fabric, tuple(sorted(one.inputs))), []).append(
                (row, one)
            )
    told = source or f"{TIMED} on {machine.device}"
    return [_samples(machine, group, told) for group in groups.values()]


def _samples(machine: Machine, group: Sequence[tuple[int, Measurement]], source: str) -> Samples:
    first = group[0][1]
    return Samples(
        operation=first.operation,
        part=first.part,
        gpu=first.gpu,
        fabric=first.fabric,
        points={name: np.array([float(one.inputs[name]) for _, one in group]) for name in first.inputs},
        seconds=np.array([one.seconds for _, one in group]),
        rows=np.array([row for row, _ in group], dtype=np.int64),
        source=source,
        hardware=machine.hardware,
    )


def check_same(found: Machine, at_hand: Machine) -> None:
    """Raises InputError where the journal is of another machine, or of other software, naming what differs."""
    there, here = asdict(found), asdict(at_hand)
    pairs = [(name, there[name], here[name]) for name in _SAME_COUNTS]
    pairs += [(name, found.software.get(name, ""), at_hand.software.get(name, "")) for name in _SAME_VERSIONS]
    different = [f"{name} {old or 'none'} there, {new or 'none'} here" for name, old, new in pairs if old != new]
    if different:
        raise InputError(f"--resume: the samples are of another machine: {'; '.join(different)}; write another --out")


class Journal:
    """A journal open for more: made with its first line where there is none, else cut behind its last whole line."""

    def __init__(self, path: Path, machine: Machine, *, command: str = "", day: date | None = None) -> None:
        """Raises InputError where it cannot be written, or another run is writing it."""
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            _lock(self._file, path)
            os.ftruncate(self._file, sum(len(line) + 1 for line in _lines(path)))
            if not os.fstat(self._file).st_size:
                self._write({"format": FORMAT, **_header_record(machine, command, day or date.today())})
                keep_entries(path.parent)
        except OSError as error:
            raise _unwritable(path, error) from None

    def add(self, measurement: Measurement, *, took: float = 0.0) -> None:
        """Write one measurement, whose point took so many seconds in all; when this returns it is on the disk."""
        try:
            self._write({**record(measurement), TOOK: round(took, 3)})
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def close(self) -> None:
        os.close(self._file)

    def _write(self, line: Mapping[str, object]) -> None:
        whole = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        while whole:
            whole = whole[os.write(self._file, whole) :]
        os.fsync(self._file)


def keep_entries(folder: Path) -> None:
    """Have the names of a folder's files on the disk, as their contents are; Windows opens no folders, and need not."""
    if os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be written: {(error.strerror or str(error)).lower()}")


def _lock(file: int, path: Path) -> None:
    """One run writes a journal; the lock goes with the process, however that ends."""
    with contextlib.suppress(ImportError):  # a system without such locks
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            raise InputError(f"{path}: another run is writing it; wait for its end, or write another --out") from None


def _header_record(machine: Machine, command: str, day: date) -> dict[str, object]:
    """The first line as data."""
    return {"machine": machine_record(machine), "command": command, "date": day.isoformat()}


def _lines(path: Path) -> list[bytes]:
    """The whole lines of a journal: what follows the last line end was torn off."""
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: larger than {LARGEST / MB:.0f} MB; no run writes so much")
        return path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None


def _json(at: str, line: bytes) -> dict[str, Value]:
    try:
        return mapping(at, orjson.loads(line))
    except orjson.JSONDecodeError as error:
        raise InputError(f"{at}: not a line of JSON ({error.msg}); remove it, and --resume measures it again") from None


def _header(at: str, data: dict[str, Value]) -> Header:
    if data.get("format") != FORMAT:
        raise InputError(f"{at}: format {shorten(data.get('format'))} is not {FORMAT!r}; `calibrate run` writes it")
    machine = machine_in(at, data.get("machine"))
    check_hardware(at, machine.hardware)
    for kind in ("gpu", "link") if machine.is_cpu else ():
        if kind not in machine.hardware:
            raise InputError(f"{at}: machine.hardware.{kind} is missing; measure again into another --out")
    return Header(machine=machine, command=str(data.get("command", "")), date=str(data.get("date", "")))
