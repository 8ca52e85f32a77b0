"""Results of verification: as a table, as data, as files."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from calibrate.verification.files import write
from calibrate.verification.page import both, real_timeline
from calibrate.verification.page import render as page
from calibrate.verification.verified import record, render, sentences
from tests.verified import LAYER, PIPELINE, SLOWER, verification, verified


def test_an_error_is_predicted_over_measured() -> None:
    assert verified(LAYER).error == pytest.approx(1 / SLOWER - 1)


def test_a_block_is_equal_where_every_precision_is_within_its_tolerance() -> None:
    good, bad = verified(LAYER).ran, verified(LAYER, error=2e-5).ran
    assert (good.equal, good.why) == (True, "")
    assert (bad.equal, bad.why) == (False, "fp32: 2e-05, 1e-05 allowed")


def test_an_error_that_is_no_number_is_not_equal() -> None:
    assert not verified(LAYER, error=float("nan")).ran.equal
    assert verification(LAYER, error=float("inf")).unequal[0].name == LAYER


def test_data_have_the_keys_that_are_promised_and_no_infinity() -> None:
    data = json.loads(json.dumps(record(verification(LAYER, error=float("inf"))), allow_nan=False))
    assert data["blocks"][0].keys() >= {"name", "equal", "max_error", "measured_s", "predicted_s"}
    assert (data["blocks"][0]["equal"], data["blocks"][0]["max_error"]) == (False, None)
    assert data["skipped"] == [{"name": "ulysses", "reason": "3 ranks do not divide heads=4"}]
    assert data["machine"]["backend"] == "gloo"


def test_the_table_has_a_line_for_each_block_and_one_for_each_left_out() -> None:
    text = render(verification(LAYER, PIPELINE), None)
    assert [line.split("  ")[0] for line in text.splitlines()[:4]] == [
        "block", LAYER, PIPELINE, "left out: ulysses: 3 ranks do not divide heads=4",
    ]  # fmt: skip
    assert "-9.1 %" in text


def test_sentences_say_that_processes_on_a_processor_were_measured() -> None:
    said = " ".join(sentences(verification(LAYER)))
    assert "1 of 1 blocks equal" in said
    assert "2 processes on a processor (AMD EPYC)" in said


def test_times_of_ranks_that_share_a_gpu_are_not_compared() -> None:
    said = " ".join(sentences(replace(verification(LAYER), shares_gpu=True)))
    assert (
        said == "1 of 1 blocks equal their reference, forward and backward. The 2 ranks share GPUs, so that their "
        "times say nothing."
    )
    assert record(replace(verification(LAYER), shares_gpu=True))["shares_gpu"] is True


def test_real_ranks_stand_above_simulated_ones_on_one_axis() -> None:
    one = verified(PIPELINE)
    data = both(real_timeline(one), one.played)
    ranks = [track["rank"] for track in data["tracks"]]  # type: ignore[attr-defined]
    assert ranks == ["0 real", "1 real", "0 simulated", "1 simulated"]
    assert data["duration"] == pytest.approx(SLOWER * one.played.duration)


def test_the_page_holds_all_and_fetches_nothing() -> None:
    html = page(verification(LAYER, PIPELINE))
    assert html.index('id="pipeline-1f1b"') < html.index('id="tensor-parallel-mlp"'), "pipelines come first"
    assert "http" not in html.replace("http-equiv", "")


def test_files_are_the_page_the_data_and_two_traces_for_each_block(tmp_path: Path) -> None:
    files = write(verification(PIPELINE), tmp_path)
    assert sorted(file.relative_to(tmp_path).as_posix() for file in files) == [
        "results.json",
        "traces/pipeline-1f1b.real.json.gz",
        "traces/pipeline-1f1b.simulated.json.gz",
        "verify.html",
    ]
    traces = [json.loads(gzip.decompress(file.read_bytes())) for file in files if file.suffix == ".gz"]
    names = [{event["name"] for event in trace["traceEvents"]} for trace in traces]
    assert all({"0F0", "1B3"} <= found for found in names)
