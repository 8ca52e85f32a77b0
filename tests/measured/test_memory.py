"""Memory against Korthikanti et al. 2022, Figure 1 (the paper's arithmetic), and against measured peaks of Llama."""

import csv
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import cast

import pytest

import topologies
from sim import frameworks, models
from sim.layers import embedding
from sim.layers.context import Context
from sim.memory import MemoryUse, memory_use
from sim.plan import Plan, Recompute, Schedule
from sim.schedules import schedule_of
from sim.workload import Precision
from topologies.quantity import GIB

Row = dict[str, str]


def rows_of(table: str) -> dict[str, Row]:
    """The rows of a table beside this file, by their names."""
    with Path(__file__).with_name(table).open(newline="") as lines:
        return {row["row"]: row for row in csv.DictReader(lines)}


ROWS = rows_of("korthikanti22_memory.csv")
MEASURED = rows_of("b200_memory.csv")
"""Dense Llama without context parallelism, fewer layers than the whole."""
NBYTES_PER_PARAMETER = 18


def figure_1(name: str) -> tuple[Context, Plan]:
    """The row's run, with microbatches to fill the pipeline three times over."""
    row = ROWS[name]
    vpp, batch = int(row["vpp"]), 3 * int(row["pp"]) * int(row["micro_batch"])
    plan = plan_of(row, row["sp"], schedule="interleaved" if vpp > 1 else "1f1b", global_batch=batch)
    return context_of(row, plan, models.load(row["model"]), "dgx-a100", "megatron-lm"), plan


def plan_of(row: Row, sp: str, schedule: Schedule, global_batch: int) -> Plan:
    return Plan(
        tp=int(row["tp"]),
        sp=sp == "yes",
        pp=int(row["pp"]),
        vpp=int(row["vpp"]),
        dp=int(row["dp"]),
        zero=1 if row.get("sharding") == "zero1" else 0,
        recompute=cast(Recompute, row["recompute"]),
        schedule=schedule,
        micro_batch=int(row["micro_batch"]),
        global_batch=global_batch,
    )


def context_of(row: Row, plan: Plan, model: models.Transformer, cluster: str, framework: str) -> Context:
    return Context(
        model=model,
        gpu=topologies.load(cluster).gpu,
        framework=frameworks.load(framework),
        tp=plan.tp,
        sp=plan.sp,
        recompute=plan.recompute,
        micro_batch=plan.micro_batch,
        seq_len=int(row["seq_len"]),
        precision=cast(Precision, row["precision"]),
    )


def activations_of_layers(name: str) -> float:
    """GiB of the first pipeline rank without the embedding's dropout mask, which the figure leaves out, as is said in
    section 4.3; of it there is one for each microbatch that the first stage has in flight when the layers peak."""
    context, plan = figure_1(name)
    actions = schedule_of(plan.schedule, plan.pp, plan.vpp, plan.num_microbatches).rows[0]
    signs = [1 if kind == "F" else -1 for kind, _, _ in actions]
    layers = list(accumulate(signs))
    first = list(accumulate(sign * (stage == 0) for sign, (_, stage, _) in zip(signs, actions, strict=True)))
    masks = first[layers.index(max(layers))] * embedding.saved_nbytes(context)
    return (memory_use(context, plan)[0].activations - masks) / GIB


def states_of_layers(name: str) -> float:
    """GiB of weights, gradients and optimizer states of the first pipeline rank without those of the embedding."""
    context, plan = figure_1(name)
    use = memory_use(context, plan)[0]
    whole = use.weights + use.gradients + use.optimizer
    return (whole - NBYTES_PER_PARAMETER * embedding.parameters(context)) / GIB


def print_line(name: str, what: str, published: float, ours: float) -> None:
    """With -s: the table of `make accuracy`, in GiB of the first pipeline rank, layers only."""
    row = ROWS[name]
    whole = f"{name:<24} {row['model']:<9} {row['recompute']:<9} {what:<11}"
    print(f"\n{whole} {published:>7.2f} {ours:>7.2f} {ours / published - 1:>+6.2%}")


@pytest.mark.parametrize("name", ROWS)
def test_activations_are_those_of_figure_1_within_1_percent(name: str) -> None:
    """sbh L (10 + 24/t + 5as/ht) (1 + (p-1)/pv) without, sbh L 34/t (1 + (p-1)/pv) with sp and selective recomputation.

    For 22B without: 2048 x 4 x 6144 x 48 x (10 + 3 + 13 1/3) bytes = 59.25 GiB.
    """
    ours, published = activations_of_layers(name), float(ROWS[name]["activation_gib"])
    print_line(name, "activations", published, ours)
    assert ours == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize("name", ROWS)
def test_parameters_and_optimizer_are_those_of_figure_1_within_1_percent(name: str) -> None:
    """18 bytes for each of 12 L h^2 / tp; for 22B 18 x 12 x 48 x 6144^2 / 8 bytes = 45.5625 GiB."""
    ours, published = states_of_layers(name), float(ROWS[name]["parameters_and_optimizer_gib"])
    print_line(name, "states", published, ours)
    assert ours == pytest.approx(published, rel=0.01)


def measured_use(row: Row) -> MemoryUse:
    """The worst pipeline rank of the row's run; memory asks little of the kind of GPU."""
    whole = models.load(row["model"])
    model = replace(whole, num_layers=int(row["layers"]), num_kv_heads=int(row["kv_heads"]))
    plan = plan_of(row, row["sp"], schedule="1f1b", global_batch=int(row["global_batch"]))
    return max(memory_use(context_of(row, plan, model, "dgx-h100", "megatron-core"), plan), key=lambda use: use.total)


@pytest.mark.parametrize("name", MEASURED)
def test_measured_peaks_are_met_within_10_percent(name: str) -> None:
    """Peaks of allocated memory on eight B200. All are missed from below, by 2 to 8.3 %: what fused losses and
    communication libraries hold is not modelled."""
    row = MEASURED[name]
    use, measured = measured_use(row), float(row["peak_gib"])
    error = use.total / GIB / measured - 1
    holds = ", ".join(f"{what} {nbytes / GIB:.1f}" for what, nbytes in use.by_holding().items() if nbytes)
    what = f"{name} {row['model']:<11} of {row['layers']:>2} layers tp={row['tp']} pp={row['pp']} dp={row['dp']}"
    print(f"\n{what} {measured:>7.2f} {use.total / GIB:>7.2f} {error:>+6.1%}   {holds}")
    assert abs(error) <= 0.10
