"""Attention by hand, on an A100's sheet."""

from dataclasses import replace

import pytest

import topologies
from sim.costs.attention import (
    Shape,
    flash_backward,
    flash_forward,
    num_kept_blocks,
    unfused_backward,
    unfused_forward,
)

GPU = topologies.gpu("a100-80gb-sxm")
SHAPE = Shape(batch=4, seq_len=8192, num_heads=32, num_kv_heads=32, head_dim=128, value_dim=128, precision="fp16")


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
    shape = Shape(batch=4, seq_len=2048, num_heads=8, num_kv_heads=8, head_dim=96, value_dim=96, precision="fp16")
    bound = 12 * shape.num_scores / (GPU.memory_bandwidth * GPU.fit["memory_efficiency"])
    total = sum(seconds for _, seconds in unfused_forward(GPU, shape, fused_softmax=True, dropout=True))
    assert bound < total < 1.15 * bound


def test_unfused_backward_takes_at_least_seventeen_bytes_a_score() -> None:
    """Write 2, read 2, dropout 2 + 1 + 2, softmax (2 + 2) / 2 + 2, read 2, read 2."""
    shape = Shape(batch=4, seq_len=2048, num_heads=8, num_kv_heads=8, head_dim=96, value_dim=96, precision="fp16")
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


def test_a_window_keeps_the_blocks_that_it_reaches_into() -> None:
    """1024 tokens are 8 blocks of 128. A window of 256 tokens: row 0 of block i sees 255 tokens back, into 2 blocks
    more: 1 + 2 + 6 x 3 = 21 of 64 blocks. Of 129 tokens: 128 back, just 1 block more: 1 + 7 x 2 = 15. Of 1: its own.
    """
    shape = replace(SHAPE, seq_len=1024)
    kept = {window: num_kept_blocks(replace(shape, window=window)) for window in (1, 129, 130, 256, 896, 897, 1024)}
    assert kept == {1: 8, 129: 15, 130: 21, 256: 21, 896: 36, 897: 36, 1024: 36}
    assert num_kept_blocks(shape) == 36 == 8 * 9 // 2
    assert num_kept_blocks(replace(shape, causal=False)) == 64


def test_a_window_saves_flash_its_share_of_the_blocks_and_unfused_attention_nothing() -> None:
    """8192 tokens, window 1024: of 64 rows of blocks the first 9 have 1, ..., 9, the others 9: 540 of 2080."""
    windowed = replace(SHAPE, window=1024)
    latency = GPU.fit["kernel_latency"]
    assert (flash_forward(GPU, windowed) - latency) / (flash_forward(GPU, SHAPE) - latency) == pytest.approx(540 / 2080)
    unfused = [unfused_forward(GPU, shape, fused_softmax=True, dropout=False) for shape in (SHAPE, windowed)]
    assert unfused[0] == unfused[1]


def test_a_window_as_long_as_the_sequence_is_none() -> None:
    for shape in (SHAPE, replace(SHAPE, batch=1, num_heads=1, num_kv_heads=1, seq_len=1024)):
        windowed = replace(shape, window=shape.seq_len)
        assert flash_forward(GPU, windowed) == flash_forward(GPU, shape)
        assert flash_backward(GPU, windowed) == flash_backward(GPU, shape)


def test_narrow_values_save_their_products() -> None:
    """Queries and keys 192 wide, values 128. Forward 2 x (192 + 128) FLOPs a score; backward 2 x (3 x 192 + 2 x 128):
    scores, gradients of queries and of keys are 192 wide, gradients of probabilities and of values 128."""
    latent = replace(SHAPE, head_dim=192, value_dim=128)
    latency = GPU.fit["kernel_latency"]
    forward, backward = (
        (cost(GPU, latent) - latency) / (cost(GPU, SHAPE) - latency) for cost in (flash_forward, flash_backward)
    )
    assert forward == pytest.approx((192 + 128) / 256)
    assert backward == pytest.approx((3 * 192 + 2 * 128) / (5 * 128))


def test_unfused_products_are_as_wide_as_what_they_multiply() -> None:
    """Heads of 1024, so that the products and not the scores take the time; values twice as wide."""
    narrow = replace(SHAPE, head_dim=1024, value_dim=1024)
    times = [
        dict(unfused_backward(GPU, shape, fused_softmax=True, dropout=False))
        for shape in (narrow, replace(narrow, value_dim=2048))
    ]
    grown = {name for name in times[0] if times[1][name] > 1.5 * times[0][name]}
    assert grown == {"probability gradient", "value gradient"}
