"""The search for the best plan of Megatron-1T on 3,072 A100: candidates, seconds and memory.

It runs in a process of its own, on one core of the two that it may have; what counts is the processor's time.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.conftest import Show
from topologies.quantity import GIGA

ROOT = Path(__file__).parents[1]
LEAST_CANDIDATES = 10_000
MOST_SECONDS = 60.0
MOST_NBYTES = 2 * GIGA
SEARCH = """
import json, resource, time
import topologies
from sim import frameworks, models
from sim.default_plan import PartialPlan
from sim.planning.training import Goal, Setting, Space, search
from sim.workload import TrainingStep
begun = time.process_time()
setting = Setting(
    model=models.load("gpt-1t"), cluster=topologies.load("dgx-a100", 3072), num_gpus=3072,
    step=TrainingStep(seq_len=2048, precision="bf16"), framework=frameworks.load("megatron-core"),
    partial=PartialPlan(),
)
answer = search([setting], Space(), Goal())
print(json.dumps({
    "candidates": answer.num_candidates, "simulated": answer.num_simulated, "pruned": sum(answer.pruned.values()),
    "best_s": answer.plans[0].seconds, "cpu_s": time.process_time() - begun,
    "nbytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
"""


@pytest.mark.timeout(600)  # wall time, however busy the machine is
def test_a_trillion_parameters_in_a_minute(show: Show) -> None:
    done = subprocess.run([sys.executable, "-c", SEARCH], cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    told = f"{found['candidates']:,} candidates, {found['simulated']} simulated, best {found['best_s']:.2f} s"
    used = f"{found['cpu_s']:.1f} s of one core (bar {MOST_SECONDS:.0f}), {found['nbytes'] / GIGA:.2f} GB"
    show(f"plan gpt-1t on 3,072 A100: {told}: {used}")
    assert found["candidates"] == found["pruned"] + found["simulated"] >= LEAST_CANDIDATES
    assert found["cpu_s"] <= MOST_SECONDS
    assert found["nbytes"] <= MOST_NBYTES
