"""What sharding, experts, offload and libraries do to memory, by hand; and that more sharding never needs more."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import topologies
from sim import frameworks, layers, models
from sim.layers import head
from sim.layers.context import Context
from sim.memory import MemoryUse, memory_use
from sim.models.transformer import Moe, Transformer
from sim.plan import Plan, Zero
from sim.workload import Precision
from topologies.quantity import MIB

LLAMA = models.load("llama3-70b")
MIXTRAL = replace(models.load("llama3-8b"), name="mixtral", vocab=32_768, moe=Moe(num_experts=8, top_k=2, ffn=14_336))
"""Its vocabulary needs no padding on one tp rank."""
EXPERTS = 32 * 8 * 3 * 4096 * 14_336
DENSE = 32 * (2 * 4096 * (4096 + 1024) + 2 * 4096 + 8 * 4096) + 2 * 32_768 * 4096 + 4096
PLAN = Plan(
    tp=1,
    sp=False,
    pp=1,
    vpp=1,
    dp=8,
    zero=0,
    recompute="none",
    schedule="1f1b",
    micro_batch=1,
    global_batch=64,
)


def context_of(plan: Plan, model: Transformer = MIXTRAL, precision: Precision = "bf16", **facts: object) -> Context:
    return Context(
        model=model,
        gpu=topologies.load("dgx-h100").gpu,
        framework=replace(frameworks.load("megatron-core"), **facts),  # type: ignore[arg-type]
        tp=plan.tp,
        sp=plan.sp,
        recompute=plan.recompute,
        micro_batch=plan.micro_batch,
        seq_len=2048,
        precision=precision,
        cp=plan.cp,
        cp_kind=plan.cp_kind,
        ep=plan.ep,
        etp=plan.expert_tp,
    )


def uses_of(plan: Plan, model: Transformer = MIXTRAL, **facts: object) -> tuple[MemoryUse, ...]:
    return memory_use(context_of(plan, model, **facts), plan)


def states_of(use: MemoryUse) -> tuple[float, float, float]:
    return use.weights, use.gradients, use.optimizer


def test_each_level_of_zero_divides_one_thing_more() -> None:
    """Bytes a parameter: 2, 4 and 12; on 8 ranks."""
    count = DENSE + EXPERTS
    divided = {0: (1, 1, 1), 1: (1, 1, 8), 2: (1, 8, 8), 3: (8, 8, 8)}
    levels: tuple[Zero, ...] = (0, 1, 2, 3)
    for zero in levels:
        (use,) = uses_of(replace(PLAN, zero=zero))
        weights, gradients, optimizer = divided[zero]
        expected = 2 * count / weights, 4 * count / gradients, 12 * count / optimizer
        assert states_of(use) == pytest.approx(expected)


def test_hybrid_sharding_divides_by_its_group() -> None:
    (use,) = uses_of(replace(PLAN, zero=3, shard=2))
    count = DENSE + EXPERTS
    assert states_of(use) == pytest.approx((2 * count / 2, 4 * count / 2, 12 * count / 2))


@pytest.mark.parametrize(("ep", "etp", "experts_here", "replicas"), [(8, 1, 1, 1), (4, 1, 2, 2), (2, 1, 4, 4)])
def test_an_expert_is_shared_by_its_own_replicas_alone(ep: int, etp: int, experts_here: int, replicas: int) -> None:
    """Of 8 GPUs, ep of which hold different experts, 8 / ep hold the same: among them its optimizer state is divided,
    the dense weights' among all eight."""
    (use,) = uses_of(replace(PLAN, zero=1, ep=ep, etp=etp))
    experts = EXPERTS * experts_here / 8
    assert use.weights == pytest.approx(2 * (DENSE + experts))
    assert use.optimizer == pytest.approx(12 * (DENSE / 8 + experts / replicas))


def test_the_ranks_of_a_sequence_share_the_optimizer_too() -> None:
    """cp 4 x dp 2 are 8 replicas of every weight."""
    (use,) = uses_of(replace(PLAN, dp=2, cp=4, zero=1))
    assert use.optimizer == pytest.approx(12 * (DENSE + EXPERTS) / 8)


def test_zero_3_gathers_the_layer_at_work_and_those_ahead_of_it() -> None:
    """Weights in 2 bytes of two layers and of embedding, head and last norm; gradients of a layer in 2 bytes, and in 4
    on their way to the others."""
    layer, ends = (DENSE + EXPERTS - 2 * 32_768 * 4096 - 4096) / 32, 2 * 32_768 * 4096 + 4096
    (use,) = uses_of(replace(PLAN, zero=3), prefetch=1, gradient_reduce_nbytes=4)
    assert use.buffers == pytest.approx(2 * (2 * layer + ends) + (2 + 4) * layer)
    (kept,) = uses_of(replace(PLAN, zero=3), prefetch=1, gradient_reduce_nbytes=4, reshard_after_forward=False)
    assert kept.buffers == pytest.approx(2 * (DENSE + EXPERTS) + (2 + 4) * layer)


@given(
    zero=st.sampled_from([0, 1, 2, 3]),
    dp=st.sampled_from([1, 2, 8, 32]),
    ep=st.sampled_from([1, 2, 8]),
    tp=st.sampled_from([1, 2, 8]),
)
def test_more_replicas_never_need_more_where_something_is_divided(zero: Zero, dp: int, ep: int, tp: int) -> None:
    """Weights, gradients and optimizer of a rank; twice the replicas, the same work each."""
    if dp * tp % ep:
        return
    plan = replace(PLAN, tp=tp, sp=tp > 1, dp=dp, ep=ep, etp=1, zero=zero, global_batch=8 * dp)
    doubled = replace(plan, dp=2 * dp, global_batch=16 * dp)
    (one,), (two,) = uses_of(plan), uses_of(doubled)
    assert sum(states_of(two)) <= sum(states_of(one))
    assert two.activations == pytest.approx(one.activations)


@pytest.mark.parametrize(
    ("precision", "copies"), [("bf16", 0), ("fp8", 2), ("mxfp8", 2 + 2 / 32), ("nvfp4", 1 + 2 / 16)]
)
def test_quantised_weights_are_there_twice(precision: Precision, copies: float) -> None:
    """Along rows and along columns, beside the 2 bytes; not of embedding, head and last norm."""
    (use,) = memory_use(context_of(PLAN, precision=precision), PLAN)
    inner = DENSE + EXPERTS - 2 * 32_768 * 4096 - 4096
    assert use.weights == pytest.approx(2 * (DENSE + EXPERTS) + copies * inner)


def test_weights_gathered_in_fp8_are_kept_in_nothing_else() -> None:
    (use,) = memory_use(context_of(PLAN, precision="fp8", weight_gather_nbytes=1), PLAN)
    ends = 2 * 32_768 * 4096 + 4096
    assert use.weights == pytest.approx(2 * ends + 2 * (DENSE + EXPERTS - ends))


def test_offload_leaves_no_optimizer_and_two_layers_of_activations() -> None:
    plain, optimizer, activations, both = (
        uses_of(replace(PLAN, offload=what), LLAMA)[0] for what in ("none", "optimizer", "activations", "all")
    )
    layer = layers.saved_nbytes(context_of(PLAN, LLAMA))
    assert plain.activations == pytest.approx(80 * layer)
    assert (optimizer.optimizer, optimizer.activations) == (0.0, plain.activations)
    assert (activations.optimizer, activations.activations) == (plain.optimizer, pytest.approx(2 * layer))
    assert (both.optimizer, both.activations) == (0.0, pytest.approx(2 * layer))


def test_one_dummy_gradient_stays_for_each_shape_of_weight() -> None:
    """Llama-3-70B in 2 bytes: 10,240 x 8192 (queries, keys, values), 8192 x 8192, 57,344 x 8192, 8192 x 28,672."""
    plan = replace(PLAN, pp=4, dp=2)
    with_them, without = (uses_of(plan, LLAMA, dummy_gradients=there) for there in (True, False))
    shapes = 8192 * (10_240 + 8192 + 57_344 + 28_672)
    for one, other in zip(with_them, without, strict=True):
        assert one.workspace - other.workspace == pytest.approx(2 * shapes)


def test_the_last_rank_makes_the_gradient_of_the_head_in_two_bytes() -> None:
    """Its worst moment: the gradient of 128,256 x 8192, that of the hidden state, and logits in fp32 a second time in
    2 bytes; two workspaces of 32 MiB stay."""
    plan = replace(PLAN, pp=4, dp=2)
    vocab = 128_256
    last = uses_of(plan, LLAMA, dummy_gradients=False, logits_nbytes=4)[-1]
    made = 2 * vocab * 8192 + 2 * 2048 * 8192
    assert last.workspace == pytest.approx(64 * MIB + made + 2 * 2048 * vocab)
    fused = uses_of(plan, LLAMA, dummy_gradients=False, logits_nbytes=2)[-1]
    assert fused.workspace == pytest.approx(64 * MIB + made)
    assert last.logits - fused.logits == pytest.approx(2 * 2048 * vocab)
    assert last.logits == pytest.approx(head.saved_nbytes(context_of(plan, LLAMA, logits_nbytes=4)))


def test_an_optimizer_that_is_not_fused_makes_another_copy() -> None:
    """4 bytes for each parameter that the rank looks after; where little else is in flight that is the worst moment."""
    plan = replace(PLAN, zero=0, recompute="full")
    (use,) = uses_of(plan, fused_optimizer=False)
    assert use.action is None
    assert use.activations == use.logits == 0.0
    (fused,) = uses_of(plan, fused_optimizer=True)
    assert fused.action is not None
    resident = uses_of(plan, fused_optimizer=True, dummy_gradients=False)[0]
    assert use.total > max(fused.total, resident.total)


def test_user_buffers_and_buckets_are_counted() -> None:
    """Eight activations of 2 x 2048 x 8192 bytes; a bucket of 40 million gradients in 2 bytes where they are kept in
    4."""
    plan = replace(PLAN, tp=8, sp=True, dp=1)
    assert uses_of(plan, LLAMA, overlap_tp=True)[0].buffers == 8 * 2 * 2048 * 8192
    plan = replace(PLAN, tp=8, sp=True, dp=8)
    facts = {"gradient_nbytes": 4, "gradient_reduce_nbytes": 2}
    assert uses_of(plan, LLAMA, **facts)[0].buffers == 2 * 40_000_000
    two = uses_of(replace(plan, zero=2), LLAMA, overlap_grad_reduce=True, **facts)[0]
    assert two.buffers == 2 * 2 * 40_000_000
