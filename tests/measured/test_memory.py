"""Memory against Korthikanti et al. 2022, Figure 1 (the paper's arithmetic), and beside measured peaks of Llama."""

import csv
from collections.abc import Iterator
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
from sim.schedules import actions_of
from sim.workload import Precision
from topologies.quantity import GIB

Row = dict[str, str]
with Path(__file__).with_name("korthikanti22_memory.csv").open(newline="") as table:
    ROWS = {row["row"]: row for row in csv.DictReader(table)}
MEASURED = Path(__file__).parents[3] / "shared" / "measured" / "memory.csv"
FULL_SIZE = {"llama3-70b-l12": "llama3-70b", "llama3-405b-kv16-l4": "llama3-405b"}
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
    actions = actions_of(plan.schedule, plan.pp, plan.vpp, plan.num_microbatches)[0]
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


@pytest.mark.parametrize("name", ROWS)
def test_activations_are_those_of_figure_1_within_1_percent(name: str) -> None:
    """sbh L (10 + 24/t + 5as/ht) (1 + (p-1)/pv) without, sbh L 34/t (1 + (p-1)/pv) with sp and selective recomputation.

    For 22B without: 2048 x 4 x 6144 x 48 x (10 + 3 + 13 1/3) bytes = 59.25 GiB.
    """
    assert activations_of_layers(name) == pytest.approx(float(ROWS[name]["activation_gib"]), rel=0.01)


@pytest.mark.parametrize("name", ROWS)
def test_parameters_and_optimizer_are_those_of_figure_1_within_1_percent(name: str) -> None:
    """18 bytes for each of 12 L h^2 / tp; for 22B 18 x 12 x 48 x 6144^2 / 8 bytes = 45.5625 GiB."""
    assert states_of_layers(name) == pytest.approx(float(ROWS[name]["parameters_and_optimizer_gib"]), rel=0.01)


def test_every_row_of_figure_1_is_shown() -> None:
    """With -s: the table of `make accuracy`."""
    lines = [line_of(name) for name in ROWS]
    print("", "First pipeline rank, GiB: Korthikanti et al. 2022, Figure 1, and ours (layers only)", sep="\n")
    print(*lines, sep="\n")
    assert len(lines) == 8


def line_of(name: str) -> str:
    row = ROWS[name]
    activations, states = float(row["activation_gib"]), float(row["parameters_and_optimizer_gib"])
    ours, own_states = activations_of_layers(name), states_of_layers(name)
    what = f"{name:<24} {row['model']:<9} {row['recompute']:<9}"
    first = f"activations {activations:>7.2f} {ours:>7.2f} {ours / activations - 1:>+6.2%}"
    return f"{what} {first}   states {states:>6.2f} {own_states:>6.2f} {own_states / states - 1:>+6.2%}"


def measured_rows() -> list[Row]:
    """Peaks of dense Llama without context parallelism, measured on B200; memory asks little of the kind of GPU."""
    if not MEASURED.exists():
        pytest.skip(
            f"{MEASURED.name} is not there: the measured peaks are kept beside the repository, in shared/measured"
        )
    with MEASURED.open(newline="") as table:
        return [row for row in csv.DictReader(table) if row["model"] in FULL_SIZE and row["cp"] == "1"]


def measured_use(row: Row) -> MemoryUse:
    """The worst pipeline rank of the row's run."""
    whole = models.load(FULL_SIZE[row["model"]])
    model = replace(whole, num_layers=int(row["layers"]), num_kv_heads=int(row["kv_heads"]))
    plan = plan_of(row, row["sequence_parallel"], schedule="1f1b", global_batch=int(row["global_batch"]))
    context = context_of(row, plan, model, "dgx-h100", "megatron-core")
    return max(memory_use(context, plan), key=lambda use: use.total)


def test_measured_peaks_are_shown() -> None:
    """With -s: peaks of allocated memory; no bar yet, since what allocators and fused losses hold is not modelled."""
    print("", "Peak allocated memory of the worst rank, GiB: measured on B200, and ours", *peaks(), sep="\n")


def peaks() -> Iterator[str]:
    errors = []
    for row in measured_rows():
        use, measured = measured_use(row), float(row["peak_memory_gib"])
        errors.append(use.total / GIB / measured - 1)
        holds = ", ".join(f"{what} {nbytes / GIB:.1f}" for what, nbytes in use.by_holding().items() if nbytes)
        what = f"{row['row']:<14} {row['model']:<20} tp={row['tp']} pp={row['pp']} dp={row['dp']}"
        yield f"{what} {measured:>7.2f} {use.total / GIB:>7.2f} {errors[-1]:>+6.1%}   {holds}"
    yield f"mean |error| {sum(map(abs, errors)) / len(errors):.1%}, bias {sum(errors) / len(errors):+.1%}"
