"""The framework files: complete, sourced, and as the papers describe them."""

import dataclasses

import pytest

from sim import frameworks
from sim.frameworks import Framework
from topologies.document import InputError

FACTS = {field.name for field in dataclasses.fields(Framework)} - {"name", "description", "sources"}


@pytest.mark.parametrize("name", frameworks.names())
def test_every_fact_has_a_source(name: str) -> None:
    framework = frameworks.load(name)
    assert framework.name == name
    assert set(framework.sources) == FACTS
    assert all(framework.sources.values())


def test_megatron_lm_is_before_flash_attention_and_waits_for_its_sends() -> None:
    framework = frameworks.load("megatron-lm")
    assert framework.attention == "unfused"
    assert framework.overlap_input_gradient
    assert not framework.overlap_pipeline_sends


def test_weights_gradients_and_optimizer_take_korthikantis_18_bytes() -> None:
    """2 for the weight, 4 for its gradient, 12 for the fp32 weight and Adam's two moments."""
    assert 2 + frameworks.load("megatron-lm").gradient_nbytes + 12 == 18


def test_the_default_is_known() -> None:
    assert frameworks.names()[0] == frameworks.DEFAULT


def test_an_unknown_framework_is_refused() -> None:
    with pytest.raises(InputError, match="'megatron-cor' is not supported yet; did you mean megatron-core"):
        frameworks.load("megatron-cor")
