"""How good the costs of kernels and collectives are, on measurements that their fits never saw.

`python -m tests.measured.kernels` prints two tables: each table of measurements and device, fitted on a random half of
its shapes or sizes and scored on the other half, beside its bar; and devices predicted from another's fit. With
--reached it writes into reached.csv what the shipped fits reach on all rows, which a test holds them to.
"""

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import topologies
from calibrate import importers, subjects
from calibrate.fit import best_values, fit
from calibrate.fitting import grouped
from calibrate.samples import Samples, halves, joined
from sim.costs.law import Array, Law
from sim.costs.laws import KERNEL_LAWS
from topologies.hardware import Cluster, Gpu
from topologies.quantity import percent

FOLDER = Path(__file__).parents[3] / "shared" / "measured"
REACHED = Path(__file__).with_name("reached.csv")
FIGURES = ("median", "p90", "geomean")
H100 = "h100-80gb-sxm"
UNSEEN = 0.10
"""The bar for the median error on a device that lent nothing to the fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What the errors may be at most; None where nothing is asked."""

    median: float | None = None
    p90: float | None = None
    geomean: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A table below FOLDER, and the GPU of its rows where they do not say it."""

    path: str
    gpu: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one operation of one part was met: fractions, and the share of rows inside the 80 % interval."""

    part: str
    operation: str
    rows: int
    median: float
    p90: float
    geomean: float
    coverage: float | None

    @property
    def bar(self) -> Bar:
        return bar_of(self.operation, self.part)


GPUS = {"h100": H100, "h200": "h200-sxm", "a100": "a100-80gb-sxm", "b200": "b200-sxm"}
SERVED = tuple(f"serving/vllm_runs/{name}.csv" for name in ("dense_ops", "per_sequence_and_moe_ops", "attention_ops"))
SOURCES = (
    *(Source(path=f"gemm/gemm_{name}.csv", gpu=gpu) for name, gpu in GPUS.items()),
    *(Source(path=f"gemm/moe_{name}.csv", gpu=GPUS[name]) for name in ("h100", "h200")),
    *(Source(path=f"attention/prefill_{name}.csv", gpu=gpu) for name, gpu in GPUS.items()),
    *(Source(path=f"attention/decode_{name}.csv", gpu=gpu) for name, gpu in GPUS.items()),
    *(Source(path=path) for path in SERVED),
    Source(path="attention/flashattention_published.csv"),
    Source(path="memory_bound/elementwise_ops.csv"),
    *(Source(path=f"collectives/nccl_{name}_1node.csv") for name in GPUS),
    Source(path="collectives/nccl_tests_published.csv"),
    Source(path="collectives/custom_allreduce_1node.csv"),
    Source(path="collectives/deepep_low_latency.csv"),
    Source(path="collectives/deepep_normal.csv"),
)  # fmt: skip


def bar_of(operation: str, part: str) -> Bar:
    """The bar of an operation on a part."""
    if operation.startswith("gemm"):
        return Bar(median=0.03, p90=0.08) if part == H100 else Bar(median=0.04, p90=0.12)
    families = {
        "grouped": Bar(median=0.06, p90=0.18),
        "attention": Bar(median=0.05, p90=0.14),
        "memory": Bar(median=0.08),
        "nccl": Bar(geomean=0.10 if "network" in operation else 0.05),
        "deepep": Bar(geomean=0.10),
    }
    return families.get(operation.split()[0], Bar())


def measured(sources: Iterable[Source] = SOURCES) -> list[list[Samples]]:
    """The samples of all tables, those of one operation on one part together."""
    found = [importers.read(FOLDER / source.path, source.gpu, None).samples for source in sources]
    return [
        group for group in grouped(one for samples in found for one in samples) if subjects.is_known(group[0].operation)
    ]


def outcome(samples: Samples, logs: Array, spread: tuple[float, float] | None) -> Outcome:
    """The figures of ln(predicted / measured)."""
    errors = np.abs(np.expm1(logs))
    inside = None if spread is None else float(np.mean((-logs >= spread[0]) & (-logs <= spread[1])))
    return Outcome(
        part=samples.part,
        operation=samples.operation,
        rows=len(samples),
        median=float(np.median(errors)),
        p90=float(np.quantile(errors, 0.9)),
        geomean=float(np.expm1(np.mean(np.abs(logs)))),
        coverage=inside,
    )


def by_halves(group: Sequence[Samples], *, seed: int = 0, most: int = 10**9) -> Outcome:
    """Fit on a random half of the shapes, score on the other; of more points than `most` as many at random."""
    if group[0].operation in KERNEL_LAWS:
        gpu = topologies.gpu(group[0].part)
        return _by_halves(gpu, KERNEL_LAWS[group[0].operation], _thinned(joined(group), most, seed), seed)
    cluster, law, samples = subjects.in_one(group, {})
    return _by_halves(cluster, law, _thinned(samples, most, seed), seed)


def _by_halves(part: Gpu | Cluster, law: Law, samples: Samples, seed: int) -> Outcome:
    one, other = halves(samples, seed, by=law.inputs)
    made = fit(part, law, one, seed=seed)
    return outcome(other, np.log(law.seconds(part, made.values, other.points) / other.seconds), made.spread)


def _thinned(samples: Samples, most: int, seed: int) -> Samples:
    if len(samples) <= most:
        return samples
    return samples.where(np.random.default_rng(seed).choice(len(samples), most, replace=False))


def unseen(groups: Sequence[Sequence[Samples]], *, most: int = 10**9) -> Iterator[Outcome]:
    """Each operation of a GPU other than the H100, predicted from its data sheet and the H100's fit."""
    lenders = {group[0].operation: group for group in groups if group[0].part == H100}
    for group in groups:
        operation, part = group[0].operation, group[0].part
        if operation in KERNEL_LAWS and part != H100 and operation in lenders:
            law, lender = KERNEL_LAWS[operation], _thinned(joined(lenders[operation]), most, 0)
            values = best_values(topologies.gpu(H100), law, lender)
            borrower = joined(group)
            seconds = law.seconds(topologies.gpu(part), values, borrower.points)
            yield outcome(borrower, np.log(seconds / borrower.seconds), None)


def shipped(group: Sequence[Samples]) -> Outcome:
    """What the fits in the package say of all rows, those that they were fitted to included."""
    logs = [np.log(subjects.predicted(one, {}) / one.seconds) for one in group]
    return outcome(joined(group), np.concatenate(logs), subjects.present_fit(group[0], {}).spread)


def write_reached(outcomes: Iterable[Outcome]) -> None:
    """What the shipped fits reach, a row for each operation on each part."""
    with REACHED.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["operation", "part", *FIGURES])
        for one in sorted(outcomes, key=lambda one: (one.operation, one.part)):
            writer.writerow([one.operation, one.part, *(f"{getattr(one, name):.4f}" for name in FIGURES)])


def reached() -> dict[tuple[str, str], dict[str, float]]:
    """What reached.csv says: figures by operation and part."""
    with REACHED.open(encoding="utf-8", newline="") as file:
        return {
            (row["operation"], row["part"]): {name: float(row[name]) for name in FIGURES}
            for row in csv.DictReader(file)
        }


def lines(title: str, outcomes: Iterable[Outcome], bar: Bar | None = None) -> Iterator[str]:
    """A line for each outcome as it comes, its bars (or one for all) in brackets, a star at each that is missed."""
    yield title
    yield f"{'operation':<36}{'part':<18}{'rows':>6}  {'median':>16}{'p90':>16}{'geomean':>16}  {'in 80 %':>7}"
    yield from (_line(one, bar or one.bar) for one in outcomes)
    yield ""


def _line(one: Outcome, bars: Bar) -> str:
    pairs = [(one.median, bars.median), (one.p90, bars.p90), (one.geomean, bars.geomean)]
    figures = "".join(f"{_beside(*pair):>16}" for pair in pairs)
    inside = "-" if one.coverage is None else percent(one.coverage)
    return f"{one.operation:<36}{one.part:<18}{one.rows:>6}  {figures}  {inside:>7}"


def _beside(figure: float, bar: float | None) -> str:
    if bar is None:
        return percent(figure)
    return f"{percent(figure)} ({bar:.0%}){'*' if figure > bar else ' '}"


def main() -> None:
    """Print both tables, a group in each process; or write what is reached."""
    if not FOLDER.is_dir():
        sys.exit(f"{FOLDER.name}: the measured tables are not beside the repository")
    groups = measured()
    if "--reached" in sys.argv[1:]:
        write_reached(map(shipped, groups))
        return
    with ProcessPoolExecutor() as pool:
        _print(lines("Fitted on half of the shapes, scored on the other half (bar)", pool.map(by_halves, groups)))
    _print(lines(f"From the data sheet and the fit of {H100} (bar)", unseen(groups), Bar(median=UNSEEN)))


def _print(said: Iterable[str]) -> None:
    for line in said:
        print(line, flush=True)


if __name__ == "__main__":
    main()
