"""Steps of the largest models on the largest clusters, and ranks that are all played: wall time and memory.

Each is played in a process of its own, on one core; the interpreter's start is not counted.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.conftest import Show
from topologies.quantity import GIGA

ROOT = Path(__file__).parents[1]
ROUNDS = 2
PLAY = """
import json, resource, sys, time
import topologies
from sim import frameworks, models
from sim.plan import Plan
from sim.training import simulate_training
from sim.workload import TrainingStep
name, cluster, framework, plan, step, how = json.loads(sys.argv[1])
start = time.perf_counter()
plan = Plan(**plan)
model, cluster = models.load(name), topologies.load(cluster, plan.num_gpus)
timeline = simulate_training(model, cluster, plan, TrainingStep(**step), frameworks.load(framework), **how)
ranks = len({track.rank for track in timeline.tracks})
wall = time.perf_counter() - start
print(json.dumps([wall, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, ranks, timeline.duration]))
"""


Case = tuple[str, str, str, dict[str, object], dict[str, object], dict[str, object]]


def plan(tp: int, pp: int, dp: int, num_microbatches: int, **other: object) -> dict[str, object]:
    return {
        "tp": tp, "sp": tp > 1, "pp": pp, "vpp": 1, "dp": dp, "zero": 1, "recompute": "none", "schedule": "1f1b",
        "micro_batch": 1, "global_batch": num_microbatches * dp, **other,
    }  # fmt: skip


def step(seq_len: int, precision: str = "bf16") -> dict[str, object]:
    return {"seq_len": seq_len, "precision": precision}


CASES: dict[str, tuple[Case, float, float]] = {
    "DeepSeek-V3, EP64 x PP16, DualPipe, 2,048 H800, layer detail": (
        (
            "deepseek-v3", "h800-node", "megatron-bridge",
            plan(1, 16, 128, 120, ep=64, schedule="dualpipe", recompute="selective"), step(4096, "fp8"),
            {"detail": "layer"},
        ),
        3.0, 4.0,
    ),
    "Llama-3-405B, TP8 x CP16 x PP16 x DP8, 16,384 H100, 131k tokens, layer detail": (
        (
            "llama3-405b", "dgx-h100", "megatron-core", plan(8, 16, 8, 16, cp=16, cp_kind="all-gather"), step(131_072),
            {"detail": "layer"},
        ),
        3.0, 4.0,
    ),
    "Llama-3-405B, TP8 x PP16 x DP128, 16,384 H100, each as fast as it is, stage detail": (
        (
            "llama3-405b", "dgx-h100", "megatron-core", plan(8, 16, 128, 16), step(8192),
            {"detail": "stage", "jitter": 0.02},
        ),
        60.0, 4.0,
    ),
    "Llama-3-8B, DP16384, as many speeds and no two in one tp group, stage detail": (
        (
            "llama3-8b", "dgx-h100", "megatron-core", plan(1, 1, 16_384, 4), step(8192),
            {"detail": "stage", "jitter": 0.02},
        ),
        60.0, 4.0,
    ),
    "GPT-3 175B, TP8 x PP8, 64 microbatches, all 64 ranks, kernel detail": (
        (
            "gpt3-175b", "dgx-a100", "megatron-core", plan(8, 8, 1, 64, zero=0), step(2048),
            {"detail": "kernel", "folded": False},
        ),
        5.0, 4.0,
    ),
}  # fmt: skip
"""What is played, seconds and GB that it may take."""


def played(case: Case) -> tuple[float, float, int, float]:
    """Wall seconds, bytes, ranks played, seconds of the step."""
    found = subprocess.run(
        [sys.executable, "-c", PLAY, json.dumps(case)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    wall, nbytes, ranks, duration = json.loads(found.stdout)
    return wall, nbytes, ranks, duration


@pytest.mark.parametrize("name", CASES)
def test_a_large_step_is_played_in_time(show: Show, name: str) -> None:
    case, seconds, room = CASES[name]
    wall, nbytes, ranks, duration = min(played(case) for _ in range(ROUNDS))
    verdict = "" if wall < seconds and nbytes < room * GIGA else "  MISSED"
    show(f"{name}:")
    show(
        f"  {ranks:,} ranks played in {wall:.2f} s, bar {seconds:.0f} s; {nbytes / GIGA:.2f} GB, bar {room:.0f} GB;"
        f" a step of {duration:.2f} s{verdict}"
    )
    assert wall < seconds
    assert nbytes < room * GIGA
