"""The Serve page: its numbers are the command line's, layouts fill the same GPUs, strangers' traces end in words."""

import gzip
import json
import shlex
from dataclasses import replace

import pytest

from sim.scenario import serving as scenarios_of_files
from topologies.document import Infeasible, InputError
from web.answers import serving, serving_layouts
from web.answers.serving_scenario import MOST_REQUESTS, Trace, opened, plain, text

FIELDS = {
    "model": "llama3-8b", "cluster": "dgx-h100", "gpus": 2, "deployment": {"tp": 2},
    "load": {"rate": 8.0, "num_requests": 40, "input_len": 512, "output_len": 32}, "slo": ["p99 ttft < 1 s"],
}  # fmt: skip
FLAGS = (
    "llama3-8b dgx-h100 --gpus 2 --tp 2 --rate 8 --num-requests 40 --input-len 512 --output-len 32 "
    "--slo 'p99 ttft < 1 s' --format json"
)
SMALL = text(FIELDS, "")
BY_TRACE = text({**FIELDS, "load": {"num_requests": 40}}, "")
ROWS = b"arrival,prompt,output\n0,100,10\n0.5,200,20\n1.5,300,5\n"


def test_the_page_and_the_command_line_come_to_the_same_bytes(shardsim) -> None:
    answer = shardsim("serve", *shlex.split(FLAGS))
    assert serving.result(SMALL, None).decode() + "\n" == answer.out
    found = json.loads(answer.out)
    shown = serving.serve(SMALL, None)
    assert shown.command == found["command"]
    assert {one.name: one.value for one in shown.figures}["KV blocks"] == f"{found['kv_blocks']:,}"
    knee = serving.knee(SMALL, None)
    assert knee is not None
    assert knee.found.knee == found["saturation"]["knee_request_rate"]


def test_what_is_laid_over_the_controls_counts() -> None:
    more = "model: {num_layers: 16}\nload: {rate: null, concurrency: 4}\ndeployment: {scheduling: {max_num_seqs: 2}}"
    said = text(FIELDS, more)
    with opened(said, None) as found:
        assert (found.model.num_layers, found.load.concurrency, found.load.rate) == (16, 4, None)
        assert found.deployment.scheduling.max_num_seqs == 2
        assert found.deployment.layout.tp == 2
    assert serving.knee(said, None) is None


def test_each_figure_says_how_it_comes_about() -> None:
    """The dollars of a query, from the sentence at its pointer: 2 GPUs x price x seconds / 40 answers."""
    shown = serving.serve(SMALL, None)
    assert all(one.formula.endswith(".") and any(map(str.isdigit, one.formula)) for one in shown.figures)
    query = next(one for one in shown.figures if one.name == "cost per query")
    assert query.formula.startswith("2 GPUs x $")
    assert " / 40 answers." in query.formula
    assert sum(share.amount for share in shown.spent[0].shares) == pytest.approx(1, abs=0.005)


def test_a_readers_trace_is_served_and_does_not_stay(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    packed = Trace(name="../../my trace.csv", content=gzip.compress(ROWS))
    shown = serving.serve(BY_TRACE, packed)
    assert "--trace my-trace.csv" in shown.command
    assert serving.requests(BY_TRACE, packed).count(b"\n") == 4
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "scenario.yaml").write_text(shown.text)
    (tmp_path / "my-trace.csv").write_bytes(packed.content)
    with opened(BY_TRACE, packed) as found:
        again = scenarios_of_files.load(tmp_path / "scenario.yaml")
        assert replace(again.load, trace=None) == replace(found.load, trace=None)


@pytest.mark.parametrize(
    ("said", "trace", "words"),
    [
        (text({**FIELDS, "load": {"trace": "/etc/passwd", "num_requests": 1}}, ""), None, "no files of the server"),
        (text({**FIELDS, "model": "../x.json"}, ""), None, "which the app does not read"),
        (text({**FIELDS, "load": {"num_requests": MOST_REQUESTS + 1}}, ""), None, "5,001 is too many here"),
        (text({**FIELDS, "load": {"rate": 4}}, ""), None, "no end is too many here"),
        (text({**FIELDS, "slo": ["fast"]}, ""), None, "an objective names one of"),
        (BY_TRACE, Trace(name="a.csv", content=b"arrival,prompt,output\n0,100,10\n-1,5,5\n"), "a.csv:3"),
        (BY_TRACE, Trace(name="a.csv", content=b"arrival,prompt\n0,100\n"), "a.csv"),
        (BY_TRACE, Trace(name="..", content=b""), "empty"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_ends_in_words(said, trace, words) -> None:
    with pytest.raises(InputError, match=words) as error, opened(said, trace):
        serving.serve(said, trace)
    assert "/tmp" not in str(error.value)


def test_a_name_leads_nowhere() -> None:
    assert [plain(name) for name in ("../../etc/passwd", "C:\\a b.csv", "..", "$(x).csv")] == [
        "passwd", "a-b.csv", "trace", "x-.csv",
    ]  # fmt: skip


@pytest.mark.parametrize("model", ["llama3-8b", "mixtral-8x7b"])
def test_layouts_side_by_side_fill_the_same_gpus_once_each(model) -> None:
    said = text({**FIELDS, "model": model, "gpus": 8, "deployment": {"tp": 8, "weights": "fp8"}}, "")
    found = serving_layouts.candidates(said, None)
    assert 4 <= len(found) <= serving_layouts.MOST
    assert len({one.layout for one in found}) == len(found)
    for one in found:
        with opened(one.text, None) as scenario:
            assert scenario.deployment.num_gpus == 8
            assert scenario.deployment.weights == "fp8"
            assert serving_layouts.in_short(scenario.deployment) == one.layout
    assert any("ep" in one.layout for one in found) == (model == "mixtral-8x7b")


def test_the_best_of_each_measure_is_of_those_that_could_be_played() -> None:
    rows = [
        serving_layouts.Outcome(ttft=2.0, ttft_p99=4.0, tpot=0.1, throughput=5.0, cost=3.0),
        serving_layouts.Outcome(ttft=1.0, ttft_p99=5.0, tpot=0.2, throughput=6.0, cost=2.0),
        serving_layouts.outcome(text({**FIELDS, "model": "llama3-405b"}, ""), None),
    ]
    assert rows[2].refused
    assert serving_layouts.best(rows) == {"ttft": 1.0, "ttft_p99": 4.0, "tpot": 0.1, "throughput": 6.0, "cost": 2.0}


def test_layouts_are_drawn_on_round_times_also_where_answers_have_one_token() -> None:
    pytest.importorskip("streamlit", reason="streamlit is not installed")
    from web.charts import serving_plays

    assert serving_plays.round_times([0.018, 0.147]) == pytest.approx([0.02, 0.05, 0.1])
    assert serving_plays.round_times([]) == [1.0]
    rows = [serving_layouts.Outcome(ttft=1.0, ttft_p99=share, tpot=0.0) for share in (0.2, 3.0)]
    drawn = serving_plays.layouts(["tp 2", "pp 2"], rows).to_dict()["layer"][0]["encoding"]
    assert drawn["y"]["axis"]["values"] == pytest.approx([0.2, 0.5, 1.0, 2.0])
    assert "values" not in drawn["x"]["axis"]


def test_a_model_that_does_not_fit_is_infeasible() -> None:
    with pytest.raises(Infeasible, match="GiB"):
        serving.serve(text({**FIELDS, "model": "llama3-405b"}, ""), None)
