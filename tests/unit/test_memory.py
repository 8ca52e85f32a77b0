"""What each pipeline rank keeps: weights and states for the whole step, activations as many as the schedule holds."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import topologies
from sim import frameworks, layers, models
from sim.layers import head
from sim.layers.context import Context
from sim.memory import HOLDINGS, MemoryUse, memory_use
from sim.memory.passes import Change, PassMemory
from sim.memory.peak import in_flight
from sim.models.transformer import LayerKind, Moe
from sim.plan import Plan, Recompute
from sim.schedules import Kind, schedule_of
from topologies.quantity import GIB

LLAMA = models.load("llama3-70b")
GPT = models.load("gpt-175b")
PADDING = 2 * (129_024 - 128_256) * 8192
"""Parameters of Llama's embedding and head beyond its words: Megatron pads to a multiple of 128 x tp."""
PLAN = Plan(
    tp=8,
    sp=True,
    pp=4,
    vpp=1,
    dp=2,
    zero=0,
    recompute="none",
    schedule="1f1b",
    micro_batch=1,
    global_batch=16,
)


def context_of(plan: Plan, model: models.Transformer = LLAMA, seq_len: int = 2048) -> Context:
    return Context(
        model=model,
        gpu=topologies.load("dgx-h100").gpu,
        framework=frameworks.load("megatron-core"),
        tp=plan.tp,
        sp=plan.sp,
        recompute=plan.recompute,
        micro_batch=plan.micro_batch,
        seq_len=seq_len,
        precision="bf16",
        cp=plan.cp,
        cp_kind=plan.cp_kind,
        ep=plan.ep,
        etp=plan.expert_tp,
    )


def uses_of(plan: Plan, model: models.Transformer = LLAMA) -> tuple[MemoryUse, ...]:
    return memory_use(context_of(plan, model), plan)


def with_microbatches(plan: Plan, count: int) -> Plan:
    return replace(plan, global_batch=count * plan.micro_batch * plan.dp)


def activations_of_one_layer(plan: Plan, model: models.Transformer = LLAMA) -> float:
    return layers.saved_nbytes(context_of(plan, model))


@given(pp=st.sampled_from([1, 2, 4, 5, 8, 10]), num_microbatches=st.integers(1, 12))
def test_1f1b_keeps_as_many_microbatches_as_there_are_ranks_behind(pp: int, num_microbatches: int) -> None:
    """Rank r of p keeps min(p - r, m) microbatches of its 80 / p layers; Llama has no dropout mask of the embedding."""
    plan = with_microbatches(replace(PLAN, pp=pp), num_microbatches)
    each = 80 // pp * activations_of_one_layer(plan)
    kept = [use.activations / each for use in uses_of(plan)]
    assert kept == pytest.approx([min(pp - rank, num_microbatches) for rank in range(pp)])


@given(pp=st.sampled_from([2, 4, 5, 8]), num_microbatches=st.integers(1, 12))
def test_gpipe_keeps_every_microbatch(pp: int, num_microbatches: int) -> None:
    """Of the layers, and on the last rank of the head, which counts as logits."""
    plan = with_microbatches(replace(PLAN, pp=pp, schedule="gpipe"), num_microbatches)
    each = 80 // pp * activations_of_one_layer(plan)
    uses = uses_of(plan)
    assert [use.activations for use in uses] == pytest.approx([num_microbatches * each] * pp)
    logits = num_microbatches * head.saved_nbytes(context_of(plan))
    assert [use.logits for use in uses] == pytest.approx([0.0] * (pp - 1) + [logits])


@given(pp=st.sampled_from([2, 4, 8]), vpp=st.sampled_from([2, 3, 6]), rounds=st.integers(3, 5))
def test_interleaving_keeps_more_on_the_first_rank_by_p_minus_1_over_pv(pp: int, vpp: int, rounds: int) -> None:
    """L (1 + (p-1)/(pv)) layers' activations [Korthikanti et al. 2022, section 4.2.3], in a pipeline that gets full.

    For p = 8, v = 3 and 96 layers these are 96 x 31/24 = 124 layers.
    """
    model = replace(GPT, dropout=False)
    plan = with_microbatches(replace(PLAN, pp=pp, vpp=vpp, schedule="interleaved"), rounds * pp)
    layers_kept = uses_of(plan, model)[0].activations / activations_of_one_layer(plan, model)
    assert layers_kept == pytest.approx(96 * (1 + (pp - 1) / (pp * vpp)))


@pytest.mark.parametrize("pp", [4, 8])
@pytest.mark.parametrize(
    ("schedule", "vpp", "most"),
    [
        ("zb-h1", 1, lambda p: p),
        ("zb-h2", 1, lambda p: 2 * p - 1),
        ("zb-v", 2, lambda p: p),
        ("v-half", 2, lambda p: p / 2 + 1),
        ("v-min", 2, lambda p: math.ceil(p / 3) + 1),
        ("dualpipe", 1, lambda p: p + 1),
    ],
)
def test_split_and_two_ended_schedules_keep_what_was_published(
    schedule: str, vpp: int, most: Callable[[int], float], pp: int
) -> None:
    """In units of one microbatch's activations of 1/p of the layers: 1F1B keeps p on its first rank, ZB-H1 as many on
    all, ZB-H2 2p - 1 [Qi et al. 2023, Table 1], V-Half p/2 and V-Min p/3 with one more [Qi et al. 2024, Table 1],
    DualPipe p + 1 [DeepSeek-V3, arXiv 2412.19437, Table 2]. A weight gradient that waits keeps nearly as much as its
    layers (its inputs and output gradients), a little more where the head is."""
    plan = with_microbatches(replace(PLAN, tp=1, sp=False, pp=pp, vpp=vpp, schedule=schedule), 6 * pp)
    of_a_rank = 80 / pp * activations_of_one_layer(plan)
    kept = [use.activations / of_a_rank for use in uses_of(plan)]
    assert max(kept[:-1]) <= most(pp) + 0.01
    assert max(kept[:-1]) >= most(pp) - 1.01
    assert kept[-1] <= 1.1 * most(pp)


@pytest.mark.parametrize(("sp", "nbytes"), [(False, 2 * 4096 * 8192 * 3), (True, 2 * 4096 * 8192 * 3 / 8)])
def test_full_recomputation_keeps_the_input_of_each_layer(sp: bool, nbytes: float) -> None:
    """2sbh bytes a layer on every tp rank, 1/tp of it with sequence parallelism; s 4096, b 3, h 8192, tp 8.

    Rank 3 of 4 has one microbatch in flight, of 20 layers.
    """
    plan = with_microbatches(replace(PLAN, sp=sp, recompute="full", micro_batch=3), 8)
    last = memory_use(context_of(plan, seq_len=4096), plan)[-1]
    assert last.activations == pytest.approx(20 * nbytes)


def test_one_layer_that_is_recomputed_is_held_whole() -> None:
    """What recomputation leaves out of the activations of a layer comes back for one layer at a time. On rank 1: the
    first has its worst moment in the embedding."""
    everything = activations_of_one_layer(PLAN)
    for recompute in ("none", "selective", "full"):
        plan = replace(PLAN, recompute=recompute)
        one = uses_of(plan)[1].recomputation + activations_of_one_layer(plan)
        assert one == pytest.approx(everything)
    assert uses_of(PLAN)[1].recomputation == 0.0


def test_a_layer_that_predicts_is_made_again_where_its_stage_has_no_other() -> None:
    """With few words and a wide MLP, so that the worst moment is not in the head."""
    model = replace(LLAMA, mtp_layers=1, vocab=1024, ffn=8 * 28_672)
    plan = replace(PLAN, recompute="full", layers=(27, 27, 26, 0))
    again = uses_of(plan, model)
    assert again[3].recomputation == pytest.approx(again[1].recomputation)


def test_the_largest_layer_of_a_rank_is_the_one_that_is_held_whole() -> None:
    """Of Llama-3-70B the first 50 layers keep the dense MLP: rank 1 of 4 has no others, rank 2 ten. A layer of experts
    keeps more."""
    model = replace(LLAMA, moe=Moe(num_experts=8, top_k=2, ffn=28_672, num_dense_layers=50))
    plan = replace(PLAN, recompute="full")
    dense, experts = (
        layers.saved_nbytes(replace(context_of(PLAN, model), kind=LayerKind(has_experts=chosen)))
        - layers.saved_nbytes(context_of(plan, model))
        for chosen in (False, True)
    )
    assert experts > 1.5 * dense
    assert [use.recomputation for use in uses_of(plan, model)][1:3] == pytest.approx([dense, experts])


def test_every_replica_holds_all_experts() -> None:
    """Mixtral 8x7B, 46,702,792,704 parameters, on tp 8: 93.4 GB of weights in 8 parts; norms and routers 8 times."""
    experts = Moe(num_experts=8, top_k=2, ffn=14_336)
    model = replace(models.load("llama3-8b"), name="mixtral-8x7b", vocab=32_000, moe=experts)
    replicated, padding = 65 * 4096 + 32 * 8 * 4096, 2 * (32_768 - 32_000) * 4096
    (use,) = uses_of(replace(PLAN, pp=1), model)
    assert use.weights == 2 * ((46_702_792_704 + padding - replicated) / 8 + replicated)


def test_more_recomputation_needs_less_memory() -> None:
    """GPT with unfused attention, where the scores that selective recomputation drops are large."""
    recomputes: tuple[Recompute, ...] = ("none", "selective", "full")
    plans = [replace(PLAN, recompute=recompute) for recompute in recomputes]
    contexts = [replace(context_of(plan, GPT), framework=frameworks.load("megatron-lm")) for plan in plans]
    none, selective, full = (memory_use(context, plan)[0].total for context, plan in zip(contexts, plans, strict=True))
    assert none > selective > full


@given(dp=st.sampled_from([1, 2, 4, 8, 64]))
def test_zero_1_divides_the_optimizer_by_dp_and_nothing_else(dp: int) -> None:
    whole = uses_of(replace(PLAN, dp=dp, global_batch=8 * dp))
    shared = uses_of(replace(PLAN, dp=dp, global_batch=8 * dp, zero=1))
    for before, after in zip(whole, shared, strict=True):
        assert after.optimizer == pytest.approx(before.optimizer / dp)
        assert replace(after, optimizer=0.0, reserve=0.0) == replace(before, optimizer=0.0, reserve=0.0)


@pytest.mark.parametrize(("gradient_nbytes", "whole", "left"), [(2, 16, 4), (4, 18, 6)])
def test_zero_1_over_many_replicas_leaves_weights_and_gradients(
    gradient_nbytes: Literal[2, 4], whole: int, left: int
) -> None:
    """Bytes a parameter. 2 + 2 + 12 = 16, of which 4 + 12/dp are left: in the limit a quarter [Rajbhandari et al. 2020,
    section 5.1]. With gradients in fp32 2 + 4 + 12 = 18, of which 6 + 12/dp. At dp = 4096, 12/dp is 0.003."""
    plan = replace(PLAN, pp=1, dp=4096, global_batch=4096)
    context = context_of(plan)
    context = replace(context, framework=replace(context.framework, gradient_nbytes=gradient_nbytes))
    count = (70_553_706_496 + PADDING - 161 * 8192) / 8 + 161 * 8192
    for one, nbytes in ((plan, whole), (replace(plan, zero=1), left + 12 / 4096)):
        (use,) = memory_use(context, one)
        assert (use.weights + use.gradients + use.optimizer) / count == pytest.approx(nbytes, rel=1e-12)


def test_a_parameter_takes_18_bytes() -> None:
    """Weights 2, gradients 4, optimizer 12. Llama-3-70B on one pipeline rank and tp 8, its norms on every tp rank:
    70,553,706,496 parameters and the padded vocabulary's, of which 161 norms of 8192 are on each."""
    (use,) = uses_of(replace(PLAN, pp=1))
    count = (70_553_706_496 + PADDING - 161 * 8192) / 8 + 161 * 8192
    assert (use.weights, use.gradients, use.optimizer) == pytest.approx((2 * count, 4 * count, 12 * count))


def test_the_ranks_of_a_pipeline_hold_the_whole_model() -> None:
    """A tied matrix is held twice, by the first and by the last rank: 51200 x 12288 / 8 parameters more."""
    for model, tied_copy in ((LLAMA, 0), (GPT, 2 * 51200 * 12288 / 8)):
        (alone,) = uses_of(replace(PLAN, pp=1), model)
        assert sum(use.weights for use in uses_of(PLAN, model)) == pytest.approx(alone.weights + tied_copy)


def test_only_the_last_rank_keeps_logits() -> None:
    """fp32 over 1/8 of 129,024 padded words for 2048 tokens; inputs of norm and product, 2 bytes, 1/8 of the tokens."""
    for plan in (PLAN, replace(PLAN, vpp=2, schedule="interleaved")):
        *others, last = uses_of(plan)
        assert {use.logits for use in others} == {0.0}
        assert last.logits == pytest.approx(4 * 2048 * 129_024 / 8 + 2 * 2 * 2048 * 8192 / 8)


def test_only_a_pipeline_needs_buffers_for_messages() -> None:
    """One message in, one out: 2 x 2 bytes x 2048 x 8192 / 8."""
    assert uses_of(replace(PLAN, pp=1))[0].buffers == 0.0
    assert {use.buffers for use in uses_of(PLAN)} == {2 * 2 * 2048 * 8192 / 8}


def test_the_total_is_the_sum_of_what_is_held_and_more_is_reserved() -> None:
    use = MemoryUse(
        weights=1 * GIB,
        gradients=2 * GIB,
        optimizer=3 * GIB,
        activations=4 * GIB,
        recomputation=5 * GIB,
        logits=6 * GIB,
        buffers=7 * GIB,
        workspace=8 * GIB,
        reserve=9 * GIB,
        action=None,
    )
    assert use.total == sum(use.by_holding().values()) == 36 * GIB
    assert use.reserved == 45 * GIB
    assert tuple(use.by_holding()) == HOLDINGS


def test_the_process_takes_the_share_of_the_allocator_and_what_cuda_needs() -> None:
    context = context_of(PLAN)
    framework = replace(context.framework, allocator_reserve=0.25, context_nbytes=2 * GIB)
    for use in memory_use(replace(context, framework=framework), PLAN):
        assert use.reserved == pytest.approx(1.25 * use.total + 2 * GIB)


@pytest.mark.parametrize(
    ("name", "vpp", "group"), [("gpipe", 1, None), ("1f1b", 1, None), ("interleaved", 2, None), ("zb-h1", 1, None)]
)
def test_activations_are_all_given_back_at_the_end(name: str, vpp: int, group: int | None) -> None:
    """No rank keeps anything from step to step, and holds something of every stage of its own before. Stages that keep
    1, 2, 4, ... bytes and thousandths of that in logits, so that none can stand in for another; a fourth of it waits
    for the weight gradient."""
    held: dict[tuple[Kind, int], PassMemory] = {}
    for stage in range(4 * vpp):
        whole = Change(activations=2.0**stage, logits=2.0**stage / 1024)
        rest = Change(activations=2.0**stage / 4)
        gone = Change(*(-nbytes for nbytes in whole))
        held |= {
            ("F", stage): PassMemory(whole, whole),
            ("B", stage): PassMemory(Change(), gone),
            ("I", stage): PassMemory(Change(), gone.plus(rest)),
            ("W", stage): PassMemory(Change(), Change(activations=-rest.activations)),
        }
    for rank, actions in enumerate(schedule_of(name, 4, vpp, 8, group).rows):
        after = [Change(*changes) for changes in in_flight(actions, held)[1].tolist()]
        assert after[-1] == Change()
        assert min(change.activations for change in after) == 0.0
        assert max(change.activations for change in after) >= sum(2.0**stage for stage in range(rank, 4 * vpp, 4))
        assert all(change.workspace == change.recomputation == 0.0 for change in after)
