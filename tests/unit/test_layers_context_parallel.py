"""A sequence that several ranks share: each does its part of the work, and what they tell each other adds up."""

from dataclasses import replace

import pytest

import topologies
from sim import frameworks, layers, models
from sim.costs.attention import num_kept_blocks
from sim.instructions import Collective, Compute, Record, Wait
from sim.layers import Context, Pass, context_parallel, core, ring
from sim.models.transformer import LayerKind
from sim.plan import ContextKind
from topologies.document import InputError

ALONE = Context(
    model=models.load("llama3-8b"),
    gpu=topologies.gpu("h100-80gb-sxm"),
    framework=frameworks.load("megatron-core"),
    tp=1,
    sp=False,
    recompute="none",
    micro_batch=1,
    seq_len=131_072,
    precision="bf16",
)
KINDS: tuple[ContextKind, ...] = ("ring", "all-gather", "all-to-all")
TOKENS, QUERIES, KEYS = 131_072, 4096, 1024


def core_seconds(one: Pass) -> float:
    return sum(i.duration for i in one["compute"] if isinstance(i, Compute) and "flash" in i.name)


def sent(one: Pass, stream: str) -> list[tuple[str, float]]:
    return [(i.operation, i.nbytes) for i in one.get(stream, ()) if isinstance(i, Collective)]


@pytest.mark.parametrize("cp", [2, 8])
def test_a_ring_and_gathered_chunks_meet_every_block_of_scores_once(cp: int) -> None:
    """cp ranks' blocks are those of the whole: own causal square and cp - 1 halves; two chunks."""
    context = replace(ALONE, cp=cp)
    whole, own = num_kept_blocks(core.shape_of(ALONE)), core.shape_of(context)
    assert cp * (num_kept_blocks(own) + (cp - 1) * num_kept_blocks(ring.half_of(own))) == whole
    assert cp * sum(num_kept_blocks(chunk) for chunk in context_parallel.chunks_of(context)) == whole


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cp", [2, 8])
def test_ranks_that_share_a_sequence_share_its_work(kind: ContextKind, cp: int) -> None:
    """But for the tails of more and shorter kernels."""
    context = replace(ALONE, cp=cp, cp_kind=kind)
    for direction in (layers.forward, layers.backward):
        alone, shared = core_seconds(direction(ALONE)), cp * core_seconds(direction(context))
        assert alone * 0.99 < shared < alone * 1.1


def test_keys_and_values_go_round_the_ring_once_and_back_with_their_gradients() -> None:
    """cp 4: 3 times 2 bytes x 32768 tokens x (1024 + 1024) forward; backward keys and values first, then with their
    gradients, last the gradients alone."""
    context = replace(ALONE, cp=4)
    nbytes = 2 * TOKENS // 4 * 2 * KEYS
    assert sent(layers.forward(context), "cp") == [("exchange", nbytes)] * 3
    assert sent(layers.backward(context), "cp") == [("exchange", factor * nbytes) for factor in (1, 2, 2, 1)]
    assert not sent(layers.forward(context), "compute")


def test_two_ranks_exchange_keys_and_values_and_then_their_gradients() -> None:
    nbytes = 2 * TOKENS // 2 * 2 * KEYS
    assert sent(layers.backward(replace(ALONE, cp=2)), "cp") == [("exchange", nbytes)] * 2


def test_what_arrives_next_travels_beside_the_kernel_of_this_step() -> None:
    block = layers.forward(replace(ALONE, cp=2))["compute"]
    at = [i.name if isinstance(i, Compute) else i for i in block]
    begin = at.index(Record("ring forward 0 ready"))
    assert at[begin + 1 : begin + 5] == ["flash forward", Wait("ring forward 0 done"), "flash forward", "output merge"]


def test_gathered_keys_and_values_arrive_before_the_core_forward_and_backward() -> None:
    """nccl-tests' size of a gather is what all ranks have: 2 bytes x 131072 x 1024, keys and values each."""
    context, nbytes = replace(ALONE, cp=4, cp_kind="all-gather"), 2 * TOKENS * KEYS
    assert sent(layers.forward(context), "compute") == [("all_gather", nbytes)] * 2
    assert sent(layers.backward(context), "compute") == [("all_gather", nbytes)] * 2 + [("reduce_scatter", nbytes)] * 2


def test_heads_for_tokens_are_queries_keys_values_there_and_the_output_back() -> None:
    context, tokens = replace(ALONE, cp=4, cp_kind="all-to-all"), 2 * TOKENS // 4
    inputs = [("all_to_all", tokens * width) for width in (QUERIES, KEYS, KEYS)]
    output = [("all_to_all", tokens * QUERIES)]
    assert sent(layers.forward(context), "compute") == inputs + output
    assert sent(layers.backward(context), "compute") == output + inputs


def test_kv_heads_are_copied_where_there_are_fewer_than_ranks() -> None:
    """8 kv heads, 16 ranks: each has one of them, so twice the keys and values are sent and kept; and the core's output
    before it is sent, beside what arrives of it."""
    context = replace(ALONE, cp=16, cp_kind="all-to-all")
    assert context_parallel.heads_of(context).num_kv_heads == 1
    assert sent(layers.forward(context), "compute")[1] == ("all_to_all", 2 * TOKENS // 16 * 2 * KEYS)
    more = layers.saved_nbytes(context) - layers.saved_nbytes(replace(context, cp_kind="ring"))
    assert more == 2 * TOKENS // 16 * (2 * KEYS + ALONE.model.query_width)


def test_heads_that_ranks_cannot_be_dealt_are_refused() -> None:
    with pytest.raises(InputError, match="cp=64 does not divide num_heads / tp = 32"):
        layers.forward(replace(ALONE, cp=64, cp_kind="all-to-all"))


def test_unfused_attention_cannot_share_a_sequence() -> None:
    with pytest.raises(InputError, match="unfused"):
        layers.forward(replace(ALONE, cp=2, framework=frameworks.load("megatron-lm")))


def test_a_window_is_gathered_for_and_costs_what_it_reaches() -> None:
    """131072 tokens and a window of 4096 over 8 ranks: an eighth of the same on one."""
    window = LayerKind(window=4096)
    alone, shared = replace(ALONE, kind=window), replace(ALONE, kind=window, cp=8)
    assert set(layers.forward(shared)) == {"compute"}
    blocks = sum(num_kept_blocks(chunk) for chunk in context_parallel.chunks_of(shared))
    whole = num_kept_blocks(core.shape_of(alone))
    assert 8 * blocks == pytest.approx(whole, rel=0.1)
    assert 8 * core_seconds(layers.forward(shared)) == pytest.approx(core_seconds(layers.forward(alone)), rel=0.2)


@pytest.mark.parametrize("kind", ["ring", "all-gather"])
def test_activations_are_those_of_the_rank_s_tokens(kind: ContextKind) -> None:
    assert 8 * layers.saved_nbytes(replace(ALONE, cp=8, cp_kind=kind)) == layers.saved_nbytes(ALONE)


def test_latent_attention_sends_a_key_and_a_value_for_every_head() -> None:
    """DeepSeek-V3: 128 heads of 192 + 128 numbers."""
    context = replace(ALONE, model=models.load("deepseek-v3"), cp=2)
    assert sent(layers.forward(context), "cp") == [("exchange", 2 * TOKENS // 2 * 128 * (192 + 128))]


@pytest.mark.parametrize("recompute", ["selective", "full"])
def test_recomputation_goes_round_the_ring_again(recompute: str) -> None:
    context = replace(ALONE, cp=4)
    again = layers.backward(replace(context, recompute=recompute))
    assert sent(again, "cp") == sent(layers.forward(context), "cp") + sent(layers.backward(context), "cp")
