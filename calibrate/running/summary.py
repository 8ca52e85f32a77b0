"""What a run came to, in words and as data: fits with their errors, what was measured and is not fitted, what to do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import median

from calibrate import tables
from calibrate.machines.machine import Machine
from calibrate.machines.own_gpu import ASSUMED
from calibrate.measurement import LeftOut, Measurement
from calibrate.running.asked import Planned
from calibrate.running.run import CLUSTER, PROFILE, Result, has_own_gpu, slow_gpu
from calibrate.subjects import is_known
from sim.reports.tables import Row, table
from topologies.quantity import percent, seconds

PLAN_COLUMNS = ("operation", "part", "points", "time", "groups of ranks")
FIGURE_COLUMNS = ("operation", "part", "points", "shortest", "median", "longest")
SHOWN = 3


def plan(planned: Planned, width: int | None) -> str:
    """What would be measured, a line for each operation."""
    rows = [
        Row(cells=(one.operation, one.part, str(one.points), f"{one.seconds:.0f} s", _groups(one.groups)), record={})
        for one in planned.families
    ]
    if not rows:
        return "nothing is left to measure\n"
    return table(PLAN_COLUMNS, rows, width) + f"\n{planned.points} points, about {planned.seconds:.0f} s\n"


def _groups(groups: Sequence[Sequence[int]]) -> str:
    """0-7, 0-3: the ranks of each group, or their number where there are many."""
    if not groups:
        return "each alone"
    shown = ", ".join("+".join(map(str, group)) if len(group) <= 2 else _span(group) for group in groups[:SHOWN])
    return shown + (f", {len(groups) - SHOWN} more" if len(groups) > SHOWN else "")


def _span(group: Sequence[int]) -> str:
    """0-7; 0-56/8 where it is every eighth."""
    step = group[1] - group[0]
    return f"{group[0]}-{group[-1]}" + (f"/{step}" if step > 1 else "")


def plan_records(planned: Planned) -> list[Mapping[str, object]]:
    """The same as data."""
    return [
        {
            "operation": one.operation,
            "part": one.part,
            "points": one.points,
            "seconds": one.seconds,
            "groups": [list(group) for group in one.groups],
        }
        for one in planned.families
    ]


def text(result: Result, width: int | None) -> str:
    """The fits, the figures of what has no law, and what is notable."""
    blocks = [tables.fits(result.done, width) if result.done else "", _figures(result.measured, width)]
    blocks.append("".join(f"{sentence}\n" for sentence in remarks(result)))
    return "\n".join(block for block in blocks if block)


def _figures(measured: Sequence[Measurement], width: int | None) -> str:
    rows = [Row(cells=_figure_cells(record), record=record) for record in figures(measured)]
    return table(FIGURE_COLUMNS, rows, width) if rows else ""


def _figure_cells(record: Mapping[str, object]) -> tuple[str, ...]:
    times = (record[f"{name}_s"] for name in FIGURE_COLUMNS[3:])
    return (*(str(record[name]) for name in FIGURE_COLUMNS[:3]), *(seconds(float(str(time))) for time in times))


def figures(measured: Sequence[Measurement]) -> list[Mapping[str, object]]:
    """Of what was measured and has no law: how long it took."""
    groups: dict[tuple[str, str], list[float]] = {}
    for one in measured:
        if not is_known(one.operation) and not one.wrong:
            groups.setdefault((one.operation, one.part), []).append(one.seconds)
    return [
        {
            "operation": operation, "part": part, "points": len(times),
            "shortest_s": min(times), "median_s": median(times), "longest_s": max(times),
        }
        for (operation, part), times in groups.items()
    ]  # fmt: skip


def remarks(result: Result) -> Iterator[str]:
    """What is notable about the measurements, a sentence each, and what can be done next."""
    counts = result.counts
    yield f"{counts.points} points in {result.folder}"
    for what, reasons in (
        ("throttled", [one.throttled for one in result.measured if one.throttled]),
        ("wrong", [one.wrong for one in result.measured if one.wrong]),
    ):
        if reasons:
            yield f"{_points(len(reasons))} {what}, kept apart and not fitted: {max(set(reasons), key=reasons.count)}"
    if has_own_gpu(result.machine):
        yield from _assumed(result.machine)
    if result.impossible:
        yield f"{_points(result.impossible)} faster than {result.machine.part} can be, not fitted: is it another GPU?"
    slow = slow_gpu(result.measured)
    if slow is not None:
        yield f"rank {slow[0]} is slower than the middle one, by {percent(slow[1])}: is it hot, shared or held down?"
    if result.fitted:
        yield from _next(result)


def _assumed(machine: Machine) -> Iterator[str]:
    """What nobody told of a GPU that no catalogue has."""
    sheet = machine.hardware["gpu"]
    sources = sheet.get("sources") if isinstance(sheet, dict) else None
    for figure, source in sources.items() if isinstance(sources, dict) else ():
        if str(source).startswith(ASSUMED):
            yield f"{machine.device} is in no catalogue; its {figure} is {source}; --gpu FILE takes a sheet of your own"


def _points(count: int) -> str:
    return f"{count} {'point' if count == 1 else 'points'}"


def _next(result: Result) -> Iterator[str]:
    path, backend = result.folder / PROFILE, " --backend gloo" if result.machine.is_cpu else ""
    if not result.machine.is_cpu:
        cluster = result.folder / CLUSTER if has_own_gpu(result.machine) else "CLUSTER"
        yield f"next: shardsim train MODEL {cluster} --profile {path}"
    yield f"next: calibrate verify{backend} --profile {path}, or calibrate compare {path} OTHER"


def left_out(points: Sequence[LeftOut]) -> Iterator[str]:
    """The points that could not be measured, by reason."""
    reasons = [one.reason for one in points]
    for reason in dict.fromkeys(reasons):
        operations = ", ".join(dict.fromkeys(one.operation for one in points if one.reason == reason))
        yield f"{_points(reasons.count(reason))} left out ({operations}): {reason}"


def record(result: Result) -> dict[str, object]:
    """The same as data."""
    slow = slow_gpu(result.measured)
    return {
        "folder": str(result.folder),
        "profile": str(result.folder / PROFILE) if result.fitted else None,
        "part": result.machine.part,
        "backend": result.machine.backend,
        "measured": asdict(result.counts),
        "impossible": result.impossible,
        "slow_rank": None if slow is None else {"rank": slow[0], "behind": slow[1]},
        "operations": tables.fit_records(result.done),
        "figures": figures(result.measured),
    }
