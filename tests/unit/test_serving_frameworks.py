"""Serving frameworks: facts with sources, found by name and version."""

import pytest

from sim.costs.collectives.custom_kernels import KERNELS
from sim.frameworks import serving
from topologies.document import InputError


@pytest.mark.parametrize("name", serving.names())
def test_every_fact_has_a_source(name: str) -> None:
    framework = serving.load(name)
    assert framework.name == name
    assert set(framework.sources) == set(framework.__slots__) - {"name", "description", "sources"}
    assert all(framework.sources.values())


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("vllm", "vllm-0.19"),
        ("vllm 0.12.0", "vllm-0.12"),
        ("vllm-0.13.1", "vllm-0.12"),
        ("vLLM 0.14", "vllm-0.19"),
        ("sglang 0.5.1.post1", "sglang-0.5"),
        ("trtllm 1.0.0rc3", "trtllm-1.0"),
        ("tensorrt-llm-0.20", "trtllm-1.0"),
    ],
)
def test_a_version_takes_the_last_profile_that_is_not_younger(said: str, found: str) -> None:
    assert serving.load(said).name == found


@pytest.mark.parametrize("said", ["vlm", "tgi", "vllm-new"])
def test_an_unknown_framework_is_told_what_is_known(said: str) -> None:
    with pytest.raises(InputError, match=f"serving framework .?{said}.? is not known"):
        serving.load(said)


def test_graphs_and_kernels_are_such_as_costs_know() -> None:
    for name in serving.names():
        framework = serving.load(name)
        assert framework.all_reduce in KERNELS
        assert [most for most, _ in framework.graph_sizes] == sorted(most for most, _ in framework.graph_sizes)
