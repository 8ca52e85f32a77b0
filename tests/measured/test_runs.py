"""Published runs: every row is played, and predictions stay as near to the measured times and peaks as they are.

training_runs.csv and memory_runs.csv are our own transcription of what was published, a source in each row; shapes are
those of the catalogue unless a row says otherwise. `make accuracy` writes all rows into docs/accuracy.md.
"""

from pathlib import Path

import pytest

from sim import measured_runs, models, scenario
from tests.measured import accuracy

SHARED = Path(__file__).parents[3] / "shared" / "measured"
SHAPES = ("layers", "hidden", "vocab")
TABLES = {"training.csv": accuracy.RUNS, "memory.csv": accuracy.MEMORY}

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the measured tables are not beside the repository")


def complete(path: Path) -> dict[str, measured_runs.Row]:
    return {row["row"]: row for row in measured_runs.read(path) if row["complete"] == "yes"}


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda path: path.name)
def test_every_row_is_a_scenario_and_has_a_source(table: Path) -> None:
    for row in complete(table).values():
        made = scenario.of(measured_runs.document(row))
        assert made.num_gpus == int(row["gpus"])
        assert made.cluster.gpu.name == row["gpu"]
        assert row["source"]


@needs_shared
@pytest.mark.parametrize("name", TABLES)
def test_the_transcription_says_what_the_whole_table_says(name: str) -> None:
    """What stands in a note there is a column here, and shapes are left to the catalogue."""
    ours, whole = complete(TABLES[name]), complete(SHARED / name)
    assert ours.keys() == whole.keys()
    for row, cells in whole.items():
        one, other = (measured_runs.document(run).data for run in (ours[row], cells))
        assert isinstance(one, dict)
        assert isinstance(other, dict)
        made = models.load(one.pop("model"))
        assert made == models.load(other.pop("model"))
        assert (made.num_layers, made.hidden, made.vocab) == tuple(int(cells[column]) for column in SHAPES)
        assert one == other
        assert ours[row].get("step_time_s") == cells.get("step_time_s")
        assert ours[row].get("peak_memory_gib", "") == cells.get("peak_memory_gib", "")


@needs_shared
def test_the_catalogue_has_the_model_of_every_complete_row() -> None:
    for name in {measured_runs.base_name(row["model"]) for row in complete(SHARED / "training.csv").values()}:
        assert models.load(name).name
