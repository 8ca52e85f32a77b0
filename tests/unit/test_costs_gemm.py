"""A matrix product by hand: a GPU of 10 SMs, 10 TFLOP/s, 1 TB/s, where every efficiency is one."""

import pytest

from sim.costs.gemm import TILES, gemm, num_waves, tile_efficiency
from topologies.hardware import Fit, Gpu


def make_gpu(kernel_latency: float = 0.0, memory_bandwidth: float = 1e12) -> Gpu:
    values = {"gemm_efficiency": 1.0, "memory_efficiency": 1.0, "kernel_latency": kernel_latency}
    return Gpu(
        name="toy",
        peak_flops={"fp16": 1e13},
        memory_nbytes=1e10,
        memory_bandwidth=memory_bandwidth,
        num_sms=10,
        l2_nbytes=1e6,
        power_limit=100.0,
        fit=Fit(values=values, sources={}),
    )


def test_full_waves_run_at_the_peak_plus_one_store_per_wave() -> None:
    """2560 x 1280 is 10 x 10 tiles of 256 x 128: ten full waves.

    Products: 2 x 2560 x 1280 x 8192 / 1e13 = 5.369 ms. Stores: 10 waves x 64 KiB / (2 x 1e12 / 10) = 3.28 us.
    """
    expected = 2 * 2560 * 1280 * 8192 / 1e13 + 10 * 65536 / 2e11
    assert gemm(make_gpu(), 2560, 1280, 8192, "fp16") == pytest.approx(expected, rel=1e-12)


def test_one_tile_more_than_a_wave_costs_another_wave() -> None:
    """10 tiles of 256 x 128 fill 10 SMs; 11 tiles take two waves."""
    assert num_waves(make_gpu(), (256, 128), 2560, 128) == 1
    assert num_waves(make_gpu(), (256, 128), 2561, 128) == 2
    assert num_waves(make_gpu(), (256, 128), 256, 128, batch=11) == 2


def test_a_row_beyond_a_full_wave_costs_more_than_its_flops() -> None:
    full, beyond = (gemm(make_gpu(), m, 1280, 8192, "fp16") for m in (2560, 2561))
    assert beyond > 1.02 * full


def test_smaller_tiles_are_never_more_efficient() -> None:
    efficiencies = [tile_efficiency(tile) for tile in TILES]
    assert efficiencies == sorted(efficiencies, reverse=True)
    assert tile_efficiency((256, 128)) == 1.0
    assert 0.8 < tile_efficiency((64, 64)) < 0.9


def test_a_skinny_product_takes_as_long_as_its_weights_need_through_memory() -> None:
    """m = 1: the weights, 2 x 8192 x 81920 bytes, at 10 GB/s, take 134 ms; the products less than that."""
    traffic = 2 * (8192 + 8192 * 81920 + 81920)
    seconds = gemm(make_gpu(memory_bandwidth=1e10), 1, 81920, 8192, "fp16")
    assert seconds == pytest.approx(traffic / 1e10, rel=1e-12)


def test_a_kernel_is_never_shorter_than_its_start() -> None:
    assert gemm(make_gpu(kernel_latency=3e-6), 1, 1, 1, "fp16") > 3e-6


def test_summing_into_fp32_moves_four_times_the_output() -> None:
    """Memory bound: k = 1, so that the output is nearly all of the traffic."""
    gpu = make_gpu(memory_bandwidth=1e9)
    plain, summed = gemm(gpu, 2560, 1280, 1, "fp16"), gemm(gpu, 2560, 1280, 1, "fp16", output_nbytes=8)
    assert summed / plain == pytest.approx(4, rel=0.01)


def test_a_grouped_product_of_one_row_each_reads_all_matrices() -> None:
    """8 experts with one row each: 8 x 2 x 4096 x 4096 bytes of weights at 10 GB/s take 27 ms."""
    gpu = make_gpu(memory_bandwidth=1e10)
    assert gemm(gpu, 1, 4096, 4096, "fp16", batch=8) == pytest.approx(8 * 2 * 4096**2 / 1e10, rel=1e-3)


def test_products_of_a_group_share_waves() -> None:
    """Ten products of 256 x 128 are ten tiles, one wave on ten SMs, as is one product of 2560 x 128."""
    grouped = gemm(make_gpu(), 256, 128, 8192, "fp16", batch=10)
    assert grouped == gemm(make_gpu(), 2560, 128, 8192, "fp16")
