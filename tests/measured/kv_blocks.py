"""Sizes of caches that servers printed as they started (kv_blocks.csv), and what we say of the same servers."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import topologies
from sim import models
from sim.deployment import Cache, CachePrecision, Deployment, Layout, Scheduling, WeightPrecision
from sim.frameworks import serving
from sim.measured_runs.table import Row
from sim.serving.memory import num_blocks

WEIGHTS: Final[Mapping[str, WeightPrecision]] = {"bf16": "bf16", "fp8": "fp8"}
PRECISIONS: Final[Mapping[str, CachePrecision]] = {"auto": "auto", "fp8": "fp8"}
with Path(__file__).with_suffix(".csv").open(newline="", encoding="utf-8") as _table:
    ROWS: Final[list[Row]] = list(csv.DictReader(_table))


def predicted(row: Row) -> int:
    """Tokens of keys and values for which there is room."""
    deployment = Deployment(
        layout=Layout(tp=int(row["tp"]), pp=int(row["pp"])),
        scheduling=Scheduling(
            max_num_seqs=int(row["max_num_seqs"]), max_num_batched_tokens=int(row["max_num_batched_tokens"])
        ),
        cache=Cache(utilization=float(row["utilization"]), precision=PRECISIONS[row["kv_dtype"]]),
        weights=WEIGHTS[row["weights"]],
    )
    cluster = topologies.build(gpu=row["gpu"], gpus_per_node=int(row["gpus_per_node"]), nodes=1)
    framework = serving.load(row["framework"])
    return num_blocks(models.load(row["model"]), cluster, deployment, framework).num_blocks * framework.block_size
