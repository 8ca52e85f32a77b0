"""Measured servers beside predictions: recorded runs played again, mean latencies under so many users, throughputs.

Errors are predicted/measured - 1. Rows whose measured TTFT is 5 s or more are queueing, which multiplies the smallest
error in the capacity: where a table has some, figures are told of all rows, and of the others.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Final

from sim.measured_runs import servers
from sim.measured_runs.servers import Kind, Server
from sim.measured_runs.table import Row
from sim.serving import replay as replays
from sim.serving.closed_loop import closed_loop
from sim.serving.costs import operators
from sim.uncertainty import Spread
from topologies.document import Infeasible, InputError, shorten
from topologies.quantity import KILO, MILLISECOND

SATURATED_MS: Final = 5 * KILO
METRICS: Final = ("ttft", "tpot", "throughput", "latency", "kv_blocks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One row that was played: by metric (mean_ttft_ms, output_throughput, kv_blocks, ...) measured and predicted;
    `spans`: by metric the 80 % interval over the prediction, where there is one."""

    row: str
    about: str
    measured: Mapping[str, float]
    predicted: Mapping[str, float]
    spans: Mapping[str, Spread] = field(default_factory=dict)

    @property
    def errors(self) -> dict[str, float]:
        return {name: self.predicted[name] / value - 1 for name, value in self.measured.items() if value}

    def is_covered(self, metric: str) -> bool:
        """Whether what was measured lies in the interval of a metric that has one."""
        low, high = self.spans[metric]
        return low <= self.measured[metric] / self.predicted[metric] <= high

    @property
    def is_saturated(self) -> bool:
        return self.measured.get("mean_ttft_ms", 0.0) >= SATURATED_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """One row that was not played, and why."""

    row: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What became of every row of a table."""

    results: tuple[Result, ...]
    skipped: tuple[Skipped, ...]


def validate(
    path: Path,
    kind: Kind,
    *,
    requests: Path | None = None,
    ops: Path | None = None,
    on_row: Callable[[int, int], None] = lambda done, total: None,
) -> Ledger:
    """Play every row of a table; `requests` and `ops` (a folder) belong to a table of configurations.

    Raises InputError where the file is not such a table, or where what stands beside it lets no row be played.
    """
    if kind == "configurations":
        return _replayed(path, requests, ops, on_row)
    rows = servers.rows(path)
    played: list[Result | Skipped] = []
    for place, row in enumerate(rows):
        on_row(place, len(rows))
        played.append(play(row, kind, servers.name_of(row, place)))
    return _ledger(played)


def play(row: Row, kind: Kind, name: str) -> Result | Skipped:
    """One row of a table of servers, or of throughputs."""
    read: Callable[[Row, str], Server] = servers.server if kind == "servers" else servers.throughput
    try:
        return _served(read(row, name))
    except (InputError, Infeasible) as error:
        return Skipped(row=name, reason=str(error))


def summary(ledger: Ledger) -> dict[str, object]:
    """The ledger in the keys of docs/design.md, section 6."""
    found = {metric: _spread(ledger.results, metric) for metric in METRICS}
    return {
        "rows": len(ledger.results),
        "skipped": [{"row": one.row, "reason": one.reason} for one in ledger.skipped],
        **{metric: spread for metric, spread in found.items() if spread},
        "results": rows(ledger),
    }


def rows(ledger: Ledger) -> list[dict[str, object]]:
    """Every row that was played, measured beside predicted."""
    return [
        {
            "row": one.row,
            "about": one.about,
            **{
                name: {"measured": value, "predicted": one.predicted[name], "error": one.errors.get(name)}
                for name, value in one.measured.items()
            },
        }
        for one in ledger.results
    ]


def _replayed(path: Path, requests: Path | None, ops: Path | None, on_row: Callable[[int, int], None]) -> Ledger:
    """A file at fault ends every row alike: then that is told, and not that nothing was played."""
    if requests is None:
        raise InputError(f"{path.name} has configurations of servers; add --requests FILE, what came of each request")
    if ops is not None:
        _check_folder(ops)
    found = replays.configurations(path)
    played: list[Result | Skipped] = []
    refusals: list[InputError] = []
    for place, configuration in enumerate(found):
        on_row(place, len(found))
        name = f"{configuration.model} on {configuration.hardware}"
        try:
            played.append(_again(configuration, requests, ops, name))
        except (InputError, Infeasible) as error:
            played.append(Skipped(row=name, reason=str(error)))
            if isinstance(error, InputError):
                refusals.append(error)
    if refusals and len(refusals) == len(found):
        raise refusals[0]
    return _ledger(played)


def _check_folder(ops: Path) -> None:
    missing = [name for name in operators.FILES if not (ops / name).is_file()]
    if missing:
        needed = ", ".join(operators.FILES)
        raise InputError(f"--ops: there is no {missing[0]} in {shorten(str(ops))}; name a folder with {needed}")


def _again(configuration: replays.Configuration, requests: Path, ops: Path | None, name: str) -> Result:
    score = replays.replay(configuration, replays.recording(requests, configuration), ops)
    return Result(
        row=name,
        about=f"vllm {configuration.version}, {score.num_requests} requests",
        measured=_in_milliseconds(score.measured),
        predicted=_in_milliseconds(score.predicted),
    )


def _in_milliseconds(metrics: Mapping[str, float]) -> dict[str, float]:
    blocks = {name: value for name, value in metrics.items() if name == "kv_blocks"}
    return {f"{name}_ms": value / MILLISECOND for name, value in metrics.items() if name not in blocks} | blocks


def _served(server: Server) -> Result:
    """A row, played as a closed loop, or all at once."""
    users = server.concurrency or server.num_prompts or 1
    means = closed_loop(
        server.model,
        server.cluster,
        server.deployment,
        server.framework,
        prompt=server.prompt,
        output=server.output,
        concurrency=users,
        num_prompts=server.num_prompts,
    )
    measured = {
        "mean_ttft_ms": server.ttft_ms,
        "mean_tpot_ms": server.tpot_ms,
        "output_throughput": server.output_throughput,
    }
    predicted = {
        "mean_ttft_ms": means.ttft / MILLISECOND,
        "mean_tpot_ms": means.tpot / MILLISECOND,
        "output_throughput": means.output_throughput,
    }
    layout = server.deployment.layout
    return Result(
        row=server.name,
        about=f"{server.framework.name}, {server.model.name}, tp {layout.tp}, {server.prompt} + {server.output} tokens",
        measured={name: value for name, value in measured.items() if value},
        predicted=predicted,
        spans={"mean_ttft_ms": means.spans["mean_ttft_ms"], "mean_tpot_ms": means.spans["mean_tpot_ms"]},
    )


def _ledger(played: Iterable[Result | Skipped]) -> Ledger:
    listed = list(played)
    return Ledger(
        results=tuple(one for one in listed if isinstance(one, Result)),
        skipped=tuple(one for one in listed if isinstance(one, Skipped)),
    )


def _spread(results: Sequence[Result], metric: str) -> dict[str, object]:
    """Of a metric, or of each of its statistics: over all rows, and over those that are not saturated, where some are;
    empty where nothing was measured."""
    names = list(dict.fromkeys(name for one in results for name in one.measured if metric in name))
    calm = [one for one in results if not one.is_saturated]
    told: list[dict[str, object]] = [
        {
            **_errors(results, name),
            **({"unsaturated": _errors(calm, name)} if len(calm) < len(results) and calm else {}),
        }
        for name in names
    ]
    if len(names) == 1:
        return told[0]
    return {name.partition("_")[0]: one for name, one in zip(names, told, strict=True)}


def _errors(results: Sequence[Result], name: str) -> dict[str, float | int | None]:
    errors = [one.errors[name] for one in results if name in one.errors]
    apes = [abs(error) for error in errors]
    covered = [one.is_covered(name) for one in results if name in one.errors and name in one.spans]
    return {
        "rows": len(errors),
        "mape": fmean(apes) if apes else None,
        "median_ape": median(apes) if apes else None,
        "bias": fmean(errors) if errors else None,
        "coverage_80": fmean(covered) if covered else None,
    }
