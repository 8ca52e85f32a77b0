"""How good served loads are, on measured servers: `python -m tests.measured.servers [TABLE [STEP]]`.

Plays every STEP-th row as `shardsim validate` does, and prints median errors by backend, model, GPUs and users. Rows
name no protocol: see sim.serving.closed_loop for what is assumed. Rows with a TTFT of 5 s or more are apart.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Final

from sim.measured_runs import servers
from sim.measured_runs.table import Row
from sim.serving.closed_loop import closed_loop
from topologies.document import Infeasible, InputError
from topologies.quantity import KILO, MILLISECOND

FOLDER = Path(__file__).parents[3] / "shared" / "measured" / "serving"
SATURATED_MS: Final = 5 * KILO


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A row, and predicted over measured, less one; of both, whether the 80 % interval holds the measured mean."""

    row: Row
    ttft: float
    tpot: float
    is_covered: tuple[bool, bool]

    @property
    def is_saturated(self) -> bool:
        return float(self.row["silicon_ttft_ms"]) >= SATURATED_MS


KEYS: Final[Mapping[str, Callable[[Row], str]]] = {
    "version": lambda row: f"{row['backend']} {row['backend_version']}",
    "model": lambda row: f"{row['backend']} {row['model_path']}",
    "tp": lambda row: f"{row['backend']} tp={row['tp_size']}",
    "concurrency": lambda row: f"{row['backend']} concurrency={row['concurrency']}",
    "prompt": lambda row: f"{row['backend']} prompt={row['isl']}",
}


def played(rows: Iterable[Row]) -> Iterator[Outcome]:
    """Rows as our own costs have them, but for those that cannot be played."""
    for row in rows:
        try:
            yield _outcome(row)
        except (InputError, Infeasible) as error:
            print(f"skipped: {error}", file=sys.stderr)


def _outcome(row: Row) -> Outcome:
    one = servers.server(row, "")
    asked = {"prompt": one.prompt, "output": one.output, "concurrency": one.concurrency or 1}
    means = closed_loop(one.model, one.cluster, one.deployment, one.framework, **asked)
    ttft, tpot = (float(row[f"silicon_{metric}_ms"]) * MILLISECOND for metric in ("ttft", "tpot"))
    first, further = means.spans["mean_ttft_ms"], means.spans["mean_tpot_ms"]
    held = first[0] <= ttft / means.ttft <= first[1], further[0] <= tpot / means.tpot <= further[1]
    return Outcome(row=row, ttft=means.ttft / ttft - 1, tpot=means.tpot / tpot - 1, is_covered=held)


def medians(outcomes: Iterable[Outcome]) -> tuple[float, float]:
    """Median absolute errors of TTFT and TPOT."""
    some = list(outcomes)
    return median(abs(one.ttft) for one in some), median(abs(one.tpot) for one in some)


def coverage(outcomes: Iterable[Outcome]) -> tuple[float, float]:
    """Shares of the rows whose measured TTFT and TPOT lie in their 80 % intervals."""
    first, further = zip(*(one.is_covered for one in outcomes), strict=True)
    return fmean(first), fmean(further)


def lines(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """The table: rows, median errors, and signed ones."""
    found = list(outcomes)
    for saturated in (False, True):
        some = [one for one in found if one.is_saturated == saturated]
        if some:
            yield _line("saturated" if saturated else "unsaturated", some)
            for key in KEYS.values():
                groups: defaultdict[str, list[Outcome]] = defaultdict(list)
                for one in some:
                    groups[key(one.row)].append(one)
                yield from (_line(name, group) for name, group in sorted(groups.items()))


def _line(name: str, some: list[Outcome]) -> str:
    ttft, tpot = medians(some)
    held = coverage(some)
    signed = median(one.ttft for one in some), median(one.tpot for one in some)
    return (
        f"{name:44} {len(some):4} rows  TTFT {100 * ttft:5.1f} % ({100 * signed[0]:+.0f})"
        f"  TPOT {100 * tpot:5.1f} % ({100 * signed[1]:+.0f})  in 80 %: {held[0]:4.0%} {held[1]:4.0%}"
    )


if __name__ == "__main__":
    table = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / "servers_dense.csv"
    step = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    print("\n".join(lines(played(row for row in servers.rows(table)[::step] if row["concurrency"]))))
