"""What a release of a framework does around the experts' products: who starts them, what is fused, what is added."""

from dataclasses import replace

import pytest

import topologies
from sim import frameworks, models
from sim.costs.memory_bound import kernel, stream
from sim.instructions import Compute
from sim.layers import Context, Pass, core, moe
from sim.models.transformer import LayerKind
from sim.workload import ExpertLoad, Precision

BRIDGE, FUSED = frameworks.load("megatron-bridge"), frameworks.load("megatron-bridge-26.06")
QWEN = Context(
    model=models.load("qwen3-30b-a3b"),
    gpu=topologies.gpu("b200-sxm"),
    framework=BRIDGE,
    tp=1,
    sp=False,
    recompute="none",
    micro_batch=1,
    seq_len=4096,
    precision="mxfp8",
    kind=LayerKind(has_experts=True),
    ep=8,
)
NUM_EXPERTS = 128 // 8
BIASED = replace(QWEN, model=replace(QWEN.model, bias=True), precision="bf16")
ROWS, HIDDEN, FFN = 4096 * 8, 2048, 768


def kernels(one: Pass) -> dict[str, Compute]:
    return {i.name: i for i in one["compute"] if isinstance(i, Compute)}


def host_seconds(context: Context) -> float:
    passes = (moe.forward(context), moe.backward(context))
    return sum(i.host_seconds for one in passes for i in one["compute"] if isinstance(i, Compute))


def test_the_host_starts_each_product_and_each_cast_of_each_expert() -> None:
    """Six products of 34 us and four casts of six operations of 5 us, for 16 experts: 5.2 ms of a layer."""
    assert host_seconds(QWEN) == pytest.approx(NUM_EXPERTS * (6 * 34e-6 + 4 * 6 * 5e-6))
    assert host_seconds(replace(QWEN, precision="bf16")) == pytest.approx(NUM_EXPERTS * 6 * 11.6e-6)


def test_a_graph_replays_experts_only_where_they_always_take_as_many_rows() -> None:
    graphs = replace(QWEN, framework=replace(BRIDGE, cuda_graphs=True))
    dropping = ExpertLoad(kind="balanced", capacity_factor=1.0)
    assert host_seconds(graphs) == host_seconds(QWEN)
    assert host_seconds(replace(graphs, experts=dropping)) == 0
    assert host_seconds(replace(QWEN, experts=dropping)) == host_seconds(QWEN)


def test_fused_experts_cast_only_what_comes_to_them_and_are_started_at_once() -> None:
    fused = replace(QWEN, framework=FUSED)
    names = [name for one in (moe.forward(fused), moe.backward(fused)) for name in kernels(one)]
    assert [name for name in names if name.startswith(("experts", "activation")) and "forward" not in name] == [
        "experts up input cast", "experts down output gradient cast",
        "experts down input gradient", "experts down weight gradient",
        "experts up input gradient", "experts up weight gradient",
    ]  # fmt: skip
    assert host_seconds(fused) == 0


def test_formats_without_scales_for_blocks_have_no_fused_experts() -> None:
    precisions: tuple[Precision, ...] = ("bf16", "fp8")
    for precision in precisions:
        assert "activation forward" in kernels(moe.forward(replace(QWEN, framework=FUSED, precision=precision)))


def test_biased_experts_are_fused_from_the_later_release_on() -> None:
    biased = replace(BIASED, precision="mxfp8")
    later = frameworks.load("megatron-bridge-26.08")
    assert "experts down bias" in kernels(moe.forward(replace(biased, framework=FUSED)))
    assert "experts down bias" not in kernels(moe.forward(replace(biased, framework=later)))


def test_loose_biases_move_rows_through_the_hbm_again_and_again() -> None:
    """A bias times fp32 probabilities: 4 + 10 + 8 + 6 bytes a number; the clamp of gate and up 8, its gradient 10."""
    forward, backward = kernels(moe.forward(BIASED)), kernels(moe.backward(BIASED))
    assert forward["experts down bias"].duration == stream(BIASED.gpu, 28 * ROWS * HIDDEN)
    assert forward["experts up clamp"].duration == stream(BIASED.gpu, 8 * ROWS * 2 * FFN)
    assert backward["experts up clamp gradient"].duration == stream(BIASED.gpu, 10 * ROWS * 2 * FFN)
    assert backward["experts down bias gradient"].duration == stream(BIASED.gpu, 36 * ROWS * HIDDEN)


def test_scatter_add_is_bound_by_atomic_additions() -> None:
    """132 SMs of 0.7 G additions a second; a kernel of its own is bound by the HBM."""
    h100 = replace(QWEN, gpu=topologies.gpu("h100-80gb-sxm"), precision="bf16")
    scattering = replace(h100, framework=replace(BRIDGE, fused_permute=False))
    own, old = (kernels(moe.forward(one))["unpermute"] for one in (h100, scattering))
    assert own.duration == kernel(h100.gpu, "unpermute", ROWS * HIDDEN)
    assert old.duration == pytest.approx(ROWS * HIDDEN / (132 * 0.7e9))


def test_before_cudnn_9_11_latent_attention_is_unfused_on_blackwell_alone() -> None:
    nemo = frameworks.load("nemo")
    latent = replace(QWEN, model=models.load("deepseek-v3"), framework=nemo, precision="bf16")
    assert not core.is_flash(latent)
    assert core.is_flash(replace(latent, framework=BRIDGE))
    assert core.is_flash(replace(latent, gpu=topologies.gpu("h100-80gb-sxm")))
    assert core.is_flash(replace(QWEN, framework=nemo))
