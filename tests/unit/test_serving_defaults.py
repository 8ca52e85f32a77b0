"""What a server does where a deployment does not say it."""

import pytest

import topologies
from sim import models
from sim.deployment import Cache, Deployment, Layout, Scheduling
from sim.frameworks import serving
from sim.serving.defaults import check_room, settings
from sim.serving.settings import Settings
from topologies.document import Infeasible, InputError

NOTHING = Scheduling()


def filled(
    framework: str = "vllm", cluster: str = "dgx-h100", model: str = "llama3-8b", said: Scheduling = NOTHING
) -> Settings:
    asked = Deployment(scheduling=said), serving.load(framework), models.load(model), topologies.load(cluster)
    return settings(*asked, num_blocks=1000)


@pytest.mark.parametrize(
    ("cluster", "seqs", "tokens"),
    [("dgx-h100", 1024, 8192), ("dgx-a100", 256, 2048), ("rtx-4090-workstation", 256, 2048)],
)
def test_vllm_takes_more_at_once_on_large_gpus_but_for_an_a100(cluster: str, seqs: int, tokens: int) -> None:
    found = filled(cluster=cluster)
    assert (found.max_num_seqs, found.max_num_batched_tokens) == (seqs, tokens)


def test_the_next_pass_is_prepared_beside_from_vllm_0_14_on() -> None:
    assert [filled(version).depth for version in ("vllm 0.12.0", "vllm 0.14", "sglang", "trtllm")] == [1, 2, 2, 2]


def test_a_pipeline_has_as_many_passes_under_way_as_stages() -> None:
    deployment = Deployment(layout=Layout(pp=4))
    made = settings(
        deployment, serving.load("vllm"), models.load("llama3-8b"), topologies.load("dgx-h100"), num_blocks=1
    )
    assert made.depth == 4


def test_what_is_said_wins() -> None:
    found = filled(
        said=Scheduling(max_num_seqs=3, max_num_batched_tokens=512, asynchronous=False, chunked_prefill=True)
    )
    assert (found.max_num_seqs, found.max_num_batched_tokens, found.depth) == (3, 512, 1)
    assert found.chunked_prefill


def test_a_prompt_that_is_not_cut_fits_into_a_pass() -> None:
    found = filled(said=Scheduling(chunked_prefill=False, max_model_len=20000))
    assert found.max_num_batched_tokens == 20000


@pytest.mark.parametrize(
    ("model", "longest"),
    [("opt-66b", 2048), ("llama2-70b", 4096), ("llama3-8b", 131072), ("qwen3-8b", 40960), ("mixtral-8x7b", 32768)],
)
def test_the_longest_request_is_that_of_the_checkpoint(model: str, longest: int) -> None:
    assert filled(model=model).max_model_len == longest


def test_vllm_does_not_start_where_its_longest_request_has_no_room() -> None:
    """1,000 blocks of 16 tokens; told how many blocks there are, it starts. A default that is too long is noted."""
    long = Scheduling(max_model_len=20000)
    with pytest.raises(Infeasible, match=r"max_model_len=20,000 does not fit .*max_model_len=16000 or less"):
        check_room(Deployment(scheduling=long), filled(said=long))
    assert "--max-model-len 16000" in check_room(Deployment(), filled())
    assert check_room(Deployment(), filled(said=Scheduling(max_model_len=16000))) == ""
    assert check_room(Deployment(cache=Cache(num_blocks=1000)), filled()) == ""
    assert check_room(Deployment(), filled("sglang")) == ""


def test_more_sequences_than_tokens_are_refused() -> None:
    with pytest.raises(InputError, match="max_num_seqs=600 decode a token each, above max_num_batched_tokens=512"):
        filled(said=Scheduling(max_num_seqs=600, max_num_batched_tokens=512))
    assert filled(said=Scheduling(max_num_batched_tokens=512)).max_num_seqs == 512
