"""Memory-bound kernels by hand: 1 TB/s, one microsecond to start."""

import pytest

from sim.costs.memory_bound import (
    cross_entropy_backward,
    cross_entropy_forward,
    embedding_gradient,
    gradient_scale,
    kernel,
    optimizer,
    stream,
)
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
