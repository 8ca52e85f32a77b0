"""What the commands print for people: fits and scores, a line for each operation on each part."""

from collections import Counter
from collections.abc import Mapping, Sequence

from calibrate.fitting import Fitted, Left
from calibrate.score import Score, Scored, by_operation, figures
from sim.reports.tables import Row, table
from topologies.quantity import percent

FIT_COLUMNS = ("operation", "part", "points", "median", "p90", "inside 80 %", "parameters")
SCORE_COLUMNS = ("operation", "part", "fit of", "rows", "median", "p90", "geomean", "bias", "inside 80 %")


def fits(done: Sequence[Fitted | Left], width: int | None) -> str:
    """The fits with their errors on points left out, then what was not fitted."""
    fitted = [one for one in done if isinstance(one, Fitted)]
    lines = table(FIT_COLUMNS, [_fit_row(one) for one in fitted], width) if fitted else ""
    if fitted:
        lines += "\nErrors are those of points left out: each half of the shapes by a fit to the other.\n"
    left = [one for one in done if isinstance(one, Left)]
    return lines + "".join(f"not fitted: {one.operation} on {one.part}: {one.reason}\n" for one in left)


def fit_records(done: Sequence[Fitted | Left]) -> list[Mapping[str, object]]:
    """The same as data; what was not fitted has a reason."""
    return [_fit_row(one).record if isinstance(one, Fitted) else _left_record(one) for one in done]


def scores(score: Score, name: str, width: int | None) -> str:
    """A line for each operation on each part, one for all of them, and the reasons for rows left out."""
    groups = by_operation(score.scored).items()
    rows = [_score_row(operation, part, group[0].fit_of, group) for (operation, part), group in groups]
    if len(rows) > 1:
        rows.append(_score_row("all", "", "", score.scored))
    lines = [table(SCORE_COLUMNS, rows, width)] if rows else [f"{name}: no row can be predicted\n"]
    reasons = Counter(one.reason for one in score.skipped).most_common()
    if reasons:
        lines.append("\nLeft out:\n" + "".join(f"{count:6d}  {reason}\n" for reason, count in reasons))
    return "".join(lines)


def _fit_row(one: Fitted) -> Row:
    cells = (
        one.operation, one.part, f"{one.fit.num_points:,}", percent(one.median_error), percent(one.p90_error),
        percent(one.coverage), str(len(one.fit.values)),
    )  # fmt: skip
    record = {
        "operation": one.operation,
        "part": one.part,
        "points": one.fit.num_points,
        "median_ape": one.median_error,
        "p90_ape": one.p90_error,
        "coverage_80": one.coverage,
        "spread": list(one.fit.spread or ()),
        "values": dict(one.fit.values),
    }
    return Row(cells=cells, record=record)


def _left_record(one: Left) -> Mapping[str, object]:
    return {"operation": one.operation, "part": one.part, "reason": one.reason}


def _score_row(operation: str, part: str, whose: str, scored: Sequence[Scored]) -> Row:
    found = figures(scored)
    shares = [found[name] for name in ("median_ape", "p90_ape", "geomean_error", "bias", "coverage_80")]
    cells = (operation, part, whose, str(found["rows"]), *(_percent(share) for share in shares))
    return Row(cells=cells, record=found)


def _percent(share: object) -> str:
    return percent(share) if isinstance(share, float) else "-"
