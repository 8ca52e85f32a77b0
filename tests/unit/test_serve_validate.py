"""`shardsim validate` of servers: the columns tell what a table is of; each row is played, or refused."""

import csv
import io
import json
from pathlib import Path

import pytest

from sim.serving.costs.operators import FILES
from tests.command import Shardsim, assert_refused

SERVERS = """\
id,backend,backend_version,model_path,system,precision,isl,osl,concurrency,tp_size,silicon_ttft_ms,silicon_tpot_ms
a,vllm,0.19.0,meta-llama/Llama-3.1-8B-Instruct,h100_sxm,fp8,128,16,2,1,30,5
b,vllm,0.19.0,meta-llama/Llama-3.1-8B-Instruct,h100_sxm,fp8,128,16,2,2,9000,5
c,vllm,0.19.0,somebody/unheard-of,h100_sxm,fp8,128,16,2,1,30,5
d,vllm,0.19.0,meta-llama/Llama-3.1-8B-Instruct,h100_sxm,fp8,128,16,,1,30,5
"""
THROUGHPUT = """\
release,model,gpu,precision,parallelism,num_gpus,isl,osl,metric,value
0.20,Llama-3.1-8B,H100-SXM,FP8,TP1,1,128,2,total_output_tokens_per_s,5000
0.20,Llama-3.1-8B,H100-SXM,FP8,TP1,1,128,2,tokens,5000
"""
CONFIGURATIONS = """\
hardware,model,vllm,tp,dp,ep,max_num_seqs,max_num_batched_tokens,dtype,kv_dtype
RTX4090,meta-llama/Llama-3.1-8B,0.19.0,1,1,False,256,2048,bfloat16,auto
"""
REQUESTS = """\
hardware,model,input_toks,output_toks,arrival_s,ttft_s,tpot_s,last_token_s
RTX4090,meta-llama/Llama-3.1-8B,100,5,0,0.05,0.02,0.13
RTX4090,meta-llama/Llama-3.1-8B,100,5,1,0.05,0.02,1.13
"""


def test_a_table_of_servers_is_scored_in_every_format(shardsim: Shardsim, folder: Path) -> None:
    (folder / "s.csv").write_text(SERVERS)
    text, data, rows = (shardsim("validate", "s.csv", "--format", output) for output in ("table", "json", "csv"))
    assert {(answer.code, answer.err) for answer in (text, data, rows)} == {(0, "")}
    assert text.out.startswith("s.csv: 2 rows played, 2 left out")
    score = json.loads(data.out)
    assert (score["rows"], [one["row"] for one in score["skipped"]]) == (2, ["c", "d"])
    assert (score["ttft"]["rows"], score["ttft"]["unsaturated"]["rows"], score["tpot"]["rows"]) == (2, 1, 2)
    first, second = score["results"]
    for metric, key in (("ttft", "mean_ttft_ms"), ("tpot", "mean_tpot_ms")):
        errors = [one[key]["predicted"] / one[key]["measured"] - 1 for one in (first, second)]
        assert score[metric]["bias"] == pytest.approx(sum(errors) / 2)
        assert score[metric]["mape"] == pytest.approx(sum(map(abs, errors)) / 2)
        assert score[metric]["coverage_80"] in (0, 0.5, 1)
    (row, _) = csv.DictReader(io.StringIO(rows.out))
    assert float(row["mean_tpot_ms.error"]) == first["mean_tpot_ms"]["error"]


def test_serve_comes_to_the_protocol_of_a_table_where_it_is_told_to(shardsim: Shardsim, folder: Path) -> None:
    """As docs/validation.md says it: ten requests of a user, answers that differ by 2 %, sampled; other draws."""
    header, row = SERVERS.splitlines()[:2]
    (folder / "s.csv").write_text(f"{header}\n{row.replace('fp8,128,16,2', 'bf16,512,128,16')}\n")
    (table,) = json.loads(shardsim("validate", "s.csv", "--format", "json").out)["results"]
    load = ("--concurrency", 16, "--num-requests", 160, "--input-len", 512)
    server = ("llama3.1-8b", "dgx-h100", "--gpus", 1, "--framework", "vllm-0.19", "--no-knee", "--format", "json")
    length = "load.output_len={mean: 128, kind: normal, deviation: 2.56}"
    said = map(str, (*server, *load, "--set", length, "--set", "deployment.sampling=top-p"))
    served = json.loads(shardsim("serve", *said).out)
    assert served["mean_ttft_ms"] == pytest.approx(table["mean_ttft_ms"]["predicted"], rel=0.25)
    assert served["mean_tpot_ms"] == pytest.approx(table["mean_tpot_ms"]["predicted"], rel=0.02)


def test_a_table_of_throughputs_is_scored(shardsim: Shardsim, folder: Path) -> None:
    (folder / "t.csv").write_text(THROUGHPUT)
    score = json.loads(shardsim("validate", "t.csv", "--format", "json").out)
    assert (score["rows"], len(score["skipped"]), score["throughput"]["rows"]) == (1, 1, 1)
    assert "ttft" not in score


def test_a_recorded_run_is_played_again(shardsim: Shardsim, folder: Path) -> None:
    (folder / "c.csv").write_text(CONFIGURATIONS)
    (folder / "r.csv").write_text(REQUESTS)
    score = json.loads(shardsim("validate", "c.csv", "--requests", "r.csv", "--format", "json").out)
    assert score["rows"] == 1
    for metric in ("ttft", "tpot", "latency"):
        assert score[metric].keys() == {"mean", "p90", "p99"}
    assert_refused(shardsim("validate", "c.csv"), "c.csv has configurations of servers; add --requests FILE")


def test_a_server_without_requests_is_left_out_beside_one_that_has_some(shardsim: Shardsim, folder: Path) -> None:
    (folder / "c.csv").write_text(CONFIGURATIONS + CONFIGURATIONS.splitlines()[1].replace("RTX4090", "H100"))
    (folder / "r.csv").write_text(REQUESTS)
    answer = shardsim("validate", "c.csv", "--requests", "r.csv", "--format", "json")
    score = json.loads(answer.out)
    assert (answer.code, score["rows"]) == (0, 1)
    assert [one["reason"] for one in score["skipped"]] == ["r.csv: no requests of meta-llama/Llama-3.1-8B on H100"]


def test_files_from_which_no_server_can_be_played_are_refused(shardsim: Shardsim, folder: Path) -> None:
    (folder / "c.csv").write_text(CONFIGURATIONS)
    (folder / "r.csv").write_text(REQUESTS)
    (folder / "without.csv").write_text(REQUESTS.replace("arrival_s", "came"))
    (folder / "negative.csv").write_text(REQUESTS.replace("0,0.05", "-1,0.05"))
    (folder / "others.csv").write_text(REQUESTS.replace("RTX4090", "L40S"))
    for name in FILES:
        (folder / name).write_text("hardware,model\n")
    for files, said in (
        (("--requests", "nowhere.csv"), "'nowhere.csv': there is no such file"),
        (("--requests", "without.csv"), "without.csv: no column arrival_s; it needs hardware, model, input_toks"),
        (("--requests", "negative.csv"), "negative.csv: arrival_s: '-1' is not a number of 0 or more"),
        (("--requests", "others.csv"), "others.csv: no requests of meta-llama/Llama-3.1-8B on RTX4090"),
        (
            ("--requests", "r.csv", "--ops", "nowhere"),
            "--ops: there is no dense_ops.csv in 'nowhere'; name a folder with dense_ops.csv, attention_ops.csv",
        ),
        (("--requests", "r.csv", "--ops", "."), "dense_ops.csv: no column tp; it needs hardware, model, tp"),
    ):
        assert_refused(shardsim("validate", "c.csv", *files), said)


def test_a_server_that_does_not_fit_is_left_out(shardsim: Shardsim, folder: Path) -> None:
    (folder / "c.csv").write_text(CONFIGURATIONS.replace("3.1-8B", "3.1-405B"))
    (folder / "r.csv").write_text(REQUESTS.replace("3.1-8B", "3.1-405B"))
    answer = shardsim("validate", "c.csv", "--requests", "r.csv", "--format", "json")
    score = json.loads(answer.out)
    assert (answer.code, score["rows"], len(score["skipped"])) == (0, 0, 1)


def test_files_that_belong_to_another_table_are_refused(shardsim: Shardsim, folder: Path) -> None:
    (folder / "s.csv").write_text(SERVERS)
    assert_refused(shardsim("validate", "s.csv", "--requests", "s.csv"), "go with a table of servers' configurations")
