"""A served load over time, and the files of it: CSV, Parquet, OpenMetrics, a Grafana dashboard, a Perfetto trace."""

import gzip
import io
import re
from dataclasses import replace

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.objectives import objective
from sim.serving.record import Record
from sim.serving.results import csv, dashboard, openmetrics, parquet, perfetto, series, series_files, trace
from sim.serving.results.series import percentiles_by
from sim.serving.results.windows import Windows
from tests.serving_records import three
from topologies.document import Missing


def test_three_requests_second_by_second() -> None:
    """Prompts of 100, 200 and 300 tokens are done at 1, 3 and 5 s; further tokens come with the passes' decodes. In the
    second window no pass is under way: the gauges, which are read at its end, are those of the next one's start."""
    found = series(three(), num_gpus=2, price=1800.0, limits={"ttft": 1.0}).columns
    assert found["t_s"].tolist() == [1, 2, 3, 4, 5]
    assert found["prompt_tokens_per_s"].tolist() == [100, 0, 200, 0, 300]
    assert found["output_tokens_per_s"] == pytest.approx([1, 0, 2, 2, 4])
    assert found["running"].tolist() == [1, 0, 2, 2, 4]
    assert found["waiting"].tolist() == [1, 0, 1, 1, 1]
    assert found["kv_use"] == pytest.approx([0.07, 0, 0.2, 0.13, 0.4])
    nan = np.nan
    assert found["p50_ttft_s"] == pytest.approx([1, nan, 2, nan, 1], nan_ok=True)
    assert found["p99_tpot_s"] == pytest.approx([nan, nan, 1, nan, 0.5], nan_ok=True)
    assert found["slo_attainment"] == pytest.approx([nan, nan, 1, nan, 0.5], nan_ok=True)
    assert found["cost_per_query_usd"] == pytest.approx([nan, nan, 1, nan, 0.5], nan_ok=True)


def test_a_window_holds_its_end_but_not_its_beginning() -> None:
    over = Windows(begin=10.0, seconds=2.0, number=3)
    assert over.of(np.array([10.0, 10.5, 12.0, 12.1, 15.9, 16.0])).tolist() == [0, 0, 0, 1, 2, 2]
    assert over.ends.tolist() == [12, 14, 16]


def test_windows_add_up_to_the_whole() -> None:
    """However long the windows are: 600 tokens of prompts and 9 of answers."""
    for window in (0.5, 1.0, 2.0, 7.0):
        found = series(three(), num_gpus=1, window=window)
        assert found.columns["prompt_tokens_per_s"].sum() * window == pytest.approx(600)
        assert found.columns["output_tokens_per_s"].sum() * window == pytest.approx(9)


@given(
    values=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 10)), min_size=1, max_size=20),
    percent=st.floats(50, 99.9),
)
def test_percentiles_by_window_are_numpys(values: list[tuple[int, float]], percent: float) -> None:
    group, value = np.array([each for each, _ in values]), np.array([each for _, each in values])
    found = percentiles_by(group, value, 5, [percent])[percent]
    expected = [np.percentile(value[group == each], percent) if each in group else np.nan for each in range(5)]
    assert found == pytest.approx(expected, nan_ok=True, abs=1e-9)


def test_csv_and_parquet_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    found = series(three(), num_gpus=1)
    text = csv(found)
    assert text.startswith(b"t_s,running,waiting,kv_use,prompt_tokens_per_s,output_tokens_per_s,p50_ttft_s,")
    if series_files.find_spec("pyarrow"):
        pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(parquet(found))), pd.read_csv(io.BytesIO(text)))
    monkeypatch.setattr(series_files, "find_spec", lambda _: None)
    with pytest.raises(Missing, match="pip install pyarrow"):
        parquet(found)


def test_open_metrics_are_vllms_own_with_timestamps() -> None:
    """At 3 s: TTFTs of 1 and 2 s, so one at most 1.0 and both at most 2.5; 100 + 200 tokens of prompts."""
    text = openmetrics(three(), model='a"b', num_gpus=1, price=3600.0, limits={"ttft": 1.0}, began=1000.0).decode()
    engine = 'model_name="a\\"b"'
    lines = text.split("\n")
    assert lines[-2:] == ["# EOF", ""]
    for line in (
        f"vllm:num_requests_running{{{engine}}} 2.0 1003.000",
        f"vllm:kv_cache_usage_perc{{{engine}}} 0.2 1003.000",
        f"vllm:prompt_tokens_total{{{engine}}} 300.0 1003.000",
        f'vllm:request_success_total{{{engine},finished_reason="length"}} 3.0 1005.000',
        f'vllm:time_to_first_token_seconds_bucket{{{engine},le="1.0"}} 1.0 1003.000',
        f'vllm:time_to_first_token_seconds_bucket{{{engine},le="2.5"}} 2.0 1003.000',
        f'vllm:time_to_first_token_seconds_bucket{{{engine},le="+Inf"}} 3.0 1005.000',
        f"vllm:time_to_first_token_seconds_sum{{{engine}}} 4.0 1005.000",
        f"shardsim:good_requests_total{{{engine}}} 2.0 1005.000",
        f"shardsim:cost_usd_total{{{engine}}} 5.0 1005.000",
    ):
        assert line in lines
    assert all(line.endswith(" 1000.000") or " 0.0 1000.000" not in line for line in lines)


def test_every_panel_of_the_dashboard_reads_what_is_written() -> None:
    """As Grafana's own exports are built [schema 39: vLLM, examples/observability]: ids, places on a grid of 24
    columns that do not overlap, a data source, targets with letters; and each name is one that we write."""
    board = orjson.loads(dashboard(duration=5.0, objectives=[objective("p99 ttft < 2 s")], began=0.0))
    written = openmetrics(three(), model="m", num_gpus=1, price=1.0, limits={"ttft": 1.0}).decode()
    assert board["time"] == {"from": "1970-01-01T00:00:00.000Z", "to": "1970-01-01T00:00:05.000Z"}
    assert board["schemaVersion"] == 39
    assert "p99 ttft < 2 s" in board["description"]
    assert {each["name"] for each in board["templating"]["list"]} == {"DS_PROMETHEUS", "model_name"}
    cells = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        own = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + 5)}
        assert not own & cells
        assert place["x"] + place["w"] <= 24
        cells |= own
        assert panel["datasource"]["uid"] == "${DS_PROMETHEUS}"
        assert [target["refId"] for target in panel["targets"]] == list("ABCDE")[: len(panel["targets"])]
        for name in re.findall(r"(?:vllm|shardsim):\w+", orjson.dumps(panel["targets"]).decode()):
            assert f"\n{name}{{" in written
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    ttft = next(panel for panel in board["panels"] if panel["title"].startswith("TTFT"))
    assert ttft["fieldConfig"]["defaults"]["thresholds"]["steps"][1] == {"color": "red", "value": 2.0}


def test_a_trace_shows_passes_counters_and_phases_of_requests() -> None:
    """Four passes, each with two counters; of three requests three phases, of which begins and ends are in pairs."""
    data = orjson.loads(gzip.decompress(perfetto(three())))
    events = data["traceEvents"]
    phases = [event["ph"] for event in events]
    assert {kind: phases.count(kind) for kind in "MXCbe"} == {"M": 2, "X": 4, "C": 8, "b": 9, "e": 9}
    queue = [event["ts"] for event in events if event.get("name") == "queue" and event["id"] == 1]
    assert queue == [1e6, 2e6]
    assert data["otherData"]["shown"] == "4 of 4 passes and 4 of 4 requests, the first ones"
    assert perfetto(three()) == perfetto(three())


def test_a_stage_shows_one_pass_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scheduled at 0.5 s behind the pass until 1 s, the second runs from 1 s on. Over two equal stages of half a
    second, each pass is on one after the other; the second, scheduled with the first, follows it closely."""
    steps = replace(three().steps, start=np.array([0, 0.5, 3, 4]), busy=np.array([1.0, 2, 1, 1]))
    assert slices(replace(three(), steps=steps)) == [(1, 0, 1), (1, 1, 2), (1, 3, 1), (1, 4, 1)]
    steps = replace(steps, start=np.array([0.0, 0, 3, 4]), end=np.array([1, 1.5, 4, 5]), busy=np.ones(4))
    assert slices(replace(three(), steps=steps, stage_busy=np.array([[2.0, 2]])))[:4] == [
        (1, 0, 0.5), (2, 0.5, 0.5), (1, 0.5, 0.5), (2, 1, 0.5),
    ]  # fmt: skip
    monkeypatch.setattr(trace, "MOST_EVENTS", 12)
    cut = orjson.loads(gzip.decompress(perfetto(three())))
    assert cut["otherData"]["shown"] == "2 of 4 passes and 1 of 4 requests, the first ones"


def slices(record: Record) -> list[tuple[int, float, float]]:
    """Track, start and length in seconds."""
    events = orjson.loads(gzip.decompress(perfetto(record)))["traceEvents"]
    return [(event["tid"], event["ts"] / 1e6, event["dur"] / 1e6) for event in events if event["ph"] == "X"]
