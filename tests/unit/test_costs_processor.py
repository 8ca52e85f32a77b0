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
from sim.costs.memory_bound import ROW_KERNELS, kernel, row_kernel, stream
from tests.processor import HARDWARE, PART
from topologies.hardware import Fit, Gpu
from topologies.quantity import NANOSECOND

VALUES = {
    "gemm fp32": {"launch": 2.0, "rate": 0.5, "rows": 32.0, "columns": 64.0, "depth": 128.0},
    "gemm gradients": {"input_gradient": 0.5, "weight_gradient": 2.0},
    "memory bound": {
        "launch": 1.0,
        "launch_apart": 10.0,
        **{str(kind): 0.25 for kind in processor.KINDS},
        "stream": 1.0,
    },
    "attention forward": {"launch": 2.0, "level": 0.5, "score": NANOSECOND},
    "attention backward": {"launch": 4.0, "level": 0.25, "score": NANOSECOND},
}
FITS = {operation: Fit(values=values, sources={}, part=PART) for operation, values in VALUES.items()}
CPU: Gpu = replace(gpu_of(PART, HARDWARE), fits=FITS)
"""76 GFLOP/s of products, 9 GB/s, 5 us for the shortest operation."""
SHAPE = Shape(batch=1, seq_len=128, num_heads=4, num_kv_heads=4, head_dim=32, value_dim=32, precision="bf16")


def test_a_product_by_hand() -> None:
    """128 x 256 x 512: 10 us of start, 2 m n k FLOPs at 38 GFLOP/s, and a quarter more for each of the three sides.

    An input gradient runs at half of that rate.
    """
    multiplied = 2 * 128 * 256 * 512 * 1.25**3 / 38e9
    assert product(CPU, 128, 256, 512, "bf16") == pytest.approx(10e-6 + multiplied)
    assert product(CPU, 128, 256, 512, "bf16", layout="input_gradient") == pytest.approx(10e-6 + 2 * multiplied)
    assert product(CPU, 128, 256, 512, "bf16", batch=3) == pytest.approx(3 * (10e-6 + multiplied))
    assert quantise(CPU, 128, 512, "bf16") == 0


@pytest.mark.parametrize(("layout", "own"), [(1, (128, 512, 256)), (2, (256, 512, 128))])
def test_gradients_are_measured_by_the_sizes_of_their_layer(layout: int, own: tuple[int, int, int]) -> None:
    """Of a layer of 128 tokens, 256 outputs and 512 inputs."""
    points = {"m": 128.0, "n": 256.0, "k": 512.0, "layout": float(layout)}
    law = law_on(CPU, GRADIENTS)
    columns = {name: np.array([value]) for name, value in points.items()}
    name = "input_gradient" if layout == 1 else "weight_gradient"
    seconds = law.seconds(CPU, VALUES["gemm gradients"], columns)
    assert seconds == pytest.approx([product(CPU, *own, "bf16", layout=name)])


def test_a_sum_moves_twice_the_bytes_that_layers_count_in_16_bits() -> None:
    """1,000 numbers: two read and one written, 12 kB at 9 GB/s."""
    assert stream(CPU, 6000) == pytest.approx(5e-6 + 12e3 / 9e9)
    assert kernel(CPU, "add", 1000) == stream(CPU, 6000)


def test_what_computes_takes_longer_than_its_bytes() -> None:
    """A norm of 1,000 numbers: 8 kB at a quarter of the memory's rate, after 50 us."""
    assert kernel(CPU, "norm forward", 1000) == pytest.approx(50e-6 + 8e3 / 2.25e9)
    assert row_kernel(CPU, "rotary", 100, 400) == stream(CPU, 160e3, "rotary") > stream(CPU, 160e3)


def test_the_kinds_that_a_gpu_has_too_have_its_numbers() -> None:
    assert processor.KINDS[1 : 1 + len(ROW_KERNELS)] == ROW_KERNELS


def test_the_law_takes_true_bytes() -> None:
    points = {"kind": 1.0, "rows": 10.0, "width": 100.0, "nbytes": 8000.0}
    columns = {name: np.array([value]) for name, value in points.items()}
    seconds = processor.STREAM.seconds(CPU, VALUES["memory bound"], columns)
    assert seconds == pytest.approx([kernel(CPU, "norm forward", 1000)])


def test_attention_by_hand() -> None:
    """Four heads of 128 x 128 scores, none of them skipped: 128 FLOPs at 38 GFLOP/s and 1 ns each; backward 320 FLOPs
    at 19 GFLOP/s."""
    assert flash_forward(CPU, SHAPE) == pytest.approx(10e-6 + 4 * 128**2 * (128 / 38e9 + 1e-9))
    assert flash_backward(CPU, SHAPE) == pytest.approx(20e-6 + 4 * 128**2 * (320 / 19e9 + 1e-9))
    assert flash_lengths(CPU, SHAPE, (128, 128)) == pytest.approx(2 * flash_forward(CPU, SHAPE))


def test_a_mask_skips_whole_blocks_of_keys() -> None:
    """Of 2,048 keys, in blocks of 512, a row looks at 1, 2, 3 or 4 of them: five eighths."""
    long = replace(SHAPE, seq_len=2048)
    masked, whole = flash_forward(CPU, long), flash_forward(CPU, replace(long, causal=False))
    assert (masked - 10e-6) / (whole - 10e-6) == pytest.approx(5 / 8)


def test_experts_are_one_product_after_another() -> None:
    each = product(CPU, 30, 64, 32, "bf16"), product(CPU, 50, 64, 32, "bf16")
    assert grouped_gemm(CPU, (30, 0, 50), 64, 32, "bf16") == pytest.approx(sum(each))
    gradient = product(CPU, 32, 64, 30, "bf16", layout="weight_gradient")
    assert grouped_weight_gradient(CPU, (30, 0), 64, 32, "bf16") == pytest.approx(gradient)


def test_the_law_of_an_operation_depends_on_what_it_runs_on() -> None:
    laws: list[Law[Gpu]] = [law for law in KERNEL_LAWS.values() if law.on_processor is not None]
    assert {law.operation for law in laws} == {*VALUES} - {"gemm fp32"}
    assert KERNEL_LAWS["gemm fp32"] is processor.PRODUCT
    for law in laws:
        assert law.on_processor is not None
        assert (law.on_processor.operation, law.on_processor.inputs) == (law.operation, law.inputs)
        assert {*parameters_of(PART, law.operation)} == {*VALUES[law.operation]}
        assert {*parameters_of("h100-80gb-sxm", law.operation)} == {*law.parameters}
    assert {*fit_of(replace(CPU, fits={}), FORWARD).values} == {*processor.ATTENTION.parameters}
