"""What frameworks run beside the kernels of a layer's formulas: biases, copies, logged losses, what is computed again.

An MPT layer of FSDP1 under Composer: 2048 tokens, hidden 4096, two-byte elements, on an H100.
"""

from dataclasses import replace

import pytest

import topologies
from sim import frameworks, layers, models
from sim.costs.memory_bound import cross_entropy_metric, gradient_scale, kernel
from sim.instructions import Block, Collective, Compute
from sim.layers import Context, Pass, head
from sim.layers.stage import Weights
from sim.lowering.weights import Sharding
from sim.models.transformer import LayerKind
from tests.programs import plan

COMPOSER = frameworks.load("fsdp1-composer")
GPU = topologies.gpu("h100-80gb-sxm")
MPT = Context(
    model=replace(models.load("gpt3-175b"), hidden=4096, num_heads=32, num_kv_heads=32, ffn=16384),
    gpu=GPU,
    framework=COMPOSER,
    tp=1,
    sp=False,
    recompute="full",
    micro_batch=1,
    seq_len=2048,
    precision="bf16",
)


def with_facts(**facts: object) -> Context:
    return replace(MPT, framework=replace(COMPOSER, **facts))  # type: ignore[arg-type]


def kernels(one: Pass) -> dict[str, float]:
    return {entry.name: entry.duration for entry in one["compute"] if isinstance(entry, Compute)}


def test_recomputation_that_stops_early_leaves_out_what_no_gradient_needs() -> None:
    """Of the forward pass the last product and the residual are kept by nobody."""
    whole = kernels(layers.backward(with_facts(recompute_stops_early=False)))
    early = kernels(layers.backward(MPT))
    assert whole.keys() - early.keys() == {"recompute mlp down forward", "recompute mlp residual"}
    assert early.keys() < whole.keys()


def test_experts_are_computed_again_to_their_end() -> None:
    """The gradient of an expert's weight in the sum takes its output."""
    model = models.load("mixtral-8x7b")
    context = replace(MPT, model=model, kind=LayerKind(has_experts=True))
    whole = replace(context, framework=replace(COMPOSER, recompute_stops_early=False))
    assert kernels(layers.backward(context)) == kernels(layers.backward(whole))


def test_a_bias_in_the_product_takes_no_kernel() -> None:
    apart = kernels(layers.forward(with_facts(bias_in_product=False)))
    within = kernels(layers.forward(MPT))
    assert apart.keys() - within.keys() == {"mlp up bias", "mlp bias", "attention bias"}


def test_gradients_of_queries_keys_and_values_are_joined_by_a_copy() -> None:
    joined, apart = (kernels(layers.backward(with_facts(qkv_gradients_joined=fact))) for fact in (True, False))
    assert joined.keys() - apart.keys() == {"qkv gradient join"}
    assert joined["qkv gradient join"] == kernel(GPU, "copy", 3 * 2048 * 4096)


def test_each_logged_loss_reads_the_logits_anew() -> None:
    """22 bytes a logit: 2 + 4 to cast them, three reads and a write in fp32; beside 2 of the fused loss."""
    assert cross_entropy_metric(GPU, 1e9) == pytest.approx(gradient_scale(GPU, 1e9, 11), rel=1e-3)
    logged = [entry for entry in head.forward(MPT)["compute"] if isinstance(entry, Compute)]
    assert [entry.name for entry in logged].count("logged loss") == 2
    assert "logged loss" not in kernels(head.forward(with_facts(loss_metrics=0)))


def test_gradients_that_are_copied_are_made_in_16_bits_and_moved_before_they_are_divided() -> None:
    """10 bytes of copies, 8 to divide; the product writes 2 bytes and does not read and write 4 + 4."""
    fused = with_facts(gradient_copy_nbytes=0)
    name = "qkv weight gradient"
    assert kernels(layers.backward(MPT))[name] <= kernels(layers.backward(fused))[name]
    assert gradient_scale(GPU, 1e9, 4, 10) == pytest.approx(gradient_scale(GPU, 1e9, 4) * 18 / 8, rel=1e-3)


def test_narrow_heads_have_a_speed_of_their_own() -> None:
    """1.15 times as fast, but for the start of a kernel; heads of 128 are not touched."""
    narrow = replace(MPT, model=replace(MPT.model, num_heads=64, num_kv_heads=64, head_dim=64), recompute="none")
    plain = replace(narrow, framework=replace(COMPOSER, flash_speed_narrow=1.0))
    ratio = kernels(layers.forward(plain))["flash forward"] / kernels(layers.forward(narrow))["flash forward"]
    assert ratio == pytest.approx(1.15)
    wide = with_facts(flash_speed_narrow=1.0)
    assert kernels(layers.forward(wide)) == kernels(layers.forward(MPT))


def gathers(num_ranks: int, **facts: object) -> Block:
    framework = replace(frameworks.load("megatron-deepspeed"), **facts)  # type: ignore[arg-type]
    sharding = Sharding(plan=plan(dp=num_ranks, zero=3), framework=framework, gpu=GPU, width=4096)
    return sharding.gather(Weights(4_000_000, 0))


@pytest.mark.parametrize("num_ranks", [8, 64, 512])
def test_a_share_in_a_tensor_of_its_own_takes_a_launch_each(num_ranks: int) -> None:
    """Four collectives, after each a copy of every rank's share, which is short beside the launch of 7 us."""
    block = gathers(num_ranks)
    assert [type(entry) for entry in block] == [Collective, Compute] * 4
    copies = [entry.duration for entry in block if isinstance(entry, Compute)]
    assert copies == pytest.approx([num_ranks * 7e-6] * 4)
    assert all(isinstance(entry, Collective) for entry in gathers(num_ranks, copies_each_share=False))
