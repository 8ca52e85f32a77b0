"""What `shardsim serve --out DIR` writes: the result, every request, series over time for others' tools, a trace, the
page, the scenario, and a manifest with a hash of each."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import orjson
import pandas

from sim.objectives import limits_of
from sim.reports import tables
from sim.reports.files import manifest, put
from sim.reports.serving.html import render
from sim.serving import results
from sim.serving.record import CAUSES, Record
from sim.serving.simulation import ServingReport
from topologies.document import Missing
from topologies.quantity import MILLISECOND


def write(
    report: ServingReport, scenario: str, folder: Path, *, inputs: Mapping[str, bytes], copied: Mapping[str, bytes]
) -> tuple[Path, ...]:
    """Write everything into `folder`, which sim.reports.files.make has made, `copied` by its place in it; returns the
    files.

    Raises InputError where the folder cannot be written.
    """
    record, limits = report.record, limits_of(report.objectives)
    series = results.series(record, num_gpus=report.num_gpus, price=report.price, limits=limits)
    contents = {
        "result.json": result_json(report),
        "requests.csv": requests_csv(record).encode(),
        "other_tools.json": orjson.dumps(results.other_tools(record, limits), option=orjson.OPT_INDENT_2),
        "series.csv": results.csv(series),
        **_parquet(series),
        "metrics.prom": results.openmetrics(
            record, model=report.model.name, num_gpus=report.num_gpus, price=report.price, limits=limits
        ),
        "grafana.json": results.dashboard(duration=record.duration, objectives=report.objectives),
        "timeline.json.gz": results.perfetto(record),
        "report.html": render(report).encode(),
        "scenario.yaml": scenario.encode(),
        **copied,
    }
    contents["manifest.json"] = manifest(report.command, contents, inputs)
    return put(contents, folder)


def _parquet(series: results.Series) -> dict[str, bytes]:
    """The series in Parquet, too, on a machine that can write it."""
    try:
        return {"series.parquet": results.parquet(series)}
    except Missing:
        return {}


def result_json(report: ServingReport) -> bytes:
    """The result and the scenario it belongs to, as JSON."""
    context = {"scenario": report.scenario, "command": report.command}
    return orjson.dumps({**report.result, **context}, option=orjson.OPT_INDENT_2)


def result_csv(report: ServingReport) -> str:
    """The result as two lines of CSV: names such as breakdown.queue, and values."""
    return tables.as_csv([report.result])


def requests_csv(record: Record) -> str:
    """A line for each request, times in seconds; what never happened is empty."""
    asked, rows = record.requests, len(record.requests)
    spent, tokens = record.finished - record.first_token, np.maximum(asked.output - 1, 1)
    columns = {
        "request": np.arange(rows),
        "prompt_tokens": asked.prompt,
        "output_tokens": asked.output,
        "sent_s": record.sent,
        "scheduled_s": record.scheduled,
        "first_token_s": record.first_token,
        "last_token_s": record.finished,
        "ttft_ms": (record.first_token - record.sent) / MILLISECOND,
        "tpot_ms": np.where(asked.output > 1, spent / tokens, np.nan) / MILLISECOND,
        "e2el_ms": (record.finished - record.sent) / MILLISECOND,
        "replica": record.replica,
        "preemptions": record.preemptions,
        "cached_tokens": record.cached,
        **{f"{cause}_ms": record.causes[:, place] / MILLISECOND for place, cause in enumerate(CAUSES)},
        "refused": [record.refused.get(row, "") for row in range(rows)],
    }
    return pandas.DataFrame(columns).to_csv(index=False, float_format="%.6f", lineterminator="\n")
