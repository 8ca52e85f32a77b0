"""What `shardsim validate` prints: how far predictions are from measured runs, by campaign, and what was left out."""

from collections.abc import Mapping, Sequence

from topologies.quantity import percent

ORIGINS: Mapping[str, str] = {
    "measured": "rests on measurements",
    "interpolated": "lies between measurements",
    "extrapolated": "lies beyond measurements",
    "datasheet": "rests on data sheets",
}
"""What a share of the time rests on, in words."""


def render(name: str, summary: Mapping[str, object], reasons: Mapping[str, int]) -> str:
    """The figures of a ledger (see sim/validation.py, `summary`) as text for people."""
    played, left_out = summary["rows"], sum(reasons.values())
    lines = [f"{name}: {played} rows played, {left_out} left out", ""]
    campaigns, memory, results = summary["campaigns"], summary["memory"], summary["results"]
    assert isinstance(results, list)
    lines += _rows(results)
    assert isinstance(campaigns, Mapping)
    assert isinstance(memory, Mapping)
    if campaigns:
        overall = {"rows": None, "mape": summary["mape"], "bias": summary["bias"]}
        lines += _table([*campaigns.items(), ("mean of campaigns", overall)])
    otherwise = summary["played_otherwise"]
    assert isinstance(otherwise, Mapping)
    lines += _more(summary, memory)
    lines += _counted("Said in the table and played otherwise, by rows:", otherwise)
    lines += _counted("Left out:", reasons)
    return "\n".join(lines).rstrip() + "\n"


def _rows(results: Sequence[Mapping[str, object]]) -> list[str]:
    """Every row with its times, and with its peaks of memory where the table has some; the bad ones too."""
    timed = [one for one in results if one["error"] is not None]
    weighed = [one for one in results if one["memory_error"] is not None]
    width = max((len(str(one["row"])) for one in results), default=0)
    lines = [f"{'row':<{width}}    measured   predicted    error"] if results else []
    lines += [_row(one, "measured_s", "predicted_s", "error", "s", width) for one in timed]
    lines += [_row(one, "measured_gib", "predicted_gib", "memory_error", "GiB", width) for one in weighed]
    return [*lines, ""] if results else []


def _row(one: Mapping[str, object], measured: str, predicted: str, error: str, unit: str, width: int) -> str:
    amounts = "".join(f"  {f'{one[key]:.4g} {unit}':>10}" for key in (measured, predicted))
    return f"{one['row']:<{width}}{amounts}  {_signed(one[error]):>7}"


def _table(rows: Sequence[tuple[str, Mapping[str, object]]]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    head = f"{'step time':<{width}}  rows  mean error     bias"
    body = (
        f"{name:<{width}}  {spread['rows'] or '':>4}  {_share(spread['mape']):>10}  {_signed(spread['bias']):>7}"
        for name, spread in rows
    )
    return [head, *body, ""]


def _counted(head: str, counts: Mapping[str, int]) -> list[str]:
    return [head, *(f"{count:6d}  {text}" for text, count in counts.items()), ""] if counts else []


def _more(summary: Mapping[str, object], memory: Mapping[str, object]) -> list[str]:
    worst, tau = summary["worst"], summary["kendall_tau"]
    lines = []
    if isinstance(worst, Mapping):
        lines.append(f"The worst row is {worst['row']}, {_signed(worst['error'])}.")
    coverage, width = summary["coverage_80"], summary["median_interval_width"]
    if isinstance(coverage, float):
        held = f"{_share(coverage)} of the measured times lie in the 80 % intervals"
        lines.append(f"{held}, whose median width is {_share(width)} of the prediction.")
    if isinstance(tau, float):
        lines.append(f"Of two plans for the same step the faster one is predicted as such: Kendall's tau {tau:.2f}.")
    origins = summary["parameters"]
    if isinstance(origins, Mapping) and origins:
        rests = ", ".join(f"{_share(share)} {ORIGINS[origin]}" for origin, share in origins.items() if share)
        lines.append(f"Of the time, {rests}.")
    if memory["rows"]:
        error, bias = _share(memory["mape"]), _signed(memory["bias"])
        lines.append(f"Peak memory, {memory['rows']} rows: mean error {error}, bias {bias}.")
    return [*lines, ""] if lines else []


def _share(value: object) -> str:
    return percent(value) if isinstance(value, float) else ""


def _signed(value: object) -> str:
    return f"{value:+.1%}".replace("%", " %") if isinstance(value, float) else ""
