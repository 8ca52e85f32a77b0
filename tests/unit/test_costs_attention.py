"""Attention by hand, on a toy GPU whose kernels lose no time but what a test gives them, and on real sheets."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import topologies
from sim.costs.attention import (
    BACKWARD,
    LAWS,
    Shape,
    flash_backward,
    flash_forward,
    flash_lengths,
    latent_decode,
    num_kept_blocks,
    paged_decode,
    paged_prefill,
    unfused_backward,
    unfused_forward,
)
from sim.costs.law import Law, starting_fit
from topologies.hardware import Fit, Gpu

A100, H100, V100 = map(topologies.gpu, ("a100-80gb-sxm", "h100-80gb-sxm", "v100-32gb-sxm"))
SHAPE = Shape(batch=4, seq_len=8192, num_heads=32, num_kv_heads=32, head_dim=128, value_dim=128, precision="fp16")
PREFILL_BF16, _, DECODE_BF16, DECODE_FP8 = LAWS
HEADS = {"num_heads": 32, "num_kv_heads": 8, "head_dim": 128}
US = 1e-6

FREE = {
    "floor": 0.0, "rate": 1.0, "rate_narrow": 1.0, "rate_wide": 1.0, "tile": 0.0, "tile_narrow": 1.0, "tile_wide": 1.0,
    "step": 0.0, "step_narrow": 1.0, "step_wide": 1.0, "unevenness": 0.0, "least_split": 4.0, "combine": 0.0,
    "throttling": 0.0, "operand_share": np.inf, "write_life": 0.0, "write_step": 0.0, "write_share": np.inf,
    "memory_share": 1.0, "l2_rate": 2.0, "l2_share": 0.5, "tail": 1.0, "unhidden": 0.0,
    "combine_part": 0.0, "combine_number": 0.0, "plan": 0.0, "plan_row": 0.0, "wide_group": 0.0, "turn": 0.0,
    "turn_share": np.inf,
}  # fmt: skip
"""Parameters of a kernel that loses no time."""


def toy(num_sms: int = 100, rate_of_sm: float = 8e12, **values: float) -> Gpu:
    """100 SMs of 8 TFLOP/s, so FlashAttention 3; 1 TB/s; an L2 of 100 MB."""
    fit = Fit(values={**FREE, **values}, sources={})
    return replace(
        H100,
        peak_flops={"bf16": num_sms * rate_of_sm, "fp16": num_sms * rate_of_sm},
        num_sms=num_sms,
        memory_bandwidth=1e12,
        l2_nbytes=1e8,
        fits={law.operation: fit for law in LAWS},
    )


def prefill(gpu: Gpu, num_new: int, *, batch: int = 1, cached: int = 0, heads: int = 1, kv_heads: int = 1) -> float:
    one = {"num_heads": heads, "num_kv_heads": kv_heads, "head_dim": 128}
    return paged_prefill(gpu, (num_new,) * batch, (cached,) * batch, **one)


# Prefill


def test_a_tile_takes_its_start_and_its_scores() -> None:
    """100 sequences of 128: a tile for each SM, 128 x 128 scores of 512 FLOPs / 8 TFLOP/s + 17 ps = 81 ps."""
    expected = 1 * US + 128 * 128 * 81e-12
    assert prefill(toy(tile=1 * US), 128, batch=100) == pytest.approx(expected)


def test_a_causal_tile_meets_its_own_and_earlier_keys() -> None:
    """50 sequences of 256: 50 tiles meet 128 keys, 50 meet 256; the longest bind, as each SM has just one."""
    assert prefill(toy(), 256, batch=50) == pytest.approx(256 * 128 * 81e-12)


def test_many_tiles_even_out() -> None:
    """5,000 sequences of 256, 100 tiles an SM of 192 keys in the mean."""
    assert prefill(toy(), 256, batch=5000) == pytest.approx(100 * 192 * 128 * 81e-12)


def test_heads_that_share_keys_fill_a_tile_together_from_hopper_on_but_not_before() -> None:
    """16 tokens x 8 heads: one tile of 128 rows; FlashAttention 2 has 8 tiles of 64, on an SM each as long as one."""
    packed = prefill(toy(), 16, batch=100, heads=8)
    assert packed == pytest.approx(128 * 128 * 81e-12)
    ampere = toy(rate_of_sm=2e12)
    per_score = 512 / 2e12 + 50e-12
    assert prefill(ampere, 16, batch=100, heads=8) == pytest.approx(8 * 64 * 128 * per_score)


def test_few_rows_are_half_a_tile() -> None:
    assert prefill(toy(), 64, batch=100) == pytest.approx(64 * 128 * 81e-12)


def test_a_chunk_meets_the_whole_cache() -> None:
    """100 chunks of 128 after 1,280 keys: 11 blocks instead of 1."""
    assert prefill(toy(), 128, batch=100, cached=1280) == pytest.approx(11 * prefill(toy(), 128, batch=100))


def test_too_few_tiles_split_a_long_cache() -> None:
    """One chunk of 128 after 8,064: 64 blocks, at least 4 each: 16 SMs at 4 blocks, then 3 us to add them up."""
    assert prefill(toy(combine=3 * US), 128, cached=8064) == pytest.approx(4 * 128 * 128 * 81e-12 + 3 * US)


def test_the_longest_sequence_of_a_batch_binds() -> None:
    gpu = toy(combine=1.0)
    alone = {"num_heads": 64, "num_kv_heads": 64, "head_dim": 128}
    long = paged_prefill(gpu, (512,), (0,), **alone)
    assert paged_prefill(gpu, (512, 1, 1), (0, 0, 0), **alone) == pytest.approx(long, rel=0.1)


def test_writing_to_the_cache_is_a_thread_block_per_token() -> None:
    """1,024 x 100 tokens of 4 heads: blocks of 512 threads, 4 at once on each of 100 SMs: 256 rounds of 3 us."""
    life = prefill(toy(write_life=3 * US), 1024, batch=100, heads=4, kv_heads=4)
    assert life - prefill(toy(), 1024, batch=100, heads=4, kv_heads=4) == pytest.approx(256 * 3 * US)


def test_a_window_bounds_what_a_query_meets() -> None:
    gpu = toy()
    seconds = [paged_prefill(gpu, (8192,), (0,), **HEADS, window=window) for window in (128, 1024, 4096, 8192, None)]
    assert seconds == sorted(seconds)
    assert seconds[-2] == seconds[-1]
    assert seconds[0] < seconds[-1] / 16


@pytest.mark.parametrize("gpu", [A100, H100, topologies.gpu("b200-sxm")], ids=lambda gpu: gpu.name)
def test_chunks_of_a_prompt_take_at_least_as_long_as_the_whole(gpu: Gpu) -> None:
    whole = paged_prefill(gpu, (8192,), (0,), **HEADS)
    chunks = [paged_prefill(gpu, (1024,), (1024 * index,), **HEADS) for index in range(8)]
    assert chunks == sorted(chunks)
    assert whole <= sum(chunks) <= 2 * whole


def test_a_call_of_single_tokens_is_decoding() -> None:
    assert paged_prefill(H100, (1, 1), (99, 999), **HEADS) == paged_decode(H100, (100, 1000), **HEADS)


# Decoding


def test_a_large_batch_takes_the_time_of_its_bytes() -> None:
    """1,000 x 10,000 keys of 8 heads, 2 x 2 x 128 bytes each: 40.96 GB at 1 TB/s."""
    assert paged_decode(toy(), (10_000,) * 1000, **HEADS) == pytest.approx(40.96e-3)


def test_an_fp8_cache_has_half_the_bytes() -> None:
    fp8 = paged_decode(toy(), (10_000,) * 1000, **HEADS, cache_precision="fp8")
    assert fp8 == pytest.approx(20.48e-3)


def test_tiles_come_in_rounds() -> None:
    """20 sequences x 8 heads on 100 SMs: two rounds of 3 us, however few keys."""
    assert paged_decode(toy(tile=3 * US), (16,) * 20, **HEADS) == pytest.approx(6 * US)
    assert paged_decode(toy(tile=3 * US), (16,) * 12, **HEADS) == pytest.approx(3 * US)


def test_a_long_cache_is_split_and_added_up() -> None:
    """One sequence, one head, 12,800 keys: 100 blocks, one for each SM but at most 32 parts: 4 blocks each in 25 parts.

    A step takes as long as 128 keys x 512 bytes x 100 SMs at 1 TB/s: 6.55 us; three follow the first.
    """
    gpu = toy(tile=2 * US, step=1.0, combine=1 * US, combine_part=0.1 * US)
    seconds = paged_decode(gpu, (12_800,), num_heads=1, num_kv_heads=1, head_dim=128)
    assert seconds == pytest.approx((2 + 3 * 6.5536 + 1 + 25 * 0.1) * US)


def test_one_head_per_key_is_not_split_before_hopper() -> None:
    one = {"num_kv_heads": 1, "head_dim": 128}
    alone, shared = (paged_decode(A100, (32_768,), num_heads=heads, **one) for heads in (1, 8))
    assert alone > 5 * shared


def test_a_cache_that_was_just_read_comes_from_the_l2() -> None:
    """20.5 MB of an L2 that keeps 50: at twice the bandwidth. 41 GB are never found there."""
    small, large = (5_000,), (10_000,) * 1000
    gpu = toy()
    assert paged_decode(gpu, small, **HEADS) == pytest.approx(20.48e-6)
    assert paged_decode(gpu, small, **HEADS, warm=True) == pytest.approx(10.24e-6)
    assert paged_decode(gpu, large, **HEADS, warm=True) == paged_decode(gpu, large, **HEADS)


@pytest.mark.parametrize("gpu", [A100, H100, topologies.gpu("b200-sxm")], ids=lambda gpu: gpu.name)
def test_decoding_takes_longer_as_caches_and_batches_grow(gpu: Gpu) -> None:
    by_length = [paged_decode(gpu, (2**power,) * 8, **HEADS) for power in range(7, 18)]
    by_batch = [paged_decode(gpu, (4096,) * 2**power, **HEADS) for power in range(10)]
    assert by_length == sorted(by_length)
    assert by_batch == sorted(by_batch)


def test_a_window_bounds_what_decoding_reads() -> None:
    assert paged_decode(H100, (50_000,) * 8, **HEADS, window=4096) == paged_decode(H100, (4096,) * 8, **HEADS)


def test_uneven_caches_take_no_less_than_even_ones() -> None:
    even, uneven = (8192,) * 64, (64,) * 63 + (64 * 8192 - 63 * 64,)
    assert paged_decode(H100, uneven, **HEADS) > 0.95 * paged_decode(H100, even, **HEADS)


# Latent decoding


def test_latent_decoding_is_bound_by_products_with_many_heads_and_by_memory_with_few() -> None:
    """128 x 4,096 tokens: 2 x 1,088 FLOPs a head, at 660 TFLOP/s; 1,152 bytes a token at 3 TB/s, plus queries."""
    lengths, launches = (4096,) * 128, 2 * H100.fit["kernel_latency"]
    products = 2 * 128 * 4096 * 128 * 1088 / 660e12
    assert latent_decode(H100, lengths, num_heads=128) - launches == pytest.approx(products, rel=2e-3)
    memory = (128 * 4096 * 1152 + 2 * 128 * 16 * 1088) / 3000e9
    assert latent_decode(H100, lengths, num_heads=16) - launches == pytest.approx(memory, rel=2e-3)


def test_an_fp8_latent_is_656_bytes_a_token() -> None:
    lengths, launches = (4096,) * 128, 2 * H100.fit["kernel_latency"]
    narrow, wide = (
        latent_decode(H100, lengths, num_heads=1, cache_precision=name) - launches for name in ("fp8", "bf16")
    )
    assert narrow / wide == pytest.approx(656 / 1152, rel=1e-3)


# Training


def test_flash_runs_long_products_at_the_published_share_of_the_peak() -> None:
    """4 s^2 d FLOPs a head, of 64 x 64 blocks the 65 x 32 on and below the diagonal; backward 2.5 times them."""
    flops = 4 * 4 * 32 * 8192**2 * 128 * 65 / 128
    gpu = replace(toy(), fit=A100.fit)
    latency = gpu.fit["kernel_latency"]
    forward = flops / (800e12 * gpu.fit["flash_forward_efficiency"]) + latency
    backward = 2.5 * flops / (800e12 * gpu.fit["flash_backward_efficiency"]) + latency
    assert flash_forward(gpu, SHAPE) == pytest.approx(forward, rel=0.01)
    assert flash_backward(gpu, SHAPE) == pytest.approx(backward, rel=0.01)


def test_a_measured_backward_counts_for_backward_alone() -> None:
    """At half the level, all but the launch takes twice as long; forward as before. The law says the same."""
    gpu, latency = replace(toy(), fit=A100.fit), A100.fit["kernel_latency"]
    fits = {**gpu.fits, BACKWARD.operation: Fit(values={"level": 0.5}, sources={})}
    measured, shape = replace(gpu, fits=fits), replace(SHAPE, precision="bf16")
    assert flash_backward(measured, shape) - latency == pytest.approx(2 * (flash_backward(gpu, shape) - latency))
    assert flash_forward(measured, shape) == flash_forward(gpu, shape)
    points = {"batch": 4.0, "seq_len": 8192.0, "num_heads": 32.0, "head_dim": 128.0, "causal": 1.0}
    columns = {name: np.array([size]) for name, size in points.items()}
    assert BACKWARD.seconds(gpu, {"level": 0.5}, columns) == pytest.approx([flash_backward(measured, shape)])


@pytest.mark.parametrize("window", [None, 1, 5, 100])
@pytest.mark.parametrize("num_keys", [None, 12, 40])
def test_pairs_are_those_that_the_mask_leaves(window: int | None, num_keys: int | None) -> None:
    shape = replace(SHAPE, seq_len=12, window=window, num_keys=num_keys)
    before = shape.keys - 12
    assert shape.num_pairs == sum(min(before + query + 1, window or shape.keys) for query in range(12))
    assert replace(shape, causal=False).num_pairs == 12 * shape.keys


def test_a_causal_kernel_nears_half_the_work_as_sequences_grow() -> None:
    ratios = []
    for seq_len in (1024, 4096, 16384):
        shape = replace(SHAPE, seq_len=seq_len)
        ratios.append(flash_forward(A100, shape) / flash_forward(A100, replace(shape, causal=False)))
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[-1] == pytest.approx(0.5, rel=0.03)


def test_few_heads_and_short_sequences_leave_sms_idle() -> None:
    """One head of 1,024 tokens is 8 tiles on 100 SMs: 8 heads take hardly longer than one."""
    gpu = replace(toy(), fit=A100.fit)
    one = replace(SHAPE, batch=1, num_heads=1, num_kv_heads=1, seq_len=1024)
    assert flash_forward(gpu, replace(one, num_heads=8)) == pytest.approx(flash_forward(gpu, one), rel=0.08)


def test_narrow_heads_pay_more_for_their_softmax() -> None:
    narrow = replace(SHAPE, num_heads=64, num_kv_heads=64, head_dim=64, value_dim=64)
    assert flash_forward(H100, narrow) > 1.1 * flash_forward(H100, SHAPE)


def test_narrow_values_save_their_products() -> None:
    """Queries and keys 192 wide, values 128, where the softmax costs 17 of the 81 ps of a usual score.

    Forward 2 x (192 + 128) FLOPs: 80 + 17 ps. Backward the same, times 2 x (3 x 192 + 2 x 128) / (192 + 128) / 2.
    """
    gpu = replace(toy(), fit=A100.fit)
    latent, latency = replace(SHAPE, head_dim=192, value_dim=128), gpu.fit["kernel_latency"]
    forward, backward = (
        (cost(gpu, latent) - latency) / (cost(gpu, SHAPE) - latency) for cost in (flash_forward, flash_backward)
    )
    assert forward == pytest.approx(97 / 81)
    assert backward == pytest.approx(97 / 81 * (3 * 192 + 2 * 128) / (192 + 128) / 2.5)


def test_sequences_packed_into_one_batch_do_not_see_each_other() -> None:
    whole, equal = (8192,), (1024,) * 8
    one = replace(SHAPE, batch=1)
    assert flash_lengths(A100, one, whole) == pytest.approx(flash_forward(A100, one))
    assert flash_lengths(A100, one, equal) == pytest.approx(flash_forward(A100, replace(SHAPE, batch=8, seq_len=1024)))
    assert (
        flash_lengths(A100, one, equal) < flash_lengths(A100, one, (4096, 2048, 2048)) < flash_lengths(A100, one, whole)
    )


def test_a_window_keeps_the_blocks_that_it_reaches_into() -> None:
    """1024 tokens are 8 blocks of 128. A window of 256 tokens: row 0 of block i sees 255 tokens back, into 2 blocks
    more: 1 + 2 + 6 x 3 = 21 of 64 blocks. Of 129 tokens: 128 back, just 1 block more: 1 + 7 x 2 = 15. Of 1: its own.
    """
    shape = replace(SHAPE, seq_len=1024)
    kept = {window: num_kept_blocks(replace(shape, window=window)) for window in (1, 129, 130, 256, 896, 897, 1024)}
    assert kept == {1: 8, 129: 15, 130: 21, 256: 21, 896: 36, 897: 36, 1024: 36}
    assert num_kept_blocks(shape) == 36 == 8 * 9 // 2
    assert num_kept_blocks(replace(shape, causal=False)) == 64


@pytest.mark.parametrize("window", [1, 129, 130, 256, 1024, 4096, 8192, None])
def test_a_flash_kernel_works_on_the_blocks_that_are_kept(window: int | None) -> None:
    gpu = replace(toy(), fit=A100.fit, memory_bandwidth=1e15)
    shape, latency = replace(SHAPE, window=window), gpu.fit["kernel_latency"]
    ratio = (flash_forward(gpu, shape) - latency) / (flash_forward(gpu, SHAPE) - latency)
    assert ratio == pytest.approx(num_kept_blocks(shape) / num_kept_blocks(SHAPE), rel=0.01)


def test_a_window_saves_unfused_attention_nothing() -> None:
    windowed = replace(SHAPE, window=1024)
    unfused = [unfused_forward(A100, shape, fused_softmax=True, dropout=False) for shape in (SHAPE, windowed)]
    assert unfused[0] == unfused[1]


# Laws


def points(num: int, tokens: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    group, kv_heads = random.choice([1.0, 4, 8], num), random.choice([1.0, 2, 8], num)
    return {
        "batch": random.choice([1.0, 7, 64, 1024], num),
        tokens: random.integers(2, 20_000, num).astype(float),
        "num_heads": group * kv_heads,
        "num_kv_heads": kv_heads,
        "head_dim": random.choice([64.0, 96, 128, 256], num),
    }


@pytest.mark.parametrize("gpu", [A100, H100, topologies.gpu("b200-sxm"), V100], ids=lambda gpu: gpu.name)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.operation)
def test_an_array_is_its_points_one_by_one(gpu: Gpu, law: Law[Gpu]) -> None:
    values, columns = starting_fit(law).values, points(60, law.inputs[1])
    together = law.seconds(gpu, values, columns)
    one_by_one = [
        law.seconds(gpu, values, {name: column[index : index + 1] for name, column in columns.items()})[0]
        for index in range(60)
    ]
    np.testing.assert_allclose(together, one_by_one, rtol=1e-12)
    assert np.all(np.isfinite(together))
    assert np.all(together > 0)


def test_a_call_is_what_the_law_says_of_its_batch() -> None:
    """The laws speak of benchmarks, whose caches are warm and whose `kv_len` does not count the new token."""
    column = {name: np.array([float(value)]) for name, value in HEADS.items()}
    values = H100.fits.get(PREFILL_BF16.operation, starting_fit(PREFILL_BF16)).values
    law = PREFILL_BF16.seconds(H100, values, {"batch": np.array([4.0]), "seq_len": np.array([777.0]), **column})
    assert paged_prefill(H100, (777,) * 4, (0,) * 4, **HEADS) == pytest.approx(float(law[0]))
    for law_of, precision in ((DECODE_BF16, "bf16"), (DECODE_FP8, "fp8")):
        values = H100.fits.get(law_of.operation, starting_fit(law_of)).values
        law = law_of.seconds(H100, values, {"batch": np.array([4.0]), "kv_len": np.array([776.0]), **column})
        call = paged_decode(H100, (777,) * 4, **HEADS, cache_precision=precision, warm=True)
        assert call == pytest.approx(float(law[0]))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.operation)
def test_a_fit_is_physics_and_no_table(law: Law[Gpu]) -> None:
    assert len(law.parameters) <= 30


@pytest.mark.parametrize(
    "call",
    [
        lambda: flash_forward(H100, SHAPE),
        lambda: paged_decode(H100, (1000,) * 64, **HEADS),
        lambda: paged_prefill(H100, (1000,), (0,), **HEADS),
    ],
    ids=["flash", "decode", "prefill"],
)
def test_a_call_known_before_takes_microseconds(call: Callable[[], float]) -> None:
    call()
    best = min(_timed(call) for _ in range(200))
    assert best < 30 * US


def _timed(call: Callable[[], float]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


# Unfused attention


def test_unfused_attention_takes_at_least_the_time_of_its_scores_through_memory() -> None:
    """GPT-22B, TP8, batch 4: 32 x 8 heads x 2048^2 = 134M scores.

    Forward: write 2, softmax 1 + 2, dropout 2 + 2 + 1, read 2 = 12 bytes a score, 1.61 GB, 1.02 ms at 1.58 TB/s.
    """
    shape = Shape(batch=4, seq_len=2048, num_heads=8, num_kv_heads=8, head_dim=96, value_dim=96, precision="fp16")
    bound = 12 * shape.num_scores / (A100.memory_bandwidth * A100.fit["memory_efficiency"])
    total = sum(seconds for _, seconds in unfused_forward(A100, shape, fused_softmax=True, dropout=True))
    assert 0.9 * bound < total < 1.4 * bound


def test_unfused_backward_takes_at_least_seventeen_bytes_a_score() -> None:
    """Write 2, read 2, dropout 2 + 1 + 2, softmax (2 + 2) / 2 + 2, read 2, read 2."""
    shape = Shape(batch=4, seq_len=2048, num_heads=8, num_kv_heads=8, head_dim=96, value_dim=96, precision="fp16")
    bound = 17 * shape.num_scores / (A100.memory_bandwidth * A100.fit["memory_efficiency"])
    total = sum(seconds for _, seconds in unfused_backward(A100, shape, fused_softmax=True, dropout=True))
    assert 0.9 * bound < total < 1.4 * bound


def test_unfused_backward_names_four_products_two_for_each_of_forward() -> None:
    shape = replace(SHAPE, seq_len=2048)
    forward = dict(unfused_forward(A100, shape, fused_softmax=True, dropout=True))
    backward = dict(unfused_backward(A100, shape, fused_softmax=True, dropout=True))
    products = ["probability gradient", "value gradient", "query gradient", "key gradient"]
    both = forward["scores forward"] + 3 * forward["context forward"]
    assert sum(backward[name] for name in products) == pytest.approx(both)


def test_fusing_the_softmax_spares_passes_over_the_scores() -> None:
    def total(fused: bool) -> float:
        return sum(seconds for _, seconds in unfused_forward(A100, SHAPE, fused_softmax=fused, dropout=True))

    assert total(fused=False) > 1.5 * total(fused=True)


def test_unfused_products_are_as_wide_as_what_they_multiply() -> None:
    """Heads of 1024, so that the products and not the scores take the time; values twice as wide."""
    narrow = replace(SHAPE, head_dim=1024, value_dim=1024)
    times = [
        dict(unfused_backward(A100, shape, fused_softmax=True, dropout=False))
        for shape in (narrow, replace(narrow, value_dim=2048))
    ]
    grown = {name for name in times[0] if times[1][name] > 1.5 * times[0][name]}
    assert grown == {"probability gradient", "value gradient"}


# Queries that meet other keys


@pytest.mark.parametrize("kernel", [flash_forward, flash_backward])
def test_half_the_keys_are_half_the_work(kernel: Callable[[Gpu, Shape], float]) -> None:
    whole = replace(SHAPE, causal=False)
    half = replace(whole, num_keys=4096)
    assert kernel(H100, half) / kernel(H100, whole) == pytest.approx(0.5, rel=0.05)
    assert num_kept_blocks(half) == num_kept_blocks(whole) // 2
    assert half.num_scores == whole.num_scores // 2


@pytest.mark.parametrize("window", [None, 1024])
def test_chunks_of_queries_meet_together_what_the_whole_meets(window: int | None) -> None:
    """The i-th of 8 chunks is the last 1,024 of (i + 1) x 1,024 keys."""
    whole = replace(SHAPE, window=window)
    chunks = [replace(whole, seq_len=1024, num_keys=1024 * (i + 1)) for i in range(8)]
    assert sum(map(num_kept_blocks, chunks)) == num_kept_blocks(whole)
    seconds = sum(flash_forward(H100, chunk) for chunk in chunks)
    assert seconds == pytest.approx(flash_forward(H100, whole), rel=0.25 if window else 0.1)


def test_other_keys_are_read_once_and_queries_and_output_as_ever() -> None:
    """Bytes: 2 x 4 x 32 heads x (8192 queries + 1024 keys) x (128 + 128)."""
    assert replace(SHAPE, causal=False, num_keys=1024).operand_nbytes == 2 * 4 * 32 * (8192 + 1024) * 256
