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

BAR = 0.15
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


def errors(name: str) -> tuple[float, float]:
    """Of forward and backward, predicted / measured - 1."""
    forward, backward = predicted(name)
    row = ROWS[name]
    return forward / (float(row["forward_ms"]) * MILLISECOND) - 1, backward / (
        float(row["backward_ms"]) * MILLISECOND
    ) - 1


@pytest.mark.parametrize("name", ROWS)
def test_a_layer_is_met_within_the_bar_of_a_whole_step(name: str) -> None:
    """The bar of the printed step times: a layer is nearly all of a step."""
    assert max(map(abs, errors(name))) <= BAR


def test_every_layer_time_is_shown() -> None:
    """With -s: the table of `make accuracy`."""
    lines = list(ledger())
    print("", *lines, sep="\n")
    assert sum(line.startswith(tuple(ROWS)) for line in lines) == len(ROWS) == 5


def ledger() -> Iterator[str]:
    yield "One layer of gpt-22b on 8 GPUs, milliseconds: forward, backward with what it recomputes"
    yield f"{'row':<23} {'sp':<3} {'recompute':<9}    measured   predicted      errors"
    yield from map(line_of, ROWS)
    every = [one for name in ROWS for one in errors(name)]
    yield f"mean |error| {sum(map(abs, every)) / len(every):.1%}, bias {sum(every) / len(every):+.1%}, bar {BAR:.0%}"


def line_of(name: str) -> str:
    row = ROWS[name]
    forward, backward = (seconds / MILLISECOND for seconds in predicted(name))
    ahead, back = errors(name)
    what = f"{name:<23} {row['sp']:<3} {row['recompute']:<9}"
    times = f"{row['forward_ms']:>5} {row['backward_ms']:>5} {forward:>5.2f} {backward:>5.2f}"
    return f"{what} {times}  {ahead:>+6.1%} {back:>+6.1%}"
