"""Real servers' runs, played again, and the sizes of their caches: nothing is fitted to any of them."""

import functools
from pathlib import Path

import pytest

from sim.measured_runs.table import Row
from sim.serving.replay import Score, configurations, recording, replay
from tests.measured import kv_blocks

FOLDER = Path(__file__).parents[3] / "shared" / "measured" / "serving" / "vllm_runs"
needs_shared = pytest.mark.skipif(not FOLDER.is_dir(), reason="the measured tables are not beside the repository")
BOUNDS = {
    "mean_tpot": 0.01,
    "mean_latency": 0.013,
    "mean_ttft": 0.02,
    "p90_ttft": 0.026,
    "p99_ttft": 0.026,
    "kv_blocks": 0.016,
}
"""With operators' measured times and our own number of blocks."""


@functools.cache
def score() -> Score:
    (server,) = configurations(FOLDER / "configurations.csv")
    return replay(server, recording(FOLDER / "requests.csv", server), FOLDER)


@needs_shared
def test_the_cache_of_the_recorded_server_is_told_by_its_use() -> None:
    """2588 blocks, as its log had it."""
    assert score().configuration.num_blocks == 2588


@needs_shared
@pytest.mark.parametrize("metric", BOUNDS)
def test_a_run_of_vllm_on_an_rtx_4090(metric: str) -> None:
    assert abs(score().errors[metric]) < BOUNDS[metric]


@pytest.mark.parametrize("row", kv_blocks.ROWS, ids=lambda row: row["row"])
def test_caches_of_servers_that_were_published(row: Row) -> None:
    """Within 1 % where most of the memory is the cache; a tenth of it, on four L40S, within 3 %."""
    error = kv_blocks.predicted(row) / int(row["kv_tokens"]) - 1
    assert abs(error) < (0.03 if row["gpu"] == "l40s" else 0.01)
