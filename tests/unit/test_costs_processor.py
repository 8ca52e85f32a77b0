"""A processor's core has laws of its own, by the names of a GPU's, and the simulator asks the same functions."""

from dataclasses import replace

import numpy as np
import pytest

from calibrate.machines.machine import gpu_of
from sim.costs import processor
from sim.costs.attention import FORWARD, Shape, flash_backward, flash_forward, flash_lengths
from sim.costs.gemm import GRADIENTS, product, quantise
from sim.costs.grouped_gemm import grouped_gemm, grouped_weight_gradient
from sim.costs.law import Law, fit_of, law_on
from sim.costs.laws import KERNEL_LAWS, parameters_of
from sim.costs.memory_bound import row_kernel, stream
from tests.processor import HARDWARE, PART
from topologies.hardware import Fit, Gpu
from topologies.quantity import NANOSECOND

VALUES = {
    "gemm bf16": {"launch": 2.0, "operands": 0.5, "forward": 1.0, "forward_result": 20 * NANOSECOND},
    "gemm gradients": {
        "launch": 2.0, "operands": 0.5, "input_gradient": 0.25, "input_gradient_result": NANOSECOND, "stride": 0.5,
        "weight_gradient": 2.0, "weight_gradient_result": NANOSECOND,
    },
    "memory bound": {"launch": 1.0, "share": 1.0, "cache_share": 0.5, "cache_speed": 4.0},
    "attention forward": {"launch": 2.0, "level": 5.0, "score": NANOSECOND, "row": NANOSECOND},
    "attention backward": {"launch": 4.0, "level": 0.5, "score": NANOSECOND, "row": NANOSECOND},
}  # fmt: skip
FITS = {operation: Fit(values=values, sources={}, part=PART) for operation, values in VALUES.items()}
CPU: Gpu = replace(gpu_of(PART, HARDWARE), fits=FITS)
"""9.5 GFLOP/s of products, 10 GB/s, 32 MiB of cache, 5 us for the shortest operation."""
SHAPE = Shape(batch=1, seq_len=128, num_heads=4, num_kv_heads=4, head_dim=32, value_dim=32, precision="bf16")


def test_a_product_by_hand() -> None:
    """128 x 256 x 512: 10 us of start, 393 kB at 5 GB/s, 32,768 results of 20 ns and 2 x 512 FLOPs at 9.5 GFLOP/s."""
    by_hand = 10e-6 + 2 * (128 * 512 + 256 * 512) / 5e9 + 128 * 256 * (20e-9 + 1024 / 9.5e9)
    assert product(CPU, 128, 256, 512, "bf16") == pytest.approx(by_hand)
    assert product(CPU, 128, 256, 512, "bf16", batch=3) == pytest.approx(3 * by_hand)
    assert quantise(CPU, 128, 512, "bf16") == 0


def test_an_input_gradient_is_the_slower_the_longer_the_rows_of_the_weights() -> None:
    """Of 1,024 inputs a number goes at a quarter of the rate, halved as they are four times 256."""
    by_hand = 10e-6 + 2 * (128 * 64 + 1024 * 64) / 5e9 + 128 * 1024 * (1e-9 + 128 / (9.5e9 / 8))
    assert product(CPU, 128, 1024, 64, "bf16", layout="input_gradient") == pytest.approx(by_hand)


@pytest.mark.parametrize(("layout", "own"), [(1, (128, 512, 256)), (2, (256, 512, 128))])
def test_gradients_are_measured_by_the_sizes_of_their_layer(layout: int, own: tuple[int, int, int]) -> None:
    """Of a layer of 128 tokens, 256 outputs and 512 inputs."""
    points = {"m": 128.0, "n": 256.0, "k": 512.0, "layout": float(layout)}
    law = law_on(CPU, GRADIENTS)
    columns = {name: np.array([value]) for name, value in points.items()}
    name = "input_gradient" if layout == 1 else "weight_gradient"
    seconds = law.seconds(CPU, VALUES["gemm gradients"], columns)
    assert seconds == pytest.approx([product(CPU, *own, "bf16", layout=name)])


def test_what_the_cache_holds_streams_faster() -> None:
    """Nearly all of 160 kB comes from the cache, four times as fast; of 16 MiB half; of 16 GiB nothing."""
    rate = 10e9 * 0.9
    assert stream(CPU, 160e3) == pytest.approx(5e-6 + 160e3 / rate / 4, rel=1e-3)
    assert stream(CPU, 2.0**24) == pytest.approx(5e-6 + 2**24 / rate * (1 - 0.5 * 0.75))
    assert stream(CPU, 2.0**34) == pytest.approx(2**34 / rate, rel=1e-4)
    assert row_kernel(CPU, "rotary", 100, 400) == stream(CPU, 160e3)


def test_attention_by_hand() -> None:
    """Four heads of 128 x 128 scores, none of them skipped: 128 FLOPs at 50 GFLOP/s and 1 ns each, 32 ns a row;
    backward 320 FLOPs at 5 GFLOP/s."""
    assert flash_forward(CPU, SHAPE) == pytest.approx(10e-6 + 4 * (128**2 * (128 / 50e9 + 1e-9) + 128 * 32e-9))
    assert flash_backward(CPU, SHAPE) == pytest.approx(20e-6 + 4 * (128**2 * (320 / 5e9 + 1e-9) + 128 * 32e-9))
    assert flash_lengths(CPU, SHAPE, (128, 128)) == pytest.approx(2 * flash_forward(CPU, SHAPE))


def test_a_mask_skips_whole_blocks_of_keys() -> None:
    """Of 2,048 keys, in blocks of 512, a row looks at 1, 2, 3 or 4 of them: five eighths."""
    long = replace(SHAPE, seq_len=2048)
    masked, whole = flash_forward(CPU, long), flash_forward(CPU, replace(long, causal=False))
    rows = 10e-6 + 4 * 2048 * 32e-9
    assert (masked - rows) / (whole - rows) == pytest.approx(5 / 8)


def test_experts_are_one_product_after_another() -> None:
    each = product(CPU, 30, 64, 32, "bf16"), product(CPU, 50, 64, 32, "bf16")
    assert grouped_gemm(CPU, (30, 0, 50), 64, 32, "bf16") == pytest.approx(sum(each))
    gradient = product(CPU, 32, 64, 30, "bf16", layout="weight_gradient")
    assert grouped_weight_gradient(CPU, (30, 0), 64, 32, "bf16") == pytest.approx(gradient)


def test_the_law_of_an_operation_depends_on_what_it_runs_on() -> None:
    laws: list[Law[Gpu]] = [law for law in KERNEL_LAWS.values() if law.on_processor is not None]
    assert {law.operation for law in laws} == {*VALUES}
    for law in laws:
        assert law.on_processor is not None
        assert (law.on_processor.operation, law.on_processor.inputs) == (law.operation, law.inputs)
        assert {*parameters_of(PART, law.operation)} == {*VALUES[law.operation]}
        assert {*parameters_of("h100-80gb-sxm", law.operation)} == {*law.parameters}
    assert {*fit_of(replace(CPU, fits={}), FORWARD).values} == {*processor.ATTENTION.parameters}
