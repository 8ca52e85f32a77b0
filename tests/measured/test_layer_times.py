"""One transformer layer, forward and backward, against the five times that Korthikanti et al. 2022 printed."""

import csv
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

import topologies
from sim import frameworks, layers, models
from sim.costs.collectives import COLLECTIVES
from sim.engine import Engine
from sim.instructions import Activity, Collective, Transfer
from sim.layers.context import Context, Pass
from sim.plan import Recompute
from sim.program import Program, Stream
from topologies.quantity import MILLISECOND

CLUSTER = topologies.load("dgx-a100", 8)
with Path(__file__).with_name("korthikanti22_layer.csv").open(newline="") as table:
    ROWS = {row["row"]: row for row in csv.DictReader(table)}


@functools.cache
def predicted(name: str) -> tuple[float, float]:
    """Seconds of forward and backward."""
    row = ROWS[name]
    context = Context(
        model=models.load(row["model"]),
        gpu=CLUSTER.gpu,
        framework=frameworks.load("megatron-lm"),
        tp=int(row["tp"]),
        sp=row["sp"] == "yes",
        recompute=cast(Recompute, row["recompute"]),
        micro_batch=int(row["micro_batch"]),
        seq_len=int(row["seq_len"]),
        precision="fp16",
    )
    assert row["precision"] == context.precision
    return played(layers.forward(context)), played(layers.backward(context))


def played(work: Pass) -> float:
    """Seconds that the eight tp ranks of a node take, every one of them played."""
    ranks = tuple(range(CLUSTER.num_gpus))
    collectives = [entry for block in work.values() for entry in block if isinstance(entry, Collective)]
    activities: dict[tuple[Collective | Transfer, int], Activity] = {
        (entry, rank): COLLECTIVES[entry.operation](CLUSTER, ranks, entry.nbytes)
        for entry in collectives
        for rank in ranks
    }
    program = Program(
        streams=tuple(
            Stream(rank=rank, name=stream, steps=[(None, block)]) for rank in ranks for stream, block in work.items()
        ),
        groups={("tp", rank): ranks for rank in ranks},
        activities=activities,
        ranks_folded=dict.fromkeys(ranks, 1),
    )
    return Engine(CLUSTER).play(program).duration


def measured(name: str) -> tuple[float, float]:
    return tuple(float(ROWS[name][key]) * MILLISECOND for key in ("forward_ms", "backward_ms"))  # type: ignore[return-value]


def test_every_layer_time_is_shown() -> None:
    print("", *ledger(), sep="\n")


def ledger() -> Iterator[str]:
    for name in ROWS:
        yield name + str(predicted(name)) + str(measured(name)) + str([a/b-1 for a,b in zip(predicted(name),measured(name))])
