"""What `calibrate compare` and `calibrate check` print: sentences first, then a line for each operation and size."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from calibrate.comparison import findings
from calibrate.comparison.compare import Shift, is_within
from calibrate.comparison.sides import Side
from calibrate.records import machine_record
from sim.reports.tables import Row, table
from topologies.quantity import percent

COLUMNS = ("operation", "part", "size", "points", "time", "80 % of points", "noise", "from")
CHECK_COLUMNS = ("ok", *COLUMNS)


class Check(TypedDict):
    """A health check as data: `ok` where nothing is slower than `tolerance` beyond its noise."""

    ok: bool
    tolerance: float
    against: str
    checks: list[Mapping[str, object]]
    machine: Mapping[str, object] | None
    differences: list[str]
    reasons: list[str]


def comparison(one: Side, two: Side, shifts: Sequence[Shift], width: int | None) -> str:
    """All that two sides come to, as text."""
    lines = [f"{one.name}, then {two.name}", ""]
    differences = findings.differences(one, two)
    lines += [*(f"- {line}" for line in differences), ""] if differences else []
    lines += [f"- {line}" for line in findings.sentences(one, two, shifts)]
    rows = [Row(cells=_cells(shift), record={}) for shift in shifts]
    return "\n".join(lines) + "\n\n" + table(COLUMNS, rows, width)


def verdict(reference: Side, subject: Side, shifts: Sequence[Shift], allowed: float, width: int | None) -> str:
    """Whether a side is as fast as its reference, why not, and every figure."""
    slow = slower(shifts, allowed)
    within = f"than {reference.name} by more than {percent(allowed)}"
    verb = "is" if len(slow) == 1 else "are"
    counted = f"{len(slow)} of {len(shifts)} {verb} slower" if slow else f"none of {len(shifts)} is slower"
    lines = [f"{'not ok' if slow else 'ok'}: {counted} {within}, beyond the noise", ""]
    told = [*findings.differences(reference, subject), *_reasons(reference, subject, shifts, allowed)]
    lines += [*(f"- {line}" for line in told), ""] if told else []
    rows = [Row(cells=("yes" if is_within(one, allowed) else "NO", *_cells(one)), record={}) for one in shifts]
    return "\n".join(lines) + "\n" + table(CHECK_COLUMNS, rows, width)


def check_record(reference: Side, subject: Side, shifts: Sequence[Shift], allowed: float) -> Check:
    """The same for scripts."""
    slow = slower(shifts, allowed)
    return {
        "ok": not slow,
        "tolerance": allowed,
        "against": reference.name,
        "checks": [{**record(shift), "ok": is_within(shift, allowed)} for shift in shifts],
        "machine": None if subject.machine is None else machine_record(subject.machine),
        "differences": findings.differences(reference, subject),
        "reasons": _reasons(reference, subject, shifts, allowed),
    }


def _reasons(reference: Side, subject: Side, shifts: Sequence[Shift], allowed: float) -> list[str]:
    """What is slower, what is too noisy to tell, and the GPU that is always last."""
    told = [shift for shift in shifts if not is_within(shift, allowed) or not shift.is_told]
    return findings.sentences(reference, subject, told)


def slower(shifts: Sequence[Shift], allowed: float) -> list[Shift]:
    """Those that are slower than the tolerance beyond their noise."""
    return [shift for shift in shifts if not is_within(shift, allowed)]


def record(shift: Shift) -> Mapping[str, object]:
    """A shift as data; `ratio` is the time of the second over that of the first."""
    return {
        "operation": shift.operation,
        "collective": shift.collective,
        "part": shift.part,
        "where": shift.where,
        "points": shift.points,
        "ratio": shift.ratio,
        "low": shift.low,
        "high": shift.high,
        "noise": shift.noise,
        "beyond_noise": shift.is_beyond_noise,
        "from": _source(shift),
    }


def side_record(side: Side) -> Mapping[str, object]:
    """What a side is of."""
    machine = None if side.machine is None else machine_record(side.machine)
    return {"name": side.name, "parts": side.parts, "machine": machine}


def _cells(shift: Shift) -> tuple[str, ...]:
    name = f"{shift.operation} {shift.collective}".strip()
    times = f"{_change(shift.low)} to {_change(shift.high)}"
    noise = f"±{percent(shift.noise)}"
    return name, shift.part, shift.where, str(shift.points), _change(shift.ratio), times, noise, _source(shift)


def _source(shift: Shift) -> str:
    return "points" if shift.measured else "fits"


def _change(ratio: float) -> str:
    return f"{ratio - 1:+.1%}".replace("%", " %")
