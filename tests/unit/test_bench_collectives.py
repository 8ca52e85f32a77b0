"""Which groups communicate, at which sizes, in which columns; and that what comes out is looked at."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import topologies
from calibrate import importers
from calibrate.bench import beside, collectives
from calibrate.bench.groups import groups, pairs
from calibrate.launching.launch import launch
from calibrate.machines.machine import Machine
from calibrate.measurement import Measurement
from sim.costs.collectives.gloo import OPERATIONS
from sim.costs.laws import COLLECTIVE_LAWS, KERNEL_LAWS
from sim.costs.sharing import Hold
from sim.instructions import Load
from tests import launched
from topologies.quantity import MIB, MILLISECOND

NODE = Machine(
    backend="nccl",
    part="h100-80gb-sxm",
    link="nvlink4",
    device="NVIDIA H100",
    num_gpus=8,
    software={"nccl": "2.27.3"},
)
TWO_NODES = replace(NODE, num_gpus=16, num_nodes=2, fabric="ib-ndr400x8")
GPU = topologies.gpu("h100-80gb-sxm")
LARGEST = 4096
"""Bytes of the collectives of real processes."""


def test_in_a_node_groups_double() -> None:
    assert [group.members for group in groups(NODE)] == [(0, 1), (0, 1, 2, 3), tuple(range(8))]
    assert [len(group.members) for group in groups(replace(NODE, num_gpus=6))] == [2, 4, 6]


def test_over_nodes_all_gpus_and_one_rail() -> None:
    across = [group for group in groups(TWO_NODES) if group.num_nodes == 2]
    assert [group.members for group in across] == [tuple(range(16)), (0, 8)]


def test_messages_go_to_the_neighbour_first_and_between_all_pairs_in_a_full_run() -> None:
    """8 GPUs have 28 pairs, of which 4 are neighbours; 2 nodes have 8 rails."""
    budgets = Counter((pair.num_nodes, pair.budget) for pair in pairs(TWO_NODES))
    assert budgets == {(1, "quick"): 1, (1, "default"): 3, (1, "full"): 24, (2, "quick"): 1, (2, "full"): 7}


def test_one_gpu_has_nobody_to_talk_to() -> None:
    assert list(collectives.points(replace(NODE, num_gpus=1), GPU)) == []


def test_points_have_the_columns_of_what_others_measured(tmp_path: Path) -> None:
    table = tmp_path / "nccl.csv"
    table.write_text(
        "gpu,num_gpus,nccl_version,collective,dtype,size_bytes,time_us\n"
        "h100-80gb-sxm,8,2.27.3,all_reduce,bfloat16,1048576,40\n"
        "h100-80gb-sxm,8,2.27.3,alltoall,bfloat16,1048576,40\n"
    )
    read = {one.operation: one for one in importers.samples_of([importers.read(table, None, None)])}
    made = {one.operation: one for one in collectives.points(NODE, GPU)}
    for operation, samples in read.items():
        assert set(made[operation].inputs) == set(samples.points), operation
        assert made[operation].part == samples.part
        assert made[operation].inputs["nccl_version"] == samples.points["nccl_version"][0]


@pytest.mark.parametrize("machine", [NODE, TWO_NODES])
def test_points_have_the_inputs_of_their_law_and_no_two_are_alike(machine: Machine) -> None:
    points = list(collectives.points(machine, GPU))
    for point in points:
        assert set(COLLECTIVE_LAWS[point.operation].inputs) <= set(point.inputs), point.operation
    keys = [(one.operation, one.part, tuple(sorted(one.inputs.items()))) for one in points]
    assert len(set(keys)) == len(keys)


def test_a_run_cut_off_early_has_seen_all_operations_from_small_to_large() -> None:
    sizes = [one.inputs["nbytes"] for one in collectives.points(NODE, GPU) if one.operation == "nccl node"]
    first = sizes[: len(sizes) // 4]
    assert (min(first), max(first)) == (1024, 2**30)
    assert len({*first}) == 6


def test_sizes_are_whole_parts_for_each_rank() -> None:
    """1024 bytes over 6 ranks: 85 numbers of 2 bytes each make 1020."""
    machine = replace(NODE, num_gpus=6)
    smallest = [one for one in collectives.points(machine, GPU) if one.inputs.get("num_gpus") == 6]
    assert smallest[0].inputs["nbytes"] == 1020


def test_processors_exchange_no_more_than_they_can_in_time() -> None:
    largest = {"quick": 0.0, "default": 0.0}
    for point in collectives.points(launched.MACHINE, GPU):
        largest[point.budget] = max(largest[point.budget], point.inputs["nbytes"])
        assert point.operation == "gloo"
    assert largest == {"quick": 16 * MIB, "default": 64 * MIB}


@pytest.fixture(scope="module")
def told() -> list[launched.Told]:
    """Of three processes; at the end come the smallest collectives, with numbers on one rank that are wrong."""
    told: list[launched.Told] = []
    whole = launch(launched.communicate_twice, LARGEST, backend="gloo", take=told.append, num_ranks=3)
    assert whole == [True, True]
    return told


def number_of(largest: int) -> int:
    """Of collectives of three processes up to a size."""
    points = collectives.points(replace(launched.MACHINE, num_gpus=3), GPU)
    return sum(one.inputs["nbytes"] <= largest for one in points)


@pytest.mark.slow
def test_every_collective_gives_what_it_should(told: list[launched.Told]) -> None:
    measured = [one for one in told[: number_of(LARGEST)] if isinstance(one, Measurement)]
    assert len(measured) == number_of(LARGEST)
    assert {one.inputs["operation"] for one in measured} == set(range(len(OPERATIONS)))
    assert {one.inputs["num_gpus"] for one in measured} == {2.0, 3.0}
    assert [one.wrong for one in measured if one.wrong] == []
    assert all(0 < one.low <= one.seconds for one in measured)


@pytest.mark.slow
def test_a_collective_that_gives_other_numbers_is_called_wrong(told: list[launched.Told]) -> None:
    spoiled = told[number_of(LARGEST) :]
    assert len(spoiled) == number_of(launched.SMALLEST)
    wrong = {OPERATIONS[int(one.inputs["operation"])] for one in spoiled if isinstance(one, Measurement) and one.wrong}
    assert wrong == set(OPERATIONS)


def test_all_reduces_outlast_the_kernels_beside_them() -> None:
    """Kernels of 2 ms: 3 make the 5 ms of a repetition. All-reduces of 1 ms must last for 12 ms."""
    assert beside.counts(2 * MILLISECOND, 1 * MILLISECOND) == (3, 12)
    assert beside.counts(20 * MILLISECOND, 50 * MILLISECOND) == (1, 1)


def test_half_of_the_all_reduces_are_under_way_before_the_kernels_that_they_outlast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is left of a repetition is waited for before the next, and before its result is looked at."""
    log: list[object] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append("wait"))
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    kernel = beside.Kernel(go=lambda: log.append("kernel"), check=lambda: "", load=lambda _: Load(math=1.0))
    run = beside.beside(kernel, 2, log.append, 5, torch.device("cuda"))
    assert run.before is not None
    for go in (run.before, run.go, run.before, run.go, run.check):
        go()
    assert log == ["wait", 3, "kernel", "kernel", 2] * 2 + ["wait"]
    assert run.times == 2


def test_points_beside_communication_learn_the_inputs_of_their_law() -> None:
    found = beside.found(0.01, Load(math=0.7, memory=0.1, sms=1.0, num_blocks=512), Hold(24, 3e11))
    assert set(found) == set(KERNEL_LAWS["sharing"].inputs)
    assert (found["alone"], found["num_blocks"], found["num_sms_held"], found["wire_bandwidth"]) == (
        0.01,
        512,
        24,
        3e11,
    )


def test_kernels_run_beside_communication_only_where_there_is_a_second_gpu() -> None:
    points = list(beside.points(NODE, GPU))
    assert {one.members for one in points if one.budget == "quick"} == {tuple(range(8))}
    assert {one.inputs["k"] > 0 for one in points if one.budget == "quick"} == {True, False}
    assert list(beside.points(replace(NODE, num_gpus=1), GPU)) == []
    assert list(beside.points(launched.MACHINE, GPU)) == []
