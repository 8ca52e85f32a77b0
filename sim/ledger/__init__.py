"""The accuracy ledger as a table: each measured run beside its prediction, what ran, where it was published, and the
scenario, on one line, that predicts it again. `published.csv` is that of some hundred published runs: `make accuracy`
writes it."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from sim import models, scenario, validation
from sim.measured_runs import Row, cell, document
from sim.scenario import Scenario
from sim.uncertainty import ORIGINS
from sim.validation import ALIKE, Ledger, Result
from topologies.document import Value

FACTS: Final = (
    "model", "gpu", "gpus", "precision", "framework", "seq_len", "micro_batch", "global_batch", "source",
)  # fmt: skip
"""Columns of the measured run that stand in the ledger too, beside those that results have."""
DIGITS: Final = 6
"""Of numbers in the published ledger: none that anybody reads is lost, and the last bits may change."""
_BETWEEN: Final = "; "
_PEAKS: Final = ("measured_gib", "predicted_gib", "memory_error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One run: what it came to, what the table said of it (by FACTS), and its scenario as YAML on one line."""

    result: Result
    facts: Mapping[str, str]
    scenario: str


def entry(row: Row, result: Result) -> Entry:
    """A row that was played."""
    return Entry(result=result, facts={name: cell(row, name) for name in FACTS}, scenario=scenario_of(row))


def scenario_of(row: Row) -> str:
    """A measured run as a scenario file of one line. Raises InputError where the row is none."""
    return scenario.one_line(_described(scenario.of(document(row))))


def _described(made: Scenario) -> Mapping[str, Value]:
    """As a scenario file says it; a model whose shapes are the catalogue's by its name alone."""
    fields, reference = scenario.described(made), made.model_reference
    name = reference.get("name") if isinstance(reference, dict) else None
    is_known = isinstance(name, str) and name in models.names() and models.load(name) == made.model
    return {**fields, "model": name} if is_known else fields


@cache
def published() -> tuple[Entry, ...]:
    """The runs that others measured and published, all of them, the bad ones too."""
    return read(files("sim.ledger").joinpath("published.csv").read_text(encoding="utf-8"))


def read(text: str) -> tuple[Entry, ...]:
    """What `as_csv` wrote."""
    return tuple(_entry(line) for line in csv.DictReader(io.StringIO(text)))


def _entry(line: Mapping[str, str]) -> Entry:
    result = Result(
        row=line["row"],
        campaign=line["campaign"],
        alike=tuple(line[column] for column in ALIKE),
        measured_s=_number(line["measured_s"]),
        predicted_s=float(line["predicted_s"]),
        interval_s=(float(line["p10_s"]), float(line["p90_s"])),
        measured_gib=_number(line.get("measured_gib", "")),
        predicted_gib=_number(line.get("predicted_gib", "")) or 0.0,
        origins={origin: float(line[f"{origin}_share"]) for origin in ORIGINS},
        otherwise=tuple(filter(None, line["played_otherwise"].split(_BETWEEN))),
    )
    return Entry(result=result, facts={name: line[name] for name in FACTS}, scenario=line["scenario"])


def _number(text: str) -> float | None:
    return float(text) if text else None


def as_csv(entries: Sequence[Entry], digits: int | None = None) -> str:
    """A line for each entry; numbers with so many digits, or with all they have. Peaks of memory where they are
    known."""
    left_out = () if any(one.result.predicted_gib for one in entries) else _PEAKS
    lines = [
        {**told, **one.facts, "played_otherwise": _BETWEEN.join(one.result.otherwise), "scenario": one.scenario}
        for told, one in zip(validation.rows(as_ledger(entries)), entries, strict=True)
    ]
    text = io.StringIO()
    names = [name for name in (lines[0] if lines else {}) if name not in left_out]
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _rounded(value, digits) for name, value in line.items()} for line in lines)
    return text.getvalue()


def as_ledger(entries: Iterable[Entry]) -> Ledger:
    """The results alone, to be summed up."""
    return Ledger(results=tuple(one.result for one in entries), skipped=())


def _rounded(value: object, digits: int | None) -> object:
    return f"{value:.{digits}g}" if isinstance(value, float) and digits else value
