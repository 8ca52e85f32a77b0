"""The ledger that the package has: each published run beside its prediction, and a scenario that predicts it again."""

import pytest

from sim import ledger, run_scenario, scenario, validation
from sim.ledger import Entry
from topologies.document import parse


def opened(entry: Entry) -> scenario.Scenario:
    return scenario.of(parse(entry.scenario, entry.result.row))


def test_published_runs_are_scenarios_that_name_no_file() -> None:
    """Each eighth."""
    for one in ledger.published()[::8]:
        made = opened(one)
        assert (made.num_gpus, made.cluster.gpu.name) == (int(one.facts["gpus"]), one.facts["gpu"])
        assert made.step.precision == one.facts["precision"]
        assert made.files == ()
        assert one.facts["source"]


@pytest.mark.parametrize("row", ["korthikanti22-001", "nemo-2407-001", "llm-foundry-010"])
def test_a_run_that_is_opened_is_predicted_as_the_ledger_says(row: str) -> None:
    """To the digits that were written."""
    (one,) = (one for one in ledger.published() if one.result.row == row)
    result = run_scenario(opened(one)).result
    interval = result["interval"]
    assert isinstance(interval, dict)
    assert result["step_time_s"] == pytest.approx(one.result.predicted_s, rel=1e-3)
    assert (interval["p10_s"], interval["p90_s"]) == pytest.approx(one.result.interval_s, rel=1e-3)


def test_a_model_whose_shapes_are_the_catalogues_goes_by_its_name() -> None:
    said = {one.facts["model"]: one.scenario for one in ledger.published()}
    assert "model: llama3-70b," in said["llama3-70b"]
    assert "model: {name: grok1-314b, num_layers: 16, " in said["grok1-314b-l16"]


def test_a_ledger_is_read_as_it_was_written() -> None:
    entries = ledger.published()
    assert ledger.read(ledger.as_csv(entries)) == entries
    assert "measured_gib" not in ledger.as_csv(entries).partition("\n")[0]
    assert validation.summary(ledger.as_ledger(entries))["rows"] == len(entries)
