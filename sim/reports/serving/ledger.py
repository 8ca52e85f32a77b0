"""What `shardsim validate` prints of measured servers: every row, measured and predicted, and how far off they are."""

from collections.abc import Iterator, Mapping, Sequence

from topologies.quantity import percent

NAMES: Mapping[str, str] = {
    "ttft": "TTFT", "tpot": "TPOT", "throughput": "tokens/s", "latency": "latency", "kv_blocks": "KV blocks",
}  # fmt: skip


def render(name: str, summary: Mapping[str, object]) -> str:
    """The figures of a ledger (see sim/serving_validation.py, `summary`) as text for people."""
    results, skipped = summary["results"], summary["skipped"]
    assert isinstance(results, list)
    assert isinstance(skipped, list)
    lines = [f"{name}: {len(results)} rows played, {len(skipped)} left out", ""]
    if results:
        lines += [*_rows(results), "", *_figures(summary), ""]
    if skipped:
        lines += ["Left out:", *(f"  {one['row']}: {one['reason']}" for one in skipped)]
    return "\n".join(lines).rstrip() + "\n"


def _rows(results: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """A line for each figure of each row."""
    yield f"{'':28}  {'measured':>10}  {'predicted':>10}  {'error':>8}"
    for one in results:
        yield f"{one['row']} ({one['about']})"
        for name, figure in one.items():
            if isinstance(figure, Mapping):
                amounts = "".join(f"  {figure[key]:>10.4g}" for key in ("measured", "predicted"))
                yield f"  {_words(name):<26}{amounts}  {_signed(figure['error']):>8}"


def _figures(summary: Mapping[str, object]) -> Iterator[str]:
    """By metric, and statistic where there are several: rows, errors of all rows, and of unsaturated ones."""
    yield f"{'':28}  {'rows':>5}  {'median error':>12}  {'mean error':>10}  {'bias':>8}"
    for metric, title in NAMES.items():
        figures = summary.get(metric)
        if not isinstance(figures, Mapping):
            continue
        several = {metric: figures} if "rows" in figures else figures
        for statistic, spread in several.items():
            name = title if statistic == metric else f"{statistic} {title}"
            yield _line(name, spread)
            if "unsaturated" in spread:
                yield _line("  unsaturated rows", spread["unsaturated"])


def _line(name: str, spread: Mapping[str, object]) -> str:
    median, mean, bias = (_share(spread["median_ape"]), _share(spread["mape"]), _signed(spread["bias"]))
    return f"{name:<28}  {spread['rows']:>5}  {median:>12}  {mean:>10}  {bias:>8}"


def _words(name: str) -> str:
    return name.replace("_ms", ", ms").replace("_", " ")


def _share(value: object) -> str:
    return percent(value) if isinstance(value, float) else ""


def _signed(value: object) -> str:
    return f"{value:+.1%}".replace("%", " %") if isinstance(value, float) else ""
