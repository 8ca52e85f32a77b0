"""The cache is what weights and the fullest pass leave of the memory."""

from dataclasses import replace

import pytest

import topologies
from sim import models
from sim.deployment import Cache, Deployment, Layout, Scheduling
from sim.frameworks import serving
from sim.models import Transformer, num_parameters
from sim.serving.memory import KvMemory, num_blocks, token_nbytes
from sim.serving.weights import stage_weights
from topologies.document import Infeasible, InputError
from topologies.quantity import GIB, MIB

LLAMA = models.load("llama3.1-8b")
DGX = topologies.load("dgx-h100", 8)
VLLM = serving.load("vllm-0.19")


def found(deployment: Deployment, model: Transformer = LLAMA) -> KvMemory:
    return num_blocks(model, DGX, deployment, VLLM)


def laid_out(tp: int = 1, pp: int = 1) -> Deployment:
    return Deployment(layout=Layout(tp=tp, pp=pp))


def test_a_block_holds_keys_and_values_of_all_layers() -> None:
    """Llama 8B: 16 tokens x 32 layers x 2 x 8 heads x 128 x 2 bytes = 2 MiB; so 58.05 GiB of cache are 29721 blocks."""
    memory = found(Deployment(cache=Cache(utilization=0.95)))
    assert memory.nbytes["cache"] == memory.num_blocks * 2 * MIB
    assert memory.num_blocks == pytest.approx(29751, rel=0.003)


def test_all_holdings_fill_the_share_but_for_less_than_a_block() -> None:
    memory = found(Deployment())
    assert 0 <= 0.9 * DGX.gpu.memory_nbytes - sum(memory.nbytes.values()) < 2 * MIB


def test_sampling_all_sequences_is_the_peak_of_a_small_model() -> None:
    """1024 sequences x 128256 words x 14 bytes, 132 rows of 4 bytes a word, hidden states of 8192 tokens and twice of
    1024, and 32 MiB of workspace: 1713 + 64 + 65 + 16 + 32 = 1.89 GiB, as vLLM 0.19 logged it on an H100."""
    assert found(Deployment()).nbytes["activations"] / GIB == pytest.approx(1.885, abs=0.01)


def test_weights_of_one_gpu_are_all_parameters_and_a_table_of_angles() -> None:
    one = stage_weights(LLAMA, Deployment(), models.layer_kinds(LLAMA), is_first=True, is_last=True)
    assert one == 2 * num_parameters(LLAMA) + 2 * LLAMA.max_seq_len * LLAMA.head_dim


@pytest.mark.parametrize("name", ["deepseek-v3", "mixtral-8x7b", "qwen3-30b-a3b"])
def test_weights_of_experts_and_latents_are_all_parameters(name: str) -> None:
    """All but the norms of heads and latents."""
    model = models.load(name)
    one = stage_weights(model, Deployment(), models.layer_kinds(model), is_first=True, is_last=True)
    assert one == pytest.approx(2 * num_parameters(model), rel=0.001)


def test_a_tied_head_is_met_twice_only_where_stages_part_it() -> None:
    """Two stages hold two matrices of words where one GPU holds one."""
    model, kinds = replace(LLAMA, tied_embedding=True), models.layer_kinds(LLAMA)
    whole = stage_weights(model, Deployment(), kinds, is_first=True, is_last=True)
    parted = [stage_weights(model, laid_out(pp=2), kinds[:16], is_first=at == 0, is_last=at == 1) for at in range(2)]
    angles = 2 * model.max_seq_len * model.head_dim
    assert sum(parted) - angles - whole == 2 * model.vocab * model.hidden


def test_heads_of_keys_are_repeated_beyond_their_number() -> None:
    """8 heads on 16 GPUs: each has one."""
    assert token_nbytes(LLAMA, laid_out(tp=8)) == token_nbytes(LLAMA, laid_out(tp=16)) == 2 * 2 * 128


def test_the_latent_is_on_every_gpu_whole() -> None:
    """512 + 64 numbers of two bytes, whatever tp is."""
    deepseek = models.load("deepseek-v3")
    assert token_nbytes(deepseek, laid_out(tp=1)) == token_nbytes(deepseek, laid_out(tp=8)) == 1152


def test_keys_in_eight_bits_are_twice_as_many() -> None:
    wide, narrow = found(Deployment()), found(Deployment(cache=Cache(precision="fp8")))
    assert narrow.num_blocks // 2 == wide.num_blocks


def test_the_fullest_stage_decides() -> None:
    """The last stage samples; the first could hold more."""
    even, uneven = found(laid_out(pp=2)), found(Deployment(layout=Layout(pp=2, layers=(10, 22))))
    assert uneven.num_blocks < even.num_blocks


def test_windows_have_tables_of_their_own() -> None:
    """Every second layer has a window: 16 layers deep are the blocks, and a token of all layers takes two of them."""
    windowed = replace(LLAMA, window=1024, full_every=2)
    assert abs(found(Deployment(), windowed).num_blocks - found(Deployment()).num_blocks) <= 1


def test_what_leaves_a_window_is_free_for_others() -> None:
    """Of 16 sequences each keeps 65 blocks of windowed layers, and a pass's 2,048 tokens 128 more: but for those 1,168,
    a block of a long sequence takes one of each two that there were."""
    few = Scheduling(max_num_seqs=16, max_num_batched_tokens=2048)
    plain = found(Deployment(scheduling=few)).num_blocks
    windowed = found(Deployment(scheduling=few), replace(LLAMA, window=1024, full_every=2)).num_blocks
    assert windowed == pytest.approx(2 * plain - 1168, abs=2)


def test_experts_that_are_shared_by_more_ranks_need_no_more_room_for_rows() -> None:
    """Of what is sent, a rank of 256 receives as many rows as one of 16."""
    deepseek, made = models.load("deepseek-v3"), []
    for ranks in (16, 256):
        layout = Layout(dp=ranks, ep=ranks, ep_kind="deepep")
        deployment = Deployment(layout=layout, weights="fp8_block")
        cluster = topologies.load("dgx-h200", ranks)
        made.append(num_blocks(deepseek, cluster, deployment, VLLM).nbytes["activations"])
    assert made[0] == made[1] < 8 * GIB


def test_dp_ranks_have_the_room_of_their_part_of_the_experts() -> None:
    """Qwen3-30B has 29.0e9 numbers of experts of 30.5e9: split over two dp ranks they leave 29 GB more to each, less
    what the other's tokens take in a layer."""
    qwen = models.load("qwen3-30b-a3b")
    one, two = (found(Deployment(layout=Layout(tp=2, dp=dp)), qwen) for dp in (1, 2))
    assert one.nbytes["weights"] - two.nbytes["weights"] == pytest.approx(48 * 128 * 3 * 2048 * 768 / 2)
    assert two.nbytes["activations"] >= one.nbytes["activations"]
    assert two.num_blocks > 1.3 * one.num_blocks


def test_a_layout_that_cannot_be_is_told_in_words() -> None:
    with pytest.raises(InputError, match="pp=33 stages for 32 layers; use at most 32"):
        found(laid_out(pp=33))
    with pytest.raises(InputError, match="ep=16 does not divide tp x dp = 8; use 1, 2, 4, 8"):
        found(Deployment(layout=Layout(dp=8, ep=16)), models.load("qwen3-30b-a3b"))


def test_smaller_passes_leave_more() -> None:
    small = Deployment(scheduling=Scheduling(max_num_seqs=128, max_num_batched_tokens=2048))
    assert found(small).num_blocks > found(Deployment()).num_blocks


def test_a_number_that_is_said_is_taken() -> None:
    assert found(Deployment(cache=Cache(num_blocks=1000))).num_blocks == 1000


def test_what_does_not_fit_is_said_with_the_figures() -> None:
    with pytest.raises(Infeasible, match=r"no block of the cache .* 79\.1 GiB, of which 90 % .* GiB weights"):
        found(Deployment(), models.load("llama3.1-70b"))
