"""The accuracy ledger: published runs beside predictions, row by row, as docs/accuracy.md, two pictures, and the table
that the package has (sim/ledger/published.csv).

`python -m tests.measured.accuracy` plays training_runs.csv and memory_runs.csv, our own transcription of what was
published, and writes all four; the page's second half, on serving, is serving_accuracy.py's.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean

import sim.ledger
from sim import validation
from sim.measured_runs import Row, read
from sim.uncertainty import ORIGINS
from sim.validation import Ledger, Result, summary
from tests.measured import pictures, serving_accuracy

HERE = Path(__file__).parent
DOCS, LEDGER = HERE.parents[1] / "docs", HERE.parents[1] / "sim/ledger/published.csv"
RUNS, MEMORY = HERE / "training_runs.csv", HERE / "memory_runs.csv"
WORST = 25

Pick = Callable[[Row], str]


@functools.cache
def rows(table: Path) -> dict[str, Row]:
    """The rows of a table by their names."""
    return {row["row"]: row for row in read(table)}


@functools.cache
def ledger(table: Path) -> Ledger:
    """All rows of a table, played in several processes."""
    with ProcessPoolExecutor() as pool:
        return validation.ledger_of(pool.map(validation.play, rows(table).values(), chunksize=4))


def written() -> tuple[Result, ...]:
    """All rows as the package has them: what `make accuracy` found last."""
    return tuple(one.result for one in sim.ledger.published())


def sample(every: int) -> list[Row]:
    """The first row of each campaign, and of all rows each so-manieth."""
    listed = list(rows(RUNS).values())
    firsts = {row["campaign"]: row for row in reversed(listed)}
    return [row for place, row in enumerate(listed) if row is firsts[row["campaign"]] or place % every == 0]


def by(pick: Pick, results: Iterable[Result]) -> dict[str, list[Result]]:
    """Timed results in groups, by what `pick` finds in their rows, the groups in order."""
    groups: dict[str, list[Result]] = {}
    for one in results:
        if one.error is not None:
            groups.setdefault(pick(rows(RUNS)[one.row]), []).append(one)
    return dict(sorted(groups.items(), key=lambda item: _order(item[0])))


def _order(text: str) -> tuple[float, str]:
    number = text.split(" ")[0]
    return (float(number), "") if number.isdigit() else (0.0, text)


def _bracket(column: str, *limits: int) -> Pick:
    """'2048 to 4095' for a number between limits."""

    def pick(row: Row) -> str:
        number = int(row[column] or 0)
        below = max((limit for limit in limits if limit <= number), default=0)
        above = min((limit for limit in limits if limit > number), default=None)
        return f"{below} to {above - 1}" if above else f"{below} or more"

    return pick


LOOKS: Mapping[str, Pick] = {
    "GPU": lambda row: row["gpu"],
    "Precision": lambda row: row["precision"],
    "Framework": lambda row: row["framework"],
    "GPUs": _bracket("gpus", 1, 9, 65, 257, 1025),
    "Data-parallel replicas": _bracket("dp", 1, 2, 9, 33, 129, 513),
    "Tokens of a sequence": _bracket("seq_len", 1, 2048, 4096, 8192, 16384, 32768),
    "Sequences of a microbatch": _bracket("micro_batch", 1, 2, 3, 9, 33),
    "Recomputation": lambda row: row["recompute"],
    "Sharding": lambda row: row["sharding"],
    "Pipeline ranks": _bracket("pp", 1, 2, 5, 9),
    "Model": lambda row: row["model"],
}
"""Along what the errors are looked at."""


def page(runs: Ledger, memory: Ledger, serving: str) -> str:
    """The text of docs/accuracy.md, with its half on serving."""
    return "\n".join([*_head(runs), *_campaigns(runs), *_overall(runs), *_structure(runs), *_worst(runs),
                      *_memory(memory), *_left_out(runs, memory), serving])  # fmt: skip


def serving_half() -> str:
    """Played anew where the measured tables are beside the repository, else as it was written last."""
    if serving_accuracy.is_here():
        return serving_accuracy.half()
    written = (DOCS / "accuracy.md").read_text(encoding="utf-8")
    return "".join(written.partition(serving_accuracy.HEADING)[1:])


def _head(runs: Ledger) -> Iterator[str]:
    yield from (
        "# How accurate it is",
        "",
        "Written by `make accuracy`; do not edit. Training first, then [serving](#serving).",
        "",
        "Each row is one published step time, its source in",
        "[training_runs.csv](../tests/measured/training_runs.csv); nothing is fitted to a row or a campaign. An error",
        "is predicted / measured - 1: -10 % is a prediction that is too fast. Every row, the bad ones too, is in",
        "[published.csv](../sim/ledger/published.csv). Plans, overlaps and fabrics that a source leaves unsaid are",
        "assumptions (column `assumed`).",
        "",
        f"![predicted against measured step times of {len(runs.results)} runs](accuracy-scatter.svg)",
        "",
        "![errors by campaign](accuracy-errors.svg)",
        "",
    )


def _campaigns(runs: Ledger) -> Iterator[str]:
    yield from ("## By campaign", "", *_group_lines("campaign", by(lambda row: row["campaign"], runs.results)), "")


def _group_lines(what: str, groups: Mapping[str, Sequence[Result]]) -> Iterator[str]:
    yield f"| {what} | rows | mean error | bias | worst | in 80 % interval | {' | '.join(ORIGINS)} |"
    yield "|---|--:|--:|--:|--:|--:|" + "--:|" * len(ORIGINS)
    for name, group in groups.items():
        found = [one.error for one in group if one.error is not None]
        mean, bias, worst = fmean(map(abs, found)), fmean(found), max(found, key=abs)
        covered = fmean(one.is_covered for one in group)
        shares = " | ".join(f"{fmean(one.origins[origin] for one in group):.0%}" for origin in ORIGINS)
        yield f"| {name} | {len(group)} | {mean:.1%} | {bias:+.1%} | {worst:+.1%} | {covered:.0%} | {shares} |"


def _overall(runs: Ledger) -> Iterator[str]:
    made = summary(runs)
    yield "## Overall"
    yield ""
    for text, value, form in (
        ("mean over campaigns of the mean error", made["mape"], ".1%"),
        ("mean over campaigns of the bias", made["bias"], "+.1%"),
        ("mean error over rows", made["row_mape"], ".1%"),
        ("median error over rows", made["median_ape"], ".1%"),
        ("measured times in their 80 % intervals", made["coverage_80"], ".0%"),
        ("median width of the intervals, of the prediction", made["median_interval_width"], ".0%"),
        ("of two plans for one step the faster is predicted to be: Kendall's tau", made["kendall_tau"], ".2f"),
    ):
        yield f"- {text}: {format(value, form) if isinstance(value, float) else 'none'}"
    yield ""


def _structure(runs: Ledger) -> Iterator[str]:
    yield from ("## What the errors go with", "")
    for what, pick in LOOKS.items():
        yield from (*_group_lines(what, by(pick, runs.results)), "")


def _worst(runs: Ledger) -> Iterator[str]:
    yield from (f"## The {WORST} worst rows", "", "| row | model | GPUs | plan | measured | predicted | error |")
    yield "|---|---|---|---|--:|--:|--:|"
    timed = [one for one in runs.results if one.error is not None]
    for one in sorted(timed, key=lambda one: -abs(one.error or 0))[:WORST]:
        row = rows(RUNS)[one.row]
        axes = " ".join(
            f"{axis}{row[axis]}" for axis in ("tp", "pp", "vpp", "cp", "ep", "dp") if row[axis] not in ("", "1")
        )
        plan = f"{axes} {row['sharding']} {row['recompute']} {row['precision']} {row['seq_len']} tokens"
        times = f"{one.measured_s:.4g} s | {one.predicted_s:.4g} s | {one.error:+.1%}"
        yield f"| {one.row} | {row['model']} | {row['gpus']} {row['gpu']} | {plan} | {times} |"
    yield ""


def _memory(memory: Ledger) -> Iterator[str]:
    found = [one.memory_error for one in memory.results if one.memory_error is not None]
    yield from ("## Peak memory", "", "Peaks of allocated memory of the fullest GPU.", "")
    if found:
        yield f"Mean error {fmean(map(abs, found)):.1%}, bias {fmean(found):+.1%} over {len(found)} rows."
    yield from ("", "| row | model | plan | measured | predicted | error |", "|---|---|---|--:|--:|--:|")
    for one in memory.results:
        row = rows(MEMORY)[one.row]
        plan = " ".join(f"{axis}{row[axis]}" for axis in ("tp", "pp", "cp", "ep", "dp") if row[axis] not in ("", "1"))
        peaks = f"{one.measured_gib:.2f} GiB | {one.predicted_gib:.2f} GiB | {one.memory_error:+.1%}"
        yield f"| {one.row} | {row['model']} | {plan} | {peaks} |"
    yield ""


def _left_out(*ledgers: Ledger) -> Iterator[str]:
    skipped = [one for each in ledgers for one in each.skipped]
    if skipped:
        yield from ("## Left out", "", *(f"- {one.row}: {one.reason}" for one in skipped), "")


def every_row(runs: Ledger) -> str:
    """sim/ledger/published.csv: each row with its key figures, its times, what they rest on, and its scenario."""
    entries = [sim.ledger.entry(rows(RUNS)[one.row], one) for one in runs.results]
    return sim.ledger.as_csv(entries, sim.ledger.DIGITS)


def write(folder: Path = DOCS) -> None:
    """All four files; the table into the package."""
    runs, memory = ledger(RUNS), ledger(MEMORY)
    groups = by(lambda row: row["campaign"], runs.results)
    times = {name: [(one.measured_s or 1.0, one.predicted_s) for one in group] for name, group in groups.items()}
    misses = {name: [one.error or 0.0 for one in group] for name, group in groups.items()}
    for path, text in {
        folder / "accuracy.md": page(runs, memory, serving_half()),
        LEDGER: every_row(runs),
        folder / "accuracy-scatter.svg": pictures.scatter(times),
        folder / "accuracy-errors.svg": pictures.errors(misses),
    }.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
    print(f"wrote accuracy.md and two pictures to {DOCS.name}, and {LEDGER.name} to the package")
