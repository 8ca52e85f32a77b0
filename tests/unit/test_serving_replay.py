"""Recorded runs are read, played and compared."""

from pathlib import Path

import numpy as np
import pytest

from sim.serving.replay import blocks_in, configurations, recording, replay
from topologies.document import InputError

HEADER = "hardware,model,vllm,tp,dp,ep,max_num_seqs,max_num_batched_tokens,dtype,kv_dtype,num_gpu_blocks"
ROW = "H100,meta-llama/Llama-3.1-8B-Instruct,0.19.0,1,1,False,256,2048,bfloat16,auto,30000"
SENT = "hardware,model,input_toks,output_toks,arrival_s,ttft_s,tpot_s,last_token_s"


def table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines))
    return path


def sent(path: Path, *requests: tuple[float, int, int]) -> Path:
    owner = ",".join(ROW.split(",")[:2])
    rows = [f"{owner},{prompt},{output},{time},0.1,0.01,{time + 1}" for time, prompt, output in requests]
    return table(path, SENT, *rows)


def test_a_run_is_played_with_its_own_settings(tmp_path: Path) -> None:
    (server,) = configurations(table(tmp_path / "c.csv", HEADER, ROW))
    recorded = recording(sent(tmp_path / "r.csv", (0.5, 100, 20), (0.0, 200, 30)), server)
    assert recorded.requests.arrival.tolist() == [0.0, 0.5]
    assert server.deployment.scheduling.max_num_seqs == 256
    score = replay(server, recorded)
    assert score.num_requests == 2
    assert set(score.errors) == {
        *(f"{n}_{m}" for n in ("mean", "p90", "p99") for m in ("ttft", "tpot", "latency")),
        "kv_blocks",
    }
    assert score.errors["mean_ttft"] == pytest.approx(score.predicted["mean_ttft"] / 0.1 - 1)
    assert 0 < score.predicted["mean_tpot"] < 0.05


def test_blocks_are_told_by_how_full_the_cache_was() -> None:
    """Of 2587 blocks, some hundred numbers of used ones, in hundredths of a per cent; one alone tells nothing."""
    used = np.random.default_rng(1).integers(1, 2587, 100)
    assert blocks_in(np.round(100 * used / 2587, 2).tolist()) == 2587
    assert blocks_in([50.0]) is None
    assert blocks_in([]) is None


def test_bad_tables_end_in_clear_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"c\.csv: no column vllm; it needs hardware, model"):
        configurations(table(tmp_path / "c.csv", "hardware,model", "a,b"))
    with pytest.raises(InputError, match="dtype: 'int3' is not known"):
        configurations(table(tmp_path / "c.csv", HEADER, ROW.replace("bfloat16", "int3")))
    with pytest.raises(InputError, match="unknown model"):
        configurations(table(tmp_path / "c.csv", HEADER, ROW.replace("meta-llama/Llama-3.1-8B-Instruct", "me/mine-1b")))
    (server,) = configurations(table(tmp_path / "c.csv", HEADER, ROW))
    with pytest.raises(InputError, match=r"r\.csv: arrival_s: '-1.0' is not a number of 0 or more"):
        recording(sent(tmp_path / "r.csv", (-1.0, 100, 20)), server)
    with pytest.raises(InputError, match="no requests of meta-llama"):
        recording(table(tmp_path / "r.csv", SENT), server)
