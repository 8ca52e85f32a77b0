"""Attention by hand, on an A100's sheet."""

from dataclasses import replace

import pytest

import topologies
from sim.costs.attention import Shape, flash_backward, flash_forward, unfused_backward, unfused_forward

GPU = topologies.gpu("a100-80gb-sxm")
SHAPE = Shape(batch=4, seq_len=8192, num_heads=32, num_kv_heads=32, head_dim=128, precision="fp16")


def test_flash_forward_runs_its_products_at_the_published_share_of_the_peak() -> None:
    """4 s^2 d FLOPs per head, of 64 x 64 blocks the 65 x 32 on and below the diagonal: 8.93 TFLOP in 46.2 ms."""
    flops = 4 * 4 * 32 * 8192**2 * 128 * 65 / 128
    expected = flops / (312e12 * GPU.fit["flash_forward_efficiency"]) + GPU.fit["kernel_latency"]
    assert flash_forward(GPU, SHAPE) == pytest.approx(expected, rel=1e-9)


def test_flash_backward_does_two_and_a_half_times_the_products() -> None:
    ratio = flash_backward(GPU, SHAPE) / flash_forward(GPU, SHAPE)
    efficiencies = GPU.fit["flash_forward_efficiency"] / GPU.fit["flash_backward_efficiency"]
    assert ratio == pytest.approx(2.5 * efficiencies, rel=1e-3)


def test_a_causal_kernel_nears_half_the_work_as_sequences_grow() -> None:
    ratios = []
    for seq_len in (1024, 4096, 16384):
        shape = replace(SHAPE, seq_len=seq_len)
        ratios.append(flash_forward(GPU, shape) / flash_forward(GPU, replace(shape, causal=False)))
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[-1] == pytest.approx(0.5, rel=0.02)


def test_few_heads_and_short_sequences_leave_sms_idle() -> None:
    """One head of 1,024 tokens is 8 blocks on 108 SMs: half of the heads take as long as all."""
    one = replace(SHAPE, batch=1, num_heads=1, num_kv_heads=1, seq_len=1024)
    assert flash_forward(GPU, replace(one, num_heads=8)) == pytest.approx(flash_forward(GPU, one))


def test_unfused_attention_takes_at_least_the_time_of_its_scores_through_memory() -> None:
    """GPT-22B, TP8, batch 4: 32 x 8 heads x 2048^2 = 134M scores.

    Forward: write 2, softmax 1 + 2, dropout 2 + 2 + 1, read 2 = 12 bytes a score, 1.61 GB, 1.02 ms at 1.58 TB/s.
    """
    shape = Shape(batch=4, seq_len=2048, num_heads=8, num_kv_heads=8, head_dim=96, precision="fp16")
    bound = 12 * shape.num_scores / (GPU.memory_bandwidth * GPU.fit["memory_efficiency"])
    total = sum(seconds for _, seconds in unfused_forward(GPU, shape, fused_softmax=True, dropout=True))
    assert bound < total < 1.15 * bound


def test_unfused_backward_takes_at_least_seventeen_bytes_a_score() -> None:
    """Write 2, read 2, dropout 2 + 1 + 2, softmax (2 + 2) / 2 + 2, read 2, read 2."""
    shape = Shape(batch=4, seq_len=2048, num_heads=8, num_kv_heads=8, head_dim=96, precision="fp16")
    bound = 17 * shape.num_scores / (GPU.memory_bandwidth * GPU.fit["memory_efficiency"])
    total = sum(seconds for _, seconds in unfused_backward(GPU, shape, fused_softmax=True, dropout=True))
    assert bound < total < 1.15 * bound


def test_unfused_backward_names_four_products_two_for_each_of_forward() -> None:
    shape = replace(SHAPE, seq_len=2048)
    forward = dict(unfused_forward(GPU, shape, fused_softmax=True, dropout=True))
    backward = dict(unfused_backward(GPU, shape, fused_softmax=True, dropout=True))
    products = ["probability gradient", "value gradient", "query gradient", "key gradient"]
    both = forward["scores forward"] + 3 * forward["context forward"]
    assert sum(backward[name] for name in products) == pytest.approx(both)


def test_fusing_the_softmax_spares_passes_over_the_scores() -> None:
    def total(fused: bool) -> float:
        return sum(seconds for _, seconds in unfused_forward(GPU, SHAPE, fused_softmax=fused, dropout=True))

    assert total(fused=False) > 1.5 * total(fused=True)
