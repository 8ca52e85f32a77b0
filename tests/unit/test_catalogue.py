"""What `shardsim models` shows can be checked against the shapes."""

import re

import pytest

from sim import models
from sim.reports import catalogue
from sim.reports.catalogue import MODEL_COLUMNS


def row(name: str) -> dict[str, str]:
    (found,) = (row for row in catalogue.models() if row.cells[0] == name)
    return dict(zip(MODEL_COLUMNS, found.cells, strict=True))


def words(name: str) -> dict[str, str]:
    return dict(catalogue.model(name).words)


def test_every_model_has_a_row() -> None:
    assert [row.cells[0] for row in catalogue.models()] == models.names()


def test_a_dense_model_has_a_row_with_its_shapes() -> None:
    assert row("llama3-70b") == {
        "model": "llama3-70b", "parameters": "70.6 B", "active": "-", "layers": "80", "hidden": "8192",
        "attention": "GQA 64/8", "experts": "-", "ffn": "28672", "window": "-", "vocab": "128256", "seq len": "8192",
    }  # fmt: skip


def test_experts_latents_and_windows_have_their_columns() -> None:
    deepseek, oss = row("deepseek-v3"), row("gpt-oss-120b")
    assert (deepseek["attention"], deepseek["experts"], deepseek["ffn"]) == ("MLA 128", "8 of 256 + 1", "2048")
    assert (oss["attention"], oss["experts"], oss["window"]) == ("GQA 64/8", "4 of 128", "128")
    assert (row("gpt-175b")["attention"], row("gemma-2b")["attention"]) == ("MHA 96", "MQA 8/1")


def test_a_mixture_of_experts_says_how_much_of_it_a_token_meets() -> None:
    assert words("deepseek-v3")["experts"].endswith("on 58 of 61 layers")
    assert words("deepseek-v3")["active"].startswith("36.6 B for each token")
    assert "active" not in words("llama3-70b")
    assert words("gpt-oss-20b")["window"] == "128 tokens on 12 of 24 layers"


@pytest.mark.parametrize("name", models.names())
def test_a_model_is_shown_with_its_source_and_how_far_its_count_is_off(name: str) -> None:
    """Where the published figure is a rounded one, by up to some per cent."""
    shown, entry = words(name), models.entry(name)
    assert shown["source"] == entry.source
    if entry.published_parameters is not None:
        off = re.search(r"by ([\d.]+) %", shown["published"])
        assert off is not None
        exact = abs(models.num_parameters(entry.model) / entry.published_parameters - 1)
        assert float(off[1]) / 100 == pytest.approx(exact, abs=5.1e-5)


def test_the_data_of_a_model_are_its_shapes() -> None:
    record, model = catalogue.model("mixtral-8x7b").record, models.load("mixtral-8x7b")
    assert record["parameters"] == models.num_parameters(model)
    assert record["active_parameters"] == models.active_parameters(model)
    assert record["moe"] == {
        "num_experts": 8, "top_k": 2, "ffn": 14336, "shared_ffn": 0, "num_dense_layers": 0, "every": 1,
        "num_groups": 1, "top_groups": 1,
    }  # fmt: skip
