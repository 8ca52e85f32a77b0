"""What a layer of experts takes by how many of them are touched, as measured on a GPU that the law is not fitted to."""

import csv
from statistics import median

import numpy as np
import pytest

import topologies
from sim.costs.expert_load import HEIGHTS, Load
from sim.costs.grouped_gemm import expert_layer
from tests.measured.servers import FOLDER
from topologies.quantity import MICROSECOND

OPERATORS = FOLDER / "vllm_runs" / "per_sequence_and_moe_ops.csv"
pytestmark = pytest.mark.skipif(not OPERATORS.is_file(), reason="the measured tables are not beside the repository")


def test_seconds_grow_with_the_experts_that_are_touched() -> None:
    """Qwen3-30B-A3B on an RTX PRO 6000, 16 to 128 experts touched by up to 256 tokens; 8 fit into its L2, on which the
    law errs by up to 43 %, and so many are touched by one token alone."""
    gpu, errors = topologies.load("rtx-pro-6000-box", 1).gpu, []
    with OPERATORS.open() as file:
        rows = [
            {name: row[name] for name in ("tokens", "activated_experts", "time_us")} for row in csv.DictReader(file)
        ]
    for tokens, active, measured in (map(float, row.values()) for row in rows if row["activated_experts"]):
        if active < 16 or tokens > 256:
            continue
        tiles = tuple(np.array([active * np.ceil(8 * tokens / active / height)]) for height in HEIGHTS)
        load = Load(rows=np.array([8 * tokens]), active=np.array([active]), tiles=tiles)
        (seconds,) = expert_layer(
            gpu, load, np.array([tokens]), hidden=2048, width=768, num_experts=128, precision="bf16"
        )
        errors.append(abs(seconds / (measured * MICROSECOND) - 1))
    assert median(errors) < 0.06
    assert max(errors) < 0.15
