"""`shardsim serve`: one load, by flags or from a file, gives one result; what cannot be is refused in words."""

import csv
import gzip
import io
import json
import re
from pathlib import Path

import pytest

from sim.scenario.serving import ServingScenario
from sim.serving.record import CAUSES
from sim.serving.simulation import ServingReport, simulate_serving
from tests.command import Shardsim, assert_refused

LOAD = ("llama3-8b", "dgx-h100", "--gpus", "1", "--rate", "4", "--num-requests", "12")
SCENARIO = "kind: serving\nmodel: llama3-8b\ncluster: dgx-h100\ngpus: 1\nload: {rate: 4, num_requests: 12}\n"
KEYS = {
    "duration", "completed", "failed", "total_input_tokens", "total_output_tokens", "request_throughput",
    "request_goodput", "output_throughput", "total_token_throughput", "mean_ttft_ms", "median_ttft_ms", "std_ttft_ms",
    "p99_ttft_ms", "mean_tpot_ms", "p99_tpot_ms", "mean_itl_ms", "p99_itl_ms", "mean_e2el_ms", "kv_blocks",
    "bubble_fraction", "cost_per_million_output_tokens_usd", "cost_per_query_usd", "breakdown", "saturation",
    "objectives", "scenario", "command", "parameters", "interval", "num_prompts", "request_rate", "burstiness",
    "max_concurrency", "model_id",
}  # fmt: skip
FILES = {
    "result.json", "requests.csv", "series.csv", "metrics.prom", "grafana.json", "timeline.json.gz", "report.html",
    "scenario.yaml", "manifest.json", "other_tools.json",
}  # fmt: skip


def result(shardsim: Shardsim, *arguments: str) -> dict[str, object]:
    answer = shardsim("serve", *arguments, "--format", "json")
    assert (answer.code, answer.err) == (0, ""), answer
    found: dict[str, object] = json.loads(answer.out)
    return found


def test_flags_file_and_command_give_the_same_result(shardsim: Shardsim, folder: Path) -> None:
    (folder / "s.yaml").write_text(SCENARIO)
    by_flags, by_file = result(shardsim, *LOAD), result(shardsim, "s.yaml")
    assert by_flags == by_file
    assert by_flags.keys() >= KEYS
    breakdown = by_flags["breakdown"]
    assert isinstance(breakdown, dict)
    assert tuple(breakdown) == CAUSES
    assert sum(breakdown.values()) == pytest.approx(1)
    words = str(by_flags["command"]).split()[2:]
    assert result(shardsim, *words) == by_flags


def test_out_holds_everything_and_the_same_seed_gives_the_same_bytes(shardsim: Shardsim, folder: Path) -> None:
    for name in ("a", "b"):
        assert shardsim("serve", *LOAD, "--slo", "p99 ttft < 2 s", "--out", name, "--quiet").code == 0
    files = {path.name: path.read_bytes() for path in (folder / "a").iterdir()}
    assert files.keys() - {"series.parquet"} == FILES
    assert files == {path.name: path.read_bytes() for path in (folder / "b").iterdir()}
    requests = list(csv.DictReader(io.StringIO(files["requests.csv"].decode())))
    assert len(requests) == 12
    for row in requests:
        parts = sum(float(row[f"{cause}_ms"]) for cause in CAUSES)
        assert parts == pytest.approx(float(row["e2el_ms"]), abs=1e-3)
    assert json.loads(gzip.decompress(files["timeline.json.gz"]))["traceEvents"]
    assert files["series.csv"].startswith(b"t_s,")
    again = shardsim("serve", str(folder / "a" / "scenario.yaml"), "--format", "json", "--no-knee")
    assert json.loads(again.out)["mean_ttft_ms"] == json.loads(files["result.json"])["mean_ttft_ms"]
    page = files["report.html"].decode()
    assert not re.search(r"(src|href)=[\"']?(http|//)", page)
    assert "[&#39;" not in page
    for heading in ("What is promised", "Latencies", "Where the milliseconds go", "Over time", "How near the knee"):
        assert f"<h2>{heading}</h2>" in page


def test_another_seed_draws_other_arrivals(shardsim: Shardsim) -> None:
    other = result(shardsim, *LOAD, "--seed", "1", "--no-knee")
    assert result(shardsim, *LOAD)["mean_ttft_ms"] != other["mean_ttft_ms"]
    assert other["saturation"] is None
    assert str(other["command"]).endswith("--seed 1 --no-knee")


def test_a_missed_objective_is_told_and_ends_with_3(shardsim: Shardsim) -> None:
    answer = shardsim("serve", *LOAD, "--slo", "p99 ttft < 2 s", "--slo", "mean tpot < 1 us")
    assert answer.code == 3
    assert re.match(r"shardsim: misses mean tpot < 1 us: .* cannot be met: even at .* a second", answer.err)
    assert answer.err.count("\n") == 1
    assert "met: p99 ttft < 2 s" in answer.out
    assert "MISSED: mean tpot < 1 us" in answer.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("llama3-405b dgx-h100 --gpus 1", 3, "weights"),
        ("llama3-8b dgx-h100 --gpus 1 --input-len 1000000 --num-requests 2", 3, "no request can be served: 1,000,128"),
        ("llama3-8b", 2, "no cluster given for llama3-8b; write `shardsim serve llama3-8b dgx-h100 --gpus 8`"),
        ("llama3-8b dgx-h100", 2, "how many GPUs of dgx-h100 is not said; write for example gpus: 8"),
        ("llama3-8b dgx-h100 --gpus 1 --trace none.csv", 2, "'none.csv': there is no such file"),
        ("llama3-8b dgx-h100 --gpus 1 --rate -1", 2, "load.rate: must be more than 0"),
        ("llama3-8b dgx-h100 --gpus 1 --tp 1 --set deployment.tp=2", 2, "say different things of deployment.tp"),
        ("llama3-8b dgx-h100 --gpus 1 --format xml", 2, "--format 'xml' is not known"),
        ("llama3-8b dgx-h100 --nonsense", 2, "or `shardsim serve --help`"),
        ("llama3-8b dgx-h100 --gpus 1 --max-num-batched-tokens 9000000", 3, "take fewer max_num_batched_tokens"),
        ("llama3-8b dgx-h100 --gpus 1 --num-blocks 1000000", 3, "write num_blocks="),
        ("llama3-8b dgx-h100 --gpus 1 --framework vllm-0.6", 2, "vllm-0.6' is older than all that is known"),
    ],
)
def test_what_cannot_be_served_ends_in_words(shardsim: Shardsim, arguments: str, code: int, message: str) -> None:
    answer = shardsim("serve", *arguments.split())
    assert (answer.code, answer.out) == (code, ""), answer
    assert message in answer.err
    assert answer.err.count("\n") <= 2
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arrival,prompt,output\n-1,10,5\n", "t.csv"),
        ("arrival;prompt;output\n0;10;5\n", "t.csv: columns are parted by ';'; write commas"),
        (
            '{"timestamp": 0, "input_length": 600, "output_length": 1, "hash_ids": [1, 2]}\n',
            r"load.input_len: t.csv says itself .*; leave input_len out",
        ),
    ],
)
def test_a_trace_that_cannot_be_is_refused(shardsim: Shardsim, folder: Path, text: str, message: str) -> None:
    (folder / "t.csv").write_text(text)
    asked = ("llama3-8b", "dgx-h100", "--gpus", "1", "--trace", "t.csv", "--input-len", "5")
    assert_refused(shardsim("serve", *asked), message)


def test_what_was_not_as_asked_is_noted(shardsim: Shardsim, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that is not known yet, and a load too long to be played ten times."""
    monkeypatch.setattr("sim.serving.simulation.MOST_FOR_KNEE", 11)
    monkeypatch.setenv("COLUMNS", "200")
    answer = shardsim("serve", *LOAD, "--framework", "vllm-9")
    assert "vllm-9 is played as vllm-0.19" in answer.out
    assert "The knee is looked for up to 11 requests" in answer.out


def test_an_interrupted_run_leaves_no_folder(shardsim: Shardsim, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(scenario: object, *, finds_knee: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sim.serving.simulation.simulate_serving", interrupted)
    (folder / "there").mkdir()
    for name in ("new", "there"):
        assert shardsim("serve", *LOAD, "--out", name).code == 130
    assert [path.name for path in folder.iterdir()] == ["there"]


def test_the_table_fits_the_terminal(shardsim: Shardsim, monkeypatch: pytest.MonkeyPatch) -> None:
    """One result in terminals of three widths."""
    played: list[ServingReport] = []

    def play_once(scenario: ServingScenario, *, finds_knee: bool) -> ServingReport:
        if not played:
            played.append(simulate_serving(scenario, finds_knee=finds_knee))
        return played[0]

    monkeypatch.setattr("sim.serving.simulation.simulate_serving", play_once)
    for columns in (42, 77, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        answer = shardsim("serve", *LOAD)
        assert max(map(len, answer.out.splitlines())) <= columns
        assert not re.search(r"\d\n\s*%", answer.out)
        for word in ("mean TTFT", "requests/s", "KV blocks", "knee", "waiting to be admitted"):
            assert word in answer.out
