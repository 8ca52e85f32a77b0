"""The framework files: complete, sourced, as the papers describe them; and what a scenario lays over them."""

import dataclasses

import pytest

from sim import frameworks
from sim.frameworks import Framework
from topologies.document import InputError, Value

FACTS = {field.name for field in dataclasses.fields(Framework)} - {"name", "description", "sources"}


@pytest.mark.parametrize("name", frameworks.names())
def test_every_fact_has_a_source(name: str) -> None:
    framework = frameworks.load(name)
    assert framework.name == name
    assert set(framework.sources) == FACTS == set(frameworks.FACTS)
    assert all(len(source) > 15 for source in framework.sources.values())
    assert not any("to be read" in source for source in framework.sources.values())


def test_megatron_lm_is_before_flash_attention_and_waits_for_its_sends() -> None:
    framework = frameworks.load("megatron-lm")
    assert framework.attention == "unfused"
    assert framework.overlap_input_gradient
    assert not framework.overlap_pipeline_sends
    assert not framework.overlap_grad_reduce


@pytest.mark.parametrize(
    ("name", "nbytes"),
    [("megatron-lm", 18), ("megatron-core", 18), ("megatron-deepspeed", 16), ("fsdp1-composer", 16), ("fsdp2", 16)],
)
def test_weights_gradients_and_optimizer_take_the_published_bytes(name: str, nbytes: int) -> None:
    """Megatron: 2 for the weight, 4 for its gradient, 12 for the fp32 weight and Adam's two moments [Korthikanti et al.
    2022]; ZeRO: 2 + 2 + 12 [Rajbhandari et al. 2020]; FSDP: all four in fp32."""
    framework = frameworks.load(name)
    assert framework.weight_nbytes + framework.gradient_nbytes + framework.optimizer_nbytes == nbytes


def test_a_file_says_only_what_differs_from_the_one_that_it_extends() -> None:
    nemo, core = frameworks.load("nemo"), frameworks.load("megatron-core")
    assert nemo.context_nbytes == core.context_nbytes
    assert nemo.sources["context_nbytes"] == core.sources["context_nbytes"]
    assert (nemo.gradient_reduce_nbytes, core.gradient_reduce_nbytes) == (2, 4)


def test_the_default_is_known() -> None:
    assert frameworks.names()[0] == frameworks.DEFAULT


@pytest.mark.parametrize(("alias", "name"), frameworks.ALIASES.items())
def test_other_spellings_resolve(alias: str, name: str) -> None:
    assert frameworks.load(alias) == frameworks.load(name)


@pytest.mark.parametrize(
    ("name", "release", "profile"),
    [
        ("nemo", "24.12", "nemo-24"),
        ("nemo", "25.02.01", "nemo"),
        ("megatron-bridge", "26.04.01", "megatron-bridge"),
        ("megatron-bridge", "26.06.01", "megatron-bridge-26.06"),
        ("megatron-bridge", "27.02", "megatron-bridge-26.08"),
        ("megatron-bridge", "", "megatron-bridge"),
        ("megatron-bridge", "main", "megatron-bridge"),
        ("maxtext", "25.01", "maxtext"),
    ],
)
def test_a_release_has_the_profile_of_the_last_that_changed_facts(name: str, release: str, profile: str) -> None:
    assert frameworks.of_release(name, release) == profile


def test_an_unknown_framework_is_refused() -> None:
    with pytest.raises(InputError, match="'megatron-cor' is not known; did you mean megatron-core"):
        frameworks.load("megatron-cor")


def test_a_scenario_lays_facts_over_a_framework() -> None:
    core = frameworks.load("megatron-core")
    laid = frameworks.laid_over("megatron-core", {"overlap_grad_reduce": True, "launch_seconds": 2e-6})
    assert (laid.overlap_grad_reduce, laid.launch_seconds) == (True, 2e-6)
    assert laid.sources["overlap_grad_reduce"] == "the scenario"
    assert dataclasses.replace(
        laid, overlap_grad_reduce=False, launch_seconds=core.launch_seconds, sources=core.sources
    ) == (core)
    assert frameworks.laid_over("nemo", {}) == frameworks.load("nemo")


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"overlap_grad": True}, "framework: there is no 'overlap_grad'; did you mean overlap_grad_reduce"),
        ({"overlap_tp": "often"}, "framework.overlap_tp: must be true or false, got 'often'"),
        ({"launch_seconds": -1}, "framework.launch_seconds: must be 0 or more, got -1"),
        ({"weight_nbytes": 3}, "framework.weight_nbytes: must be 2 or 4, got 3"),
    ],
)
def test_what_cannot_be_laid_over_is_refused_by_its_field(said: dict[str, Value], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint.replace(".", r"\.")):
        frameworks.laid_over("megatron-core", said)
