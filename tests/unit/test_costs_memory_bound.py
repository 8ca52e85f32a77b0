"""Memory-bound kernels by hand: 1 TB/s, one microsecond to start."""

from dataclasses import replace

import numpy as np
import pytest

from sim.costs.law import starting_fit
from sim.costs.memory_bound import (
    ROW_KERNELS,
    AdamWidths,
    Kernel,
    RowKernel,
    adam,
    cross_entropy_backward,
    cross_entropy_forward,
    embedding_gradient,
    fused_cross_entropy_backward,
    fused_cross_entropy_forward,
    gradient_scale,
    kernel,
    optimizer,
    row_kernel,
    stream,
)
from sim.costs.memory_bound.law import LAW
from topologies.hardware import Fit, Gpu

GPU = Gpu(
    name="toy",
    peak_flops={"fp16": 1e13},
    memory_nbytes=1e10,
    memory_bandwidth=1.25e12,
    num_sms=10,
    l2_nbytes=1e6,
    power_limit=100.0,
    fit=Fit(values={"memory_efficiency": 0.8, "kernel_latency": 1e-6}, sources={}),
)


def test_a_stream_takes_its_bytes_at_the_achievable_rate_and_one_start() -> None:
    """1 GB at 0.8 x 1.25 TB/s: 1 ms + 1 us."""
    assert stream(GPU, 1e9) == pytest.approx(1.001e-3)


def test_bias_dropout_and_residual_in_one_kernel_move_seven_bytes_instead_of_fifteen() -> None:
    fused = kernel(GPU, "bias dropout add", 1e9)
    apart = sum(kernel(GPU, name, 1e9) for name in ("add bias", "dropout forward", "add"))
    assert fused == pytest.approx(7.001e-3)
    assert apart == pytest.approx(15.003e-3)


def test_a_causal_softmax_reads_half_of_the_scores_and_writes_all() -> None:
    assert kernel(GPU, "causal softmax forward", 1e9) == pytest.approx(3.001e-3)
    assert kernel(GPU, "causal softmax backward", 1e9) == pytest.approx(4.001e-3)


def test_loss_in_fp32_moves_38_bytes_a_logit_forward_and_14_backward() -> None:
    """Forward: cast 6, maximum 4, subtract 8, exponential 8, sum 4, divide 8; backward: scale 8, cast 6."""
    assert cross_entropy_forward(GPU, 1e9, 4) == pytest.approx(38e-3, rel=1e-3)
    assert cross_entropy_backward(GPU, 1e9, 4) == pytest.approx(14e-3, rel=1e-3)
    assert cross_entropy_forward(GPU, 1e9, 2) == pytest.approx(16e-3, rel=1e-3)


def test_adam_moves_58_bytes_a_parameter_in_fp16_and_8_less_without_a_loss_scale() -> None:
    """Unscale 8, norm 4, clip 8, Adam reads 4 and moves 24, weights 4 to 2: 6, zero 4."""
    assert optimizer(GPU, 1e9, "fp16", 4) == pytest.approx(58e-3, rel=1e-3)
    assert optimizer(GPU, 1e9, "bf16", 4) == pytest.approx(50e-3, rel=1e-3)


def test_gradients_are_scaled_in_place() -> None:
    assert gradient_scale(GPU, 1e9, 4) == pytest.approx(8e-3, rel=1e-3)
    assert embedding_gradient(GPU, 1e9, 4) == pytest.approx(12e-3, rel=1e-3)


def test_a_router_s_kernels_move_14_bytes_a_score_forward_and_18_backward() -> None:
    """Top-k: reads 2, writes 1. Softmax for the loss that balances: reads 2, writes 4; for the weights: reads the
    choice 1, writes 4. Backward: both read probability and gradient in fp32, 2 are written."""
    forward = kernel(GPU, "top-k", 1e9) + kernel(GPU, "router softmax forward", 1e9)
    assert forward == pytest.approx(14.002e-3)
    assert kernel(GPU, "router softmax backward", 1e9) == pytest.approx(18.001e-3)


PLAIN = {
    "start": 0.0, "share": 1.0, "l2_share": 2.0, "l2_speed": 4.0,
    **{f"{name} rate": 1e10 for name in ROW_KERNELS},
    **{f"{name} near": 1.0 for name in ROW_KERNELS},
    **{f"{name} row": 1e-9 for name in ROW_KERNELS},
}  # fmt: skip
FITTED = replace(GPU, fits={LAW.operation: Fit(values=PLAIN, sources={})})


def test_what_fits_in_the_l2_is_moved_faster() -> None:
    """L2 of 1 MB, none left from 2 MB on: of 1 MB half is there and four times as fast: 1 us x (1/2 + 1/8)."""
    assert stream(FITTED, 1e6) == pytest.approx(0.625e-6 + 1e-6)
    assert stream(FITTED, 2e6) == pytest.approx(2e-6 + 1e-6)


def test_few_rows_take_the_time_of_one_row() -> None:
    """1024 elements at 1 ns: 1.024 us, whether 1 row or 20 (two on each of ten SMs); 21 rows take two waves."""
    assert row_kernel(FITTED, "norm", 1, 1024) == pytest.approx(2.024e-6)
    assert row_kernel(FITTED, "norm", 20, 1024) == pytest.approx(2.024e-6 + 0.2048e-6, rel=0.1)
    assert row_kernel(FITTED, "norm", 21, 1024) - 1e-6 > 2 * 1.024e-6


def test_many_rows_take_what_the_sms_issue() -> None:
    """10^5 rows of 1000 elements, 4 B: 0.4 GB by ten SMs at 10 GB/s: 4 ms; at 1 TB/s each the HBM's 0.4 ms. Where a
    wave of 20 rows takes no less than a row's 1 us: 5 ms."""
    for rate, row, seconds in ((1e10, 1e-12, 4e-3), (1e12, 1e-12, 0.4e-3), (1e10, 1e-9, 5e-3)):
        values = PLAIN | {"rotary rate": rate, "rotary row": row}
        gpu = replace(FITTED, fits={LAW.operation: Fit(values=values, sources={})})
        assert row_kernel(gpu, "rotary", 100_000, 1000) == pytest.approx(seconds + 1e-6, rel=1e-6)


def test_points_together_take_what_each_takes_alone() -> None:
    columns = {
        "kind": np.array([0.0, 1, 2, 3, 4, 0]),
        "rows": np.array([1.0, 7, 64, 500, 4096, 4096]),
        "width": np.array([1024.0, 4096, 8192, 1024, 4096, 4096]),
    }
    points = columns | {"nbytes": 4 * columns["rows"] * columns["width"]}
    together = LAW.seconds(GPU, starting_fit(LAW).values, points)
    for place, time in enumerate(together):
        one = {name: column[place : place + 1] for name, column in points.items()}
        assert LAW.seconds(GPU, starting_fit(LAW).values, one)[0] == pytest.approx(time, rel=1e-12)


@pytest.mark.parametrize("name", ROW_KERNELS)
def test_more_rows_never_take_less(name: RowKernel) -> None:
    times = [row_kernel(GPU, name, rows, 4096) for rows in (1, 2, 19, 20, 21, 100, 1000, 10_000, 100_000)]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("fused", "apart"),
    [
        ("add norm forward", ("add", "norm forward")),
        ("bias gelu forward", ("add bias", "gelu forward")),
        ("causal softmax dropout forward", ("causal softmax forward", "dropout forward")),
        ("router top-k softmax", ("top-k", "router softmax forward")),
        ("cast to fp8 and transpose", ("cast to fp8", "transpose")),
    ],
)
def test_a_fused_kernel_is_faster_than_its_parts(fused: Kernel, apart: tuple[Kernel, ...]) -> None:
    assert kernel(GPU, fused, 1e8) < sum(kernel(GPU, name, 1e8) for name in apart)


def test_a_fused_loss_reads_two_bytes_a_logit_and_writes_its_gradient_in_place() -> None:
    assert fused_cross_entropy_forward(GPU, 1e9) == pytest.approx(2.001e-3)
    assert fused_cross_entropy_backward(GPU, 1e9) == pytest.approx(4.001e-3)
    assert fused_cross_entropy_forward(GPU, 1e9) < cross_entropy_forward(GPU, 1e9, 2) / 7


def test_a_compiled_loss_on_fp32_logits_takes_three_passes_forward() -> None:
    """Cast and maximum 2 + 4, exponentials 4 + 4, division 4 + 4; backward 4 + 2: still less than one by one."""
    assert fused_cross_entropy_forward(GPU, 1e9, 4) == pytest.approx(22.003e-3)
    assert fused_cross_entropy_backward(GPU, 1e9, 4) == pytest.approx(6.001e-3)
    assert fused_cross_entropy_forward(GPU, 1e9, 4) < cross_entropy_forward(GPU, 1e9, 4)


def test_adam_moves_its_numbers_by_their_widths() -> None:
    """fp32: 3 x 8 + 4 + 2; with 2-byte moments 8 less; without a second weight 2 less. Apart, passes read again."""
    assert adam(GPU, 1e9, AdamWidths()) == pytest.approx(30.001e-3)
    assert adam(GPU, 1e9, AdamWidths(momentum=2, variance=2)) == pytest.approx(22.001e-3)
    assert adam(GPU, 1e9, AdamWidths(working=0)) == pytest.approx(28.001e-3)
    assert adam(GPU, 1e9, AdamWidths(), fused=False) == pytest.approx((8 + 12 + 12 + 8 + 8 + 16 + 6) * 1e-3 + 7e-6)
