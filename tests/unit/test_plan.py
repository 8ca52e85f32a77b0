"""Rank grid, groups, stages, what is refused, and what is chosen where nothing is said."""

import dataclasses
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

import topologies
from sim import models
from sim.default_plan import PartialPlan, options
from sim.models.transformer import Mla, Moe
from sim.plan import Axis, Plan, check, groups, rank, split_layers, stage_layers, tensor_problems
from topologies.document import InputError

PLAN = Plan(
    tp=2,
    sp=True,
    pp=4,
    vpp=1,
    dp=2,
    zero=1,
    recompute="none",
    schedule="1f1b",
    micro_batch=1,
    global_batch=16,
)
LLAMA = models.load("llama3-70b")
CLUSTER = topologies.load("dgx-h100", 64)


def test_ranks_count_tp_first_then_dp_then_pp() -> None:
    """Narayanan et al. 2021, appendix A of the code (parallel_state): 16 GPUs, tp 2, pp 4, dp 2."""
    assert groups(PLAN, "tp") == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11), (12, 13), (14, 15)]
    assert groups(PLAN, "dp") == [(0, 2), (1, 3), (4, 6), (5, 7), (8, 10), (9, 11), (12, 14), (13, 15)]
    assert groups(PLAN, "pp") == [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)]
    assert groups(PLAN, "embedding") == [(0, 12), (1, 13), (2, 14), (3, 15)]


def test_without_a_pipeline_no_ranks_share_an_embedding() -> None:
    assert groups(dataclasses.replace(PLAN, pp=1), "embedding") == []


@given(tp=st.integers(1, 5), dp=st.integers(1, 5), pp=st.integers(1, 5), axis=st.sampled_from(["tp", "dp", "pp"]))
def test_the_groups_of_an_axis_part_the_ranks(tp: int, dp: int, pp: int, axis: Axis) -> None:
    plan = dataclasses.replace(PLAN, tp=tp, dp=dp, pp=pp)
    assert sorted(chain(*groups(plan, axis))) == list(range(plan.num_gpus))
    assert {len(group) for group in groups(plan, axis)} == {{"tp": tp, "dp": dp, "pp": pp}[axis]}
    assert rank(plan, tp - 1, dp - 1, pp - 1) == plan.num_gpus - 1


def test_layers_are_split_evenly() -> None:
    assert stage_layers(dataclasses.replace(PLAN, vpp=5), 80) == (4,) * 20


def test_embedding_and_loss_count_as_layers_where_only_that_divides() -> None:
    """Llama-3-405B: 126 + 2 = 128 layers on 16 stages are 8 each, of which the first and the last have 7 real ones."""
    assert stage_layers(dataclasses.replace(PLAN, pp=16), 126) == (7, *(8,) * 14, 7)
    assert stage_layers(dataclasses.replace(PLAN, pp=16, vpp=8), 126) == (0, *(1,) * 126, 0)


@given(num_layers=st.integers(1, 130), num_stages=st.integers(1, 130))
def test_no_layer_is_lost(num_layers: int, num_stages: int) -> None:
    layers = split_layers(num_layers, num_stages)
    assert layers is None or (sum(layers) == num_layers and len(layers) == num_stages and min(layers) >= 0)


def test_layers_that_do_not_divide_are_refused_with_the_sizes_that_would() -> None:
    with pytest.raises(InputError, match=r"4 x 3 = 12 stages do not divide 80 layers .* use vpp 1, 2, 4, 5, 10, 20"):
        stage_layers(dataclasses.replace(PLAN, vpp=3), 80)


def test_a_good_plan_passes() -> None:
    check(PLAN, LLAMA, CLUSTER, 8192)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tp": 3}, "tp=3 does not divide num_heads=64 of llama3-70b; use 1, 2, 4, 8"),
        ({"tp": 16}, "tp=16 does not divide num_kv_heads=8 of llama3-70b; use 1, 2, 4, 8"),
        ({"dp": 64}, "2 x 4 x 64 = 512 GPUs, but dgx-h100 has 64; use fewer, or more nodes"),
        ({"tp": 1}, "sp .* needs tp > 1; use sp=false, or tp=2 or more"),
        ({"pp": 7}, "7 stages do not divide 80 layers .* use pp 1, 2, 4, 5, 8"),
        ({"vpp": 2}, "vpp=2 needs schedule=interleaved, not 1f1b"),
        ({"pp": 1, "vpp": 2}, "vpp=2 needs pp > 1"),
        ({"schedule": "interleaved"}, "schedule=interleaved needs vpp > 1; use vpp=2 or more"),
        ({"global_batch": 7}, "global_batch=7 is not a multiple of micro_batch x dp = 1 x 2 = 2; use 6 or 8"),
        ({"schedule": "interleaved", "vpp": 2, "global_batch": 12}, "makes 6 microbatches; .* pp=4; use 8 or 16"),
        ({"micro_batch": 0}, "micro_batch=0 is not possible; use a whole number from 1 to 10,000,000"),
        ({"global_batch": 10**9}, "global_batch=1000000000 is not possible"),
        ({"zero": 2}, "zero=2 is not supported yet; use 0 or 1"),
    ],
)
def test_an_impossible_plan_is_refused_with_the_fix(change: dict[str, int], message: str) -> None:
    plan = Plan(**(dataclasses.asdict(PLAN) | change))
    with pytest.raises(InputError, match=message):
        check(plan, LLAMA, CLUSTER, 8192)


def test_tp_divides_the_width_of_experts_and_of_a_dense_mlp_only_where_there_is_one() -> None:
    """30 layers with experts 1408 = 2^7 x 11 wide, shared ones 2816; the dense width of 10944 = 2^6 x 171 is met by the
    first layers only."""
    experts = Moe(num_experts=64, top_k=6, ffn=1408, shared_ffn=2816, num_dense_layers=1)
    model = dataclasses.replace(LLAMA, ffn=10_944, moe=experts, num_heads=256, num_kv_heads=256)
    assert not list(tensor_problems(64, model))
    assert list(tensor_problems(128, model)) == [
        "tp=128 does not divide ffn=10944 of llama3-70b; use 1, 2, 4, 8, 16, 32, 64"
    ]
    all_experts = dataclasses.replace(model, moe=dataclasses.replace(experts, num_dense_layers=0))
    assert not list(tensor_problems(128, all_experts))
    assert [problem.split(" of ")[0] for problem in tensor_problems(256, all_experts)] == [
        "tp=256 does not divide moe.ffn=1408"
    ]


def test_latent_attention_has_no_key_and_value_heads_to_divide() -> None:
    latent = Mla(q_lora_rank=1536, kv_lora_rank=512, nope_head_dim=128, rope_head_dim=64, v_head_dim=128)
    model = dataclasses.replace(LLAMA, num_kv_heads=1)
    assert list(tensor_problems(8, model))
    assert not list(tensor_problems(8, dataclasses.replace(model, mla=latent)))


def test_sequence_parallelism_needs_a_sequence_that_divides() -> None:
    with pytest.raises(InputError, match=r"seq_len=8191 to be a multiple of tp=2; use 8190 or 8192"):
        check(PLAN, LLAMA, CLUSTER, 8191)


def test_learned_positions_end() -> None:
    with pytest.raises(InputError, match="seq_len=4096 is more than the 2048 learned positions"):
        check(PLAN, models.load("gpt-175b"), CLUSTER, 4096)


def test_given_one_degree_the_others_are_one_and_dp_fills_the_gpus() -> None:
    plans = options(PartialPlan(tp=8), LLAMA, CLUSTER, 64, 8192)
    assert [plan.recompute for plan in plans] == ["none", "selective", "full"]
    assert {(plan.tp, plan.sp, plan.pp, plan.vpp, plan.dp, plan.schedule) for plan in plans} == {
        (8, True, 1, 1, 8, "1f1b")
    }


def test_given_chunks_the_schedule_is_interleaved() -> None:
    (plan,) = options(PartialPlan(tp=8, pp=4, vpp=5, recompute="full"), LLAMA, CLUSTER, 64, 8192)
    assert (plan.schedule, plan.dp, plan.recompute) == ("interleaved", 2, "full")


def test_given_nothing_tp_grows_up_to_the_node_and_then_pp() -> None:
    plans = options(PartialPlan(), LLAMA, CLUSTER, 64, 8192)
    sizes = [(plan.tp, plan.pp, plan.dp) for plan in plans if plan.recompute == "none"]
    assert sizes == [(1, 1, 64), (2, 1, 32), (4, 1, 16), (8, 1, 8), (8, 2, 4), (8, 4, 2), (8, 8, 1)]


def test_less_recomputation_is_tried_first() -> None:
    recomputes = [plan.recompute for plan in options(PartialPlan(), LLAMA, CLUSTER, 64, 8192)]
    assert recomputes == sorted(recomputes, key=["none", "selective", "full"].index)


def test_the_default_batch_is_about_four_million_tokens() -> None:
    """2^22 tokens / 8192 = 512 sequences, which 64 GPUs divide; 16,384 GPUs need at least dp x pp = 2048."""
    assert {plan.global_batch for plan in options(PartialPlan(), LLAMA, CLUSTER, 64, 8192)} == {512}
    large = options(PartialPlan(tp=8, pp=16), models.load("llama3-405b"), topologies.load("dgx-h100"), 16_384, 8192)
    assert large[0].global_batch == 2048


@pytest.mark.parametrize("num_gpus", [24, 48, 64, 96])
def test_the_default_batch_stays_for_every_micro_batch_that_is_a_power_of_two(num_gpus: int) -> None:
    """48 GPUs, tp 1: 2^22 / 8192 / 48 = 10.7 sequences a rank, closest to 8 among the powers of two: 384."""
    batches = {
        options(PartialPlan(dp=num_gpus, micro_batch=micro), LLAMA, topologies.load("dgx-h100"), num_gpus, 8192)[
            0
        ].global_batch
        for micro in (1, 2, 4)
    }
    assert batches == {{24: 384, 48: 384, 64: 512, 96: 384}[num_gpus]}


def test_the_default_batch_goes_up_to_the_next_multiple_of_another_micro_batch() -> None:
    """8 sequences on each of 64 ranks are 512; with micro-batches of 3 each has 9, with one of 16 it has 16."""
    for micro, batch in ((3, 576), (5, 640), (8, 512), (16, 1024)):
        (plan, *_) = options(PartialPlan(dp=64, micro_batch=micro), LLAMA, CLUSTER, 64, 8192)
        assert plan.global_batch == batch


@given(num_gpus=st.integers(1, 64), micro_batch=st.integers(1, 3))
def test_every_plan_that_is_proposed_uses_all_gpus(num_gpus: int, micro_batch: int) -> None:
    plans = options(PartialPlan(micro_batch=micro_batch), LLAMA, CLUSTER, num_gpus, 8192)
    assert {plan.num_gpus for plan in plans} == {num_gpus}


@pytest.mark.parametrize(
    ("partial", "num_gpus", "message"),
    [
        (PartialPlan(tp=3), 64, "tp=3 does not divide num_heads=64 of llama3-70b; use 1, 2, 4, 8"),
        (PartialPlan(tp=8, pp=3), 64, "8 x 3 = 24 does not divide gpus=64; .* gpus=48 or 72"),
        (PartialPlan(tp=8, pp=4, dp=4), 64, "times dp=4 is 128, but gpus=64; use dp=2, or gpus=128"),
        (PartialPlan(tp=0), 64, "every degree must be 1 or more"),
        (PartialPlan(), 128, "gpus=128, but dgx-h100 has 64"),
        (PartialPlan(), 0, "gpus=0 is not possible"),
        (PartialPlan(pp=2, schedule="none"), 64, "schedule=none is for pp=1, not pp=2"),
        (PartialPlan(sp=True, tp=1), 64, "needs tp > 1"),
    ],
)
def test_an_impossible_partial_plan_is_refused_with_the_fix(partial: PartialPlan, num_gpus: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        options(partial, LLAMA, CLUSTER, num_gpus, 8192)
