"""Grouped products by hand: ten SMs, 1 TFLOP/s each, 1 TB/s, one microsecond to start."""

from dataclasses import replace

import numpy as np
import pytest

from sim.costs.expert_load import balanced_load, balanced_rows, load_of, power_law_load, power_law_rows
from sim.costs.gemm import law_of as law_of_gemm
from sim.costs.grouped_gemm import LAW_OF, LAWS, grouped_gemm, grouped_weight_gradient, is_measured
from sim.costs.law import Array, Points, starting_fit
from topologies.hardware import Fit, Gpu

PLAIN = {
    "start": 10e-6, "expert": 1e-6, "rate": 1.0, "fetch": 1e-9, "prologue": 0.0, "memory": 1.0, "exposed": 0.0,
    "l2_share": 1.0, "l2_speed": 1.0, "stage": 0.0, "move": 1.0, "activation": 1.0, "untuned": 2.0,
}  # fmt: skip
"""Nothing but tiles and bytes: every tile at the peak, what is shorter wholly hidden."""

TOY = Gpu(
    name="toy",
    peak_flops={"bf16": 1e13, "fp16": 1e13, "fp8": 2e13},
    memory_nbytes=1e10,
    memory_bandwidth=1e12,
    num_sms=10,
    l2_nbytes=1.0,
    power_limit=100.0,
    fit=Fit(values={"gemm_efficiency": 1.0, "memory_efficiency": 1.0, "kernel_latency": 1e-6}, sources={}),
    fits={law.operation: Fit(values=PLAIN, sources={}) for law in LAWS},
)
REAL = replace(TOY, fits={law.operation: starting_fit(law) for law in LAWS})


def points(**given: float | list[float]) -> Points:
    usual: dict[str, float | list[float]] = {
        "num_tokens": 64.0, "hidden": 1024.0, "ffn": 512.0, "top_k": 2.0, "num_experts": 8.0, "tp": 1.0, "ep": 1.0,
        "skew": 0.0, "untuned": 0.0,
    }  # fmt: skip
    columns = np.broadcast_arrays(*(np.atleast_1d(np.array(value, float)) for value in (usual | given).values()))
    return dict(zip(usual | given, map(np.array, columns), strict=True))


def layer(gpu: Gpu, precision: str = "bf16", **given: float | list[float]) -> Array:
    law = LAW_OF[precision]
    return law.seconds(gpu, gpu.fits[law.operation].values, points(**given))


def test_many_rows_take_the_time_of_their_tiles() -> None:
    """2 experts x 1280 rows, n = 2560, k = 10^5: 200 tiles of 128 x 256 fill 20 waves of 10 SMs. Each tile 2 x 128 x
    256 x 10^5 FLOP at 10^12: 6.5536 ms; with the start 131.073 ms. Bytes 2 x (2 x 2560 + 2560) x 10^5: 1.5 ms."""
    assert grouped_gemm(TOY, (1280, 1280), 2560, 100_000, "bf16") == pytest.approx(0.131073, rel=1e-6)


def test_one_tile_more_than_sms_is_one_wave_more() -> None:
    """Eleven experts of 128 rows and 256 columns on ten SMs: two waves of 2 x 128 x 256 x 10^5 FLOP at 10^12. Small
    tiles, which would fill the second wave better, are slow here: fetching costs all."""
    gpu = replace(TOY, fits={law.operation: Fit(values=PLAIN | {"fetch": 1e9}, sources={}) for law in LAWS})
    ten, eleven = (grouped_gemm(gpu, (128,) * n, 256, 100_000, "bf16") - 1e-6 for n in (10, 11))
    assert ten == pytest.approx(6.5536e-3)
    assert eleven == pytest.approx(2 * ten)


def test_few_rows_take_the_time_of_the_weights_of_busy_experts() -> None:
    """3 of 4 experts have a row: 3 x 1000 x 10^5 x 2 B, and 3 x (10^5 + 1000) x 2 B of rows, at 1 TB/s; half in fp8."""
    seconds = 6.00606e-4 + 1e-6
    slow = replace(TOY, peak_flops={"bf16": 1e15, "fp16": 1e15, "fp8": 1e15})
    assert grouped_gemm(slow, (1, 0, 1, 1), 1000, 100_000, "bf16") == pytest.approx(seconds)
    assert grouped_gemm(slow, (1, 0, 1, 1), 1000, 100_000, "fp16") == pytest.approx(seconds)
    in_fp8 = grouped_gemm(slow, (1, 0, 1, 1), 1000, 100_000, "fp8")
    assert in_fp8 == pytest.approx(3 * (1e8 + 1e5 + 2e3) / 1e12 + 1e-6)


def test_formats_that_nobody_measured_run_like_fp8_with_their_own_peak_and_bytes() -> None:
    """Many rows, 200 tiles in 20 waves of 10 SMs, 2 x 128 x 256 x 10^5 FLOP each: mxfp8 at fp8's 2 x 10^12 an SM takes
    as long, nvfp4 at 4 x 10^12 half as long. Few rows: 10^8 weights of 1 + 1/32 and 1/2 + 1/16 bytes at 1 TB/s."""
    law = law_of_gemm("fp8")
    alike = {law.operation: starting_fit(law), "gemm nvfp4": starting_fit(law_of_gemm("nvfp4"))}
    rate = starting_fit(law).values["rate"]
    assert starting_fit(law_of_gemm("nvfp4")).values["rate"] == rate
    gpu = replace(TOY, peak_flops=TOY.peak_flops | {"fp4": 4e13}, fits={**TOY.fits, **alike})
    many = {p: grouped_gemm(gpu, (1280, 1280), 2560, 100_000, p) - 1e-6 for p in ("fp8", "mxfp8", "nvfp4")}
    assert many["fp8"] == many["mxfp8"] == pytest.approx(65.536e-3, rel=1e-6)
    assert many["nvfp4"] == pytest.approx(32.768e-3, rel=1e-6)
    fast = replace(gpu, peak_flops={"fp8": 1e15, "fp4": 1e15})
    for precision, nbytes in (("mxfp8", 33 / 32), ("nvfp4", 9 / 16)):
        seconds = grouped_gemm(fast, (1,), 1000, 100_000, precision) - 1e-6
        assert seconds == pytest.approx(((1e8 + 1e5) * nbytes + 2e3) / 1e12, rel=1e-6)


def test_nvfp4_falls_behind_its_peak_as_far_as_dense_products_do() -> None:
    """A dense product that reaches half as much of its peak as in fp8 makes a grouped one take twice as long."""
    fp8, nvfp4 = (starting_fit(law_of_gemm(precision)) for precision in ("fp8", "nvfp4"))
    half = replace(nvfp4, values={**nvfp4.values, "rate": fp8.values["rate"] / 2})
    gpu = replace(TOY, peak_flops=TOY.peak_flops | {"fp4": 4e13}, fits={**TOY.fits, "gemm nvfp4": half})
    assert grouped_gemm(gpu, (1280, 1280), 2560, 100_000, "nvfp4") - 1e-6 == pytest.approx(65.536e-3, rel=1e-6)
    assert not is_measured("nvfp4")
    assert is_measured("fp8")


def test_the_expert_with_most_rows_ends_a_weight_gradient() -> None:
    """Outputs of 128 x 256: one tile per expert. Five SMs of ten have one: the longest sums 6000 rows, 2 x 128 x 256 x
    6000 FLOP at 10^12."""
    skewed = grouped_weight_gradient(TOY, (6000, 1000, 1000, 1000, 1000), 256, 128, "bf16")
    even = grouped_weight_gradient(TOY, (2000,) * 5, 256, 128, "bf16")
    assert skewed - 1e-6 == pytest.approx(2 * 128 * 256 * 6000 / 1e12)
    assert even - 1e-6 == pytest.approx(2 * 128 * 256 * 2000 / 1e12)


def test_a_gradient_that_is_added_moves_more_bytes() -> None:
    """8 bytes an element instead of 2: 2 x 1000 x 1000 x 6 B more, at 1 TB/s."""
    fast = replace(TOY, peak_flops={"bf16": 1e16})
    times = [grouped_weight_gradient(fast, (16, 16), 1000, 1000, "bf16", output_nbytes=n) for n in (2, 8)]
    assert times[1] - times[0] == pytest.approx(12e-6)


def test_a_layer_is_two_products_and_what_is_done_to_its_rows() -> None:
    """One expert, 1280 tokens, hidden 25600, ffn 12800. Up: 10 x 100 tiles of 128 x 256 are 100 waves, k = 25600; down
    100 waves, k = 12800. Permuted 1280 x 25600 x (4 + 4) B, activated 1280 x 12800 x 6 B at 1 TB/s. Start 10 + 1 us."""
    tiles = 100 * 2 * 128 * 256 * (25_600 + 12_800) / 1e12
    rows = 1280 * 25_600 * 8e-12 + 1280 * 12_800 * 6e-12
    (seconds,) = layer(TOY, num_tokens=1280.0, hidden=25_600.0, ffn=12_800.0, top_k=1.0, num_experts=1.0)
    assert seconds == pytest.approx(tiles + rows + 11e-6)


def test_a_tile_that_nobody_chose_takes_twice_as_long() -> None:
    tuned, untuned = layer(TOY, hidden=25_600.0, untuned=[0.0, 1.0])
    (start,) = layer(replace(TOY, peak_flops={"bf16": 1e30}, memory_bandwidth=1e30), hidden=25_600.0)
    assert 1.9 < (untuned - start) / (tuned - start) <= 2


@pytest.mark.parametrize("precision", list(LAW_OF))
def test_points_together_take_what_each_takes_alone(precision: str) -> None:
    given = {"num_tokens": [1.0, 7.0, 300.0, 4096.0, 300.0], "ep": [1.0, 4.0, 8.0, 2.0, 2.0],
             "skew": [0.0, 1.2, 0.0, 1.01, 1.2], "tp": [1.0, 2.0, 1.0, 4.0, 1.0]}  # fmt: skip
    together = layer(REAL, precision, **given)
    alone = [layer(REAL, precision, **{name: column[i] for name, column in given.items()})[0] for i in range(5)]
    assert together == pytest.approx(alone, rel=1e-12)


def test_a_long_table_is_cut_without_a_seam() -> None:
    tokens = [float(1 + i % 500) for i in range(5000)]
    assert layer(REAL, num_tokens=tokens) == pytest.approx(np.tile(layer(REAL, num_tokens=tokens[:500]), 10), rel=1e-12)


@pytest.mark.parametrize("precision", list(LAW_OF))
@pytest.mark.parametrize("skew", [0.0, 1.01])
def test_more_tokens_never_take_less(precision: str, skew: float) -> None:
    """Balanced exactly; of a power law the draws differ from one number of tokens to the next."""
    tokens = [float(2**i) for i in range(2, 15)]
    times = layer(REAL, precision, num_tokens=tokens, num_experts=64.0, top_k=8.0, skew=skew)
    assert (np.diff(times) >= (0 if skew == 0 else -0.02 * times[:-1])).all()


def test_skewed_experts_are_never_faster_than_balanced_ones_with_as_many_full_tiles() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        rows = tuple(int(r) for r in random.multinomial(8 * 1024 - 8, random.dirichlet(np.ones(8))) + 1)
        for product in (grouped_gemm, grouped_weight_gradient):
            balanced = product(REAL, (1024,) * 8, 4096, 2048, "bf16")
            assert product(REAL, rows, 4096, 2048, "bf16") >= balanced * (1 - 1e-9)


def test_the_fullest_rank_of_a_skewed_layer_waits_longer_than_balanced_ones() -> None:
    balanced, mild, strong = layer(REAL, num_tokens=8192.0, ep=8.0, num_experts=64.0, skew=[0.0, 0.5, 1.2])
    assert balanced < mild < strong


def test_balanced_rows_differ_by_one_at_most() -> None:
    assert balanced_rows(10, 4) == (3, 3, 2, 2)
    assert balanced_rows(2, 4) == (1, 1, 0, 0)


def test_a_balanced_load_is_that_of_its_histogram() -> None:
    """33 rows on 2 experts are 17 and 16: two tiles of 16 rows and one, one of 32 each."""
    load = balanced_load(np.array([33.0]), np.array([2.0]))
    assert [float(tiles[0]) for tiles in load.tiles] == [3, 2, 2, 2]
    for rows, experts in ((33, 2), (5, 8), (4097, 16), (64, 64)):
        ours = balanced_load(np.array([float(rows)]), np.array([float(experts)]))
        counted = load_of(balanced_rows(rows, experts))
        assert ours.rows == counted.rows
        assert ours.active == counted.active
        assert ours.tiles == counted.tiles


@pytest.mark.parametrize("num_tokens", [1, 3, 100, 5000])
def test_a_power_law_deals_out_all_rows_and_no_token_twice_to_an_expert(num_tokens: int) -> None:
    rows = power_law_rows(num_tokens, 2, 8, 1, 1.2)
    assert sum(rows) == 2 * num_tokens
    assert max(rows) <= num_tokens
    assert list(rows) == sorted(rows, reverse=True)


def test_the_fullest_of_more_ranks_has_a_larger_part_of_the_rows() -> None:
    columns = (np.full(4, 4096.0), np.full(4, 8.0), np.full(4, 64.0), np.array([1.0, 4.0, 16.0, 64.0]), np.full(4, 1.2))
    rows = power_law_load(*columns).rows
    assert rows[0] == 4096 * 8
    assert (np.diff(rows * columns[3]) > 0).all()
