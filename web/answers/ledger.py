"""The accuracy ledger as the pages show it: runs that somebody measured beside their predictions.

A ledger is handed around as the CSV of `sim.ledger`; an empty text stands for the published runs of the package.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim import ledger, measured_runs, validation
from sim.ledger import Entry
from sim.measured_runs import Row, cell
from sim.reports.ledger import ORIGINS
from sim.reports.tables import as_json
from sim.scenario.scenario import is_file
from sim.validation import Ledger, Result, Skipped
from topologies.document import InputError, shorten
from topologies.quantity import percent, seconds
from web import scenarios

MOST_ROWS: Final = 500
"""Of an uploaded table; a run takes about a second."""
AT_ONCE: Final = 4
"""Runs that are played between two words of how far it is."""
EXPECTED: Final = 0.8
"""The share of measured times that intervals are made to hold."""
_NAMES_OF_PARTS: Final = ("model", "gpu", "framework", "schedule")
_FILE: Final = "table.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which runs are looked at: those with one of these values in each column (none: all of them), on so many GPUs, and
    off by more than a share of what was measured."""

    campaign: tuple[str, ...] = ()
    gpu: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    framework: tuple[str, ...] = ()
    precision: tuple[str, ...] = ()
    gpus: tuple[int, int] | None = None
    beyond: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number over all runs that are looked at, as text, with how it comes about."""

    name: str
    value: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs that are alike: how many, the mean of |error|, the mean error, the share within their intervals."""

    name: str
    rows: int
    error: float
    bias: float
    coverage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """`columns` hold the runs, the worst first; `choices` what each filter may choose from; `total` counts all runs of
    the ledger."""

    total: int
    columns: Mapping[str, NDArray[np.generic]]
    figures: tuple[Figure, ...]
    groups: tuple[Group, ...]
    choices: Mapping[str, tuple[str, ...]]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run in full: rows of name, value and how the value comes about; its scenario, and the link that opens it."""

    row: str
    facts: tuple[tuple[str, str, str], ...]
    rests_on: str
    source: str
    scenario: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What became of some rows of a table: a ledger as CSV, and those left out with the reason."""

    text: str
    skipped: tuple[tuple[str, str], ...]


def shown(text: str, wanted: Filter, by: str) -> Shown:
    """The runs of a ledger that are wanted, in groups by a column."""
    entries = _entries(text)
    chosen = sorted((one for one in entries if _is_wanted(one, wanted)), key=_badness, reverse=True)
    return Shown(
        total=len(entries),
        columns=_columns(chosen),
        figures=_figures(chosen) if chosen else (),
        groups=_groups(chosen, by),
        choices={name: _choices(entries, name) for name in COLUMNS},
        counts=tuple(sorted({int(one.facts["gpus"]) for one in entries})),
    )


def run(text: str, row: str) -> Run:
    """One run of a ledger. Raises InputError where it has none of that name."""
    for one in _entries(text):
        if one.result.row == row:
            return _run(one)
    raise InputError(f"the table has no run {shorten(row)}; choose one of the list")


def summary(text: str, skipped: tuple[tuple[str, str], ...]) -> bytes:
    """The whole ledger as `shardsim validate --format json` prints it."""
    left_out = tuple(Skipped(row=row, reason=reason) for row, reason in skipped)
    return as_json(validation.summary(Ledger(results=ledger.as_ledger(_all(text)).results, skipped=left_out))).encode()


def csv(text: str) -> str:
    """The whole ledger as a table."""
    return text or ledger.as_csv(ledger.published(), ledger.DIGITS)


def count(table: bytes) -> int:
    """How many runs an uploaded table has. Raises InputError where it is none, or has too many."""
    found = len(_rows(table))
    if not found:
        raise InputError("the table has no run with complete = yes; docs/validation.md describes the columns")
    if found > MOST_ROWS:
        raise InputError(f"the table has {found} runs, more than {MOST_ROWS}; `shardsim validate` takes any number")
    return found


def play(table: bytes, first: int) -> Played:
    """Simulate the next few runs of an uploaded table."""
    rows = _rows(table)[first : first + AT_ONCE]
    done = [(row, _played(row)) for row in rows]
    entries = [ledger.entry(row, result) for row, result in done if isinstance(result, Result)]
    skipped = tuple((result.row, result.reason) for _, result in done if isinstance(result, Skipped))
    return Played(text=ledger.as_csv(entries), skipped=skipped)


def joined(parts: Sequence[Played]) -> Played:
    """All that was played of a table, as one. Raises InputError where no run could be played."""
    entries = [one for part in parts if part.text.strip() for one in ledger.read(part.text)]
    skipped = tuple(one for part in parts for one in part.skipped)
    if not entries:
        raise InputError(f"no run of the table can be played; the first, {skipped[0][0]}: {skipped[0][1]}")
    return Played(text=ledger.as_csv(entries), skipped=skipped)


def _rows(table: bytes) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _FILE
        path.write_bytes(table)
        return [row for row in measured_runs.read(path) if row["complete"] != "no"]


def _played(row: Row) -> Result | Skipped:
    """A row, simulated; one that names files is left out, for they would be the server's."""
    for column in _NAMES_OF_PARTS:
        if is_file(cell(row, column)):
            return Skipped(row=row["row"], reason=f"{column} {shorten(cell(row, column))} is a file; write a name")
    return validation.play(row)


def _all(text: str) -> tuple[Entry, ...]:
    return ledger.read(text) if text else ledger.published()


def _entries(text: str) -> tuple[Entry, ...]:
    """Those with a measured time; a peak of memory alone is no run to be timed."""
    return tuple(one for one in _all(text) if one.result.error is not None)


def _is_wanted(one: Entry, wanted: Filter) -> bool:
    low, high = wanted.gpus or (0, int(one.facts["gpus"]))
    values = {name: getattr(wanted, name) for name in COLUMNS}
    is_chosen = all(not chosen or COLUMNS[name](one) in chosen for name, chosen in values.items())
    return is_chosen and low <= int(one.facts["gpus"]) <= high and _badness(one) >= wanted.beyond


def _badness(one: Entry) -> float:
    return abs(one.result.error or 0.0)


def _fact(name: str) -> Callable[[Entry], str]:
    return lambda one: one.facts[name]


COLUMNS: Final[Mapping[str, Callable[[Entry], str]]] = {
    "campaign": lambda one: one.result.campaign,
    "gpu": _fact("gpu"),
    "model": _fact("model"),
    "framework": _fact("framework"),
    "precision": _fact("precision"),
}
"""By what runs are chosen and put in groups."""


def _choices(entries: Sequence[Entry], name: str) -> tuple[str, ...]:
    return tuple(sorted({COLUMNS[name](one) for one in entries}))


def _columns(entries: Sequence[Entry]) -> dict[str, NDArray[np.generic]]:
    """The runs as columns for charts and tables; times in seconds, errors as fractions."""
    results = [one.result for one in entries]
    facts = ("model", "gpu", "precision", "framework", "source")
    return {
        "row": np.array([one.row for one in results], dtype=object),
        "campaign": np.array([one.campaign for one in results], dtype=object),
        **{name: np.array([one.facts[name] for one in entries], dtype=object) for name in facts},
        "gpus": np.array([int(one.facts["gpus"]) for one in entries], dtype=np.int64),
        "measured_s": np.array([one.measured_s or 0.0 for one in results]),
        "predicted_s": np.array([one.predicted_s for one in results]),
        "low_s": np.array([one.interval_s[0] for one in results]),
        "high_s": np.array([one.interval_s[1] for one in results]),
        "error": np.array([one.error or 0.0 for one in results]),
        "is_covered": np.array([one.is_covered for one in results], dtype=np.bool_),
    }


def _groups(entries: Sequence[Entry], by: str) -> tuple[Group, ...]:
    return tuple(
        _group(name, [one.result for one in entries if COLUMNS[by](one) == name]) for name in _choices(entries, by)
    )


def _group(name: str, results: Sequence[Result]) -> Group:
    errors = [one.error or 0.0 for one in results]
    return Group(
        name=name,
        rows=len(results),
        error=fmean(map(abs, errors)),
        bias=fmean(errors),
        coverage=fmean(one.is_covered for one in results),
    )


def _figures(entries: Sequence[Entry]) -> tuple[Figure, ...]:
    results = [one.result for one in entries]
    campaigns, errors = _groups(entries, "campaign"), [one.error or 0.0 for one in results]
    inside = sum(one.is_covered for one in results)
    middle, tau = median(map(abs, errors)), validation.concordance(results)
    mean_over = f"the mean over {len(campaigns)} campaigns, so that a long table outvotes no short one"
    return (
        Figure(
            name="mean error",
            value=percent(fmean(one.error for one in campaigns)),
            why=f"|predicted / measured - 1|, {mean_over}: {_listed(campaigns, lambda one: percent(one.error))}",
        ),
        Figure(
            name="bias",
            value=_signed(fmean(one.bias for one in campaigns)),
            why=f"predicted / measured - 1, {mean_over}; below zero is too fast: "
            f"{_listed(campaigns, lambda one: _signed(one.bias))}",
        ),
        Figure(
            name="median error",
            value=percent(middle),
            why=f"Half of the {len(errors)} runs are off by less than {percent(middle)}, half by more.",
        ),
        Figure(
            name="within the interval",
            value=percent(inside / len(results), 0),
            why=f"{inside} of {len(results)} measured times lie in the 80 % interval of their prediction; "
            "80 % should. Less: intervals are too narrow.",
        ),
        Figure(
            name="order of plans",
            value="-" if tau is None else f"{tau:+.2f}",
            why="Kendall's tau over pairs of runs of one step (same model, GPUs, batch, length, precision) with "
            "different plans: +1 where the faster one is always predicted to be the faster, -1 never.",
        ),
    )


def _listed(groups: Sequence[Group], figure: Callable[[Group], str]) -> str:
    return ", ".join(f"{one.name} {figure(one)}" for one in groups)


def _signed(share: float) -> str:
    return f"{share:+.1%}".replace("%", " %")


def _run(one: Entry) -> Run:
    result = one.result
    measured, predicted = result.measured_s or 0.0, result.predicted_s
    low, high = result.interval_s
    verdict = "within" if result.is_covered else ("below" if measured < low else "above")
    text = scenarios.text(scenarios.fields(one.scenario))
    rests = [f"{percent(result.origins[name], 0)} {words}" for name, words in ORIGINS.items() if result.origins[name]]
    return Run(
        row=result.row,
        facts=(
            ("predicted", seconds(predicted), "One optimizer step, simulated from the scenario below."),
            ("measured", seconds(measured), f"As published: {one.facts['source'] or 'no source is said'}"),
            ("error", _signed(result.error or 0.0), f"{predicted:.4g} s / {measured:.4g} s - 1; below zero: too fast."),
            (
                "80 % interval",
                f"{seconds(low)} to {seconds(high)}",
                f"The measured {measured:.4g} s is {verdict} it. Four of five measured times should lie within.",
            ),
        ),
        rests_on=f"Of the predicted time, {', '.join(rests)}." if rests else "",
        source=one.facts["source"],
        scenario=text,
        address=scenarios.address(text),
    )
