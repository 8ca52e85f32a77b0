"""What each pipeline rank keeps: weights and states for the whole step, activations as many as the schedule holds."""

from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import topologies
from sim import frameworks, layers, models
from sim.layers import head
from sim.layers.context import Context
from sim.memory import ALLOCATOR_RESERVE, MemoryUse, _in_flight, memory_use
from sim.models.transformer import LayerKind, Moe
from sim.plan import Plan, Recompute, Schedule
from sim.schedules import schedule_of
from topologies.quantity import GIB

LLAMA = models.load("llama3-70b")
GPT = models.load("gpt-175b")
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


@pytest.mark.parametrize(("sp", "nbytes"), [(False, 2 * 4096 * 8192 * 3), (True, 2 * 4096 * 8192 * 3 / 8)])
def test_full_recomputation_keeps_the_input_of_each_layer(sp: bool, nbytes: float) -> None:
    """2sbh bytes a layer on every tp rank, 1/tp of it with sequence parallelism; s 4096, b 3, h 8192, tp 8.

    Rank 3 of 4 has one microbatch in flight, of 20 layers.
    """
    plan = with_microbatches(replace(PLAN, sp=sp, recompute="full", micro_batch=3), 8)
    last = memory_use(context_of(plan, seq_len=4096), plan)[-1]
    assert last.activations == pytest.approx(20 * nbytes)


def test_one_layer_that_is_recomputed_is_held_whole() -> None:
    """What recomputation leaves out of the activations of a layer comes back for one layer at a time."""
    everything = activations_of_one_layer(PLAN)
    for recompute in ("none", "selective", "full"):
        plan = replace(PLAN, recompute=recompute)
        one = uses_of(plan)[0].recomputation + activations_of_one_layer(plan)
        assert one == pytest.approx(everything)
    assert uses_of(PLAN)[0].recomputation == 0.0


def test_the_largest_layer_of_a_rank_is_the_one_that_is_held_whole() -> None:
    """Of Llama-3-70B the first 30 layers keep the dense MLP: rank 0 of 4 has no others, rank 1 ten. A layer of experts
    keeps more."""
    model = replace(LLAMA, moe=Moe(num_experts=8, top_k=2, ffn=28_672, num_dense_layers=30))
    plan = replace(PLAN, recompute="full")
    dense, experts = (
        layers.saved_nbytes(replace(context_of(PLAN, model), kind=LayerKind(has_experts=chosen)))
        - layers.saved_nbytes(context_of(plan, model))
        for chosen in (False, True)
    )
    assert experts > 1.5 * dense
    assert [use.recomputation for use in uses_of(plan, model)] == pytest.approx([dense, experts, experts, experts])


def test_every_replica_holds_all_experts() -> None:
    """Mixtral 8x7B, 46,702,792,704 parameters, on tp 8: 93.4 GB of weights in 8 parts; norms and routers 8 times."""
    experts = Moe(num_experts=8, top_k=2, ffn=14_336)
    model = replace(models.load("llama3-8b"), name="mixtral-8x7b", vocab=32_000, moe=experts)
    replicated = 65 * 4096 + 32 * 8 * 4096
    (use,) = uses_of(replace(PLAN, pp=1), model)
    assert use.weights == 2 * ((46_702_792_704 - replicated) / 8 + replicated)


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
        assert replace(after, optimizer=0.0) == replace(before, optimizer=0.0)


@pytest.mark.parametrize(("gradient_nbytes", "whole", "left"), [(2, 16, 4), (4, 18, 6)])
def test_zero_1_over_many_replicas_leaves_weights_and_gradients(
    gradient_nbytes: Literal[2, 4], whole: int, left: int
) -> None:
    """Bytes a parameter. 2 + 2 + 12 = 16, of which 4 + 12/dp are left: in the limit a quarter [Rajbhandari et al. 2020,
    section 5.1]. With gradients in fp32 2 + 4 + 12 = 18, of which 6 + 12/dp. At dp = 4096, 12/dp is 0.003."""
    plan = replace(PLAN, pp=1, dp=4096, global_batch=4096)
    context = context_of(plan)
    context = replace(context, framework=replace(context.framework, gradient_nbytes=gradient_nbytes))
    count = (70_553_706_496 - 161 * 8192) / 8 + 161 * 8192
    for one, nbytes in ((plan, whole), (replace(plan, zero=1), left + 12 / 4096)):
        (use,) = memory_use(context, one)
        assert (use.weights + use.gradients + use.optimizer) / count == pytest.approx(nbytes, rel=1e-12)


def test_a_parameter_takes_18_bytes() -> None:
    """Weights 2, gradients 4, optimizer 12. Llama-3-70B on one pipeline rank and tp 8, its norms on every tp rank:
    70,553,706,496 parameters, of which 161 norms of 8192; (70,553,706,496 - 1,318,912) / 8 + 1,318,912."""
    (use,) = uses_of(replace(PLAN, pp=1))
    count = (70_553_706_496 - 161 * 8192) / 8 + 161 * 8192
    assert (use.weights, use.gradients, use.optimizer) == pytest.approx((2 * count, 4 * count, 12 * count))


def test_the_ranks_of_a_pipeline_hold_the_whole_model() -> None:
    """A tied matrix is held twice, by the first and by the last rank: 51200 x 12288 / 8 parameters more."""
    for model, tied_copy in ((LLAMA, 0), (GPT, 2 * 51200 * 12288 / 8)):
        (alone,) = uses_of(replace(PLAN, pp=1), model)
        assert sum(use.weights for use in uses_of(PLAN, model)) == pytest.approx(alone.weights + tied_copy)


def test_only_the_last_rank_keeps_logits() -> None:
    """fp32 over 1/8 of 128,256 words for 2048 tokens; inputs of norm and product, 2 bytes, 1/8 of the tokens."""
    for plan in (PLAN, replace(PLAN, vpp=2, schedule="interleaved")):
        *others, last = uses_of(plan)
        assert {use.logits for use in others} == {0.0}
        assert last.logits == pytest.approx(4 * 2048 * 128_256 / 8 + 2 * 2 * 2048 * 8192 / 8)


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
    )
    assert use.total == sum(use.by_holding().values()) == 28 * GIB
    assert use.reserved == pytest.approx(28 * GIB * (1 + ALLOCATOR_RESERVE))
    assert list(use.by_holding()) == [
        "weights", "gradients", "optimizer", "activations", "recomputation", "logits", "buffers"
    ]  # fmt: skip


def test_activations_are_all_given_back_at_the_end() -> None:
    """No rank keeps anything from step to step, and holds something of every stage of its own before. Stages that keep
    1, 2, 4, ... bytes and thousandths of that in logits, so that none can stand in for another."""
    schedules: tuple[tuple[Schedule, int], ...] = (("gpipe", 1), ("1f1b", 1), ("interleaved", 2))
    for name, vpp in schedules:
        kept = [(2.0**stage, 2.0**stage / 1024) for stage in range(4 * vpp)]
        for rank, actions in enumerate(schedule_of(name, 4, vpp, 8).rows):
            held = list(_in_flight(actions, kept))
            assert held[-1] == (0.0, 0.0)
            assert min(held) == (0.0, 0.0)
            assert max(held)[0] >= sum(nbytes for nbytes, _ in kept[rank::4])
            assert all(logits == activations / 1024 for activations, logits in held)
