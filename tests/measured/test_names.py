"""Every GPU and every fabric of the measured tables is known by the name that the table uses."""

import csv
from pathlib import Path

import pytest

import topologies

MEASURED = Path(__file__).parents[3] / "shared" / "measured"
# Columns that name a GPU in each row; a name may be followed by how many there were: `H800 13x8`, `H100 x32 (4 nodes)`.
GPU_COLUMNS = ("gpu", "accelerator", "hardware")
NOT_GPUS = ("TPU v4",)

needs_tables = pytest.mark.skipif(not MEASURED.is_dir(), reason="the measured tables are not beside the repository")


def values(column: str) -> set[str]:
    """What stands in that column of any table."""
    found: set[str] = set()
    for path in sorted(MEASURED.rglob("*.csv")):
        with path.open(newline="") as file:
            found |= {row[column] for row in csv.DictReader(file) if row.get(column)}
    return found


@needs_tables
def test_every_gpu_of_the_tables_resolves() -> None:
    spellings = {spelling for column in GPU_COLUMNS for spelling in values(column)} - set(NOT_GPUS)
    assert spellings
    for spelling in spellings:
        name = spelling if spelling.lower() in topologies.aliases("gpus") else without_count(spelling)
        assert topologies.gpu(name).name in topologies.names("gpus"), spelling


def without_count(spelling: str) -> str:
    """`H800 8-GPU node` without what follows the name of the GPU."""
    first, _, rest = spelling.partition(" ")
    return first if rest[:1].isdigit() or rest[:2] in ("x1", "x3") else spelling


@needs_tables
def test_every_system_that_is_a_gpu_resolves() -> None:
    """The column `system` names the GPU in the tables of servers, and a service elsewhere."""
    for table in ("servers_dense.csv", "servers_moe.csv"):
        with (MEASURED / "serving" / table).open(newline="") as file:
            for system in {row["system"] for row in csv.DictReader(file)}:
                assert topologies.gpu(system).name in topologies.names("gpus")


@needs_tables
def test_every_fabric_of_the_tables_resolves() -> None:
    fabrics = values("fabric")
    assert len(fabrics) > 5
    for fabric in fabrics:
        link, num_nics = topologies.network(fabric)
        assert (link is None) == (num_nics == 0)


@needs_tables
def test_every_machine_of_the_training_runs_can_be_built() -> None:
    with (MEASURED / "training.csv").open(newline="") as file:
        machines = {(row["gpu"], row["fabric"], int(row["gpus_per_node"])) for row in csv.DictReader(file)}
    for gpu, fabric, gpus_per_node in machines:
        in_rack = fabric.startswith("nvl72")
        cluster = topologies.build(gpu=gpu, fabric=fabric, gpus_per_node=None if in_rack else gpus_per_node, nodes=1)
        assert cluster.node.num_gpus == (64 if in_rack else gpus_per_node)
