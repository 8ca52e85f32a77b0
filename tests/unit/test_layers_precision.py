"""Products in 8 and 4 bits: what is cast, once in which direction, and what is kept, gathered and left in 16 bits."""

from dataclasses import replace

import pytest

import topologies
from sim import layers
from sim.costs.gemm import product, quantise
from sim.costs.memory_bound import kernel
from sim.instructions import Collective, Compute
from sim.layers import Pass, head
from sim.workload import Precision
from tests.programs import LLAMA
from topologies.document import InputError

FP8 = replace(LLAMA, precision="fp8")
B200 = replace(FP8, gpu=topologies.gpu("b200"))
LINEARS = ("qkv", "projection", "mlp up", "mlp down")


def seconds(one: Pass, name: str) -> float:
    (found,) = [i.duration for i in one["compute"] if isinstance(i, Compute) and i.name == name]
    return found


def names(one: Pass) -> list[str]:
    return [i.name for i in one["compute"] if isinstance(i, Compute)]


def gathers(one: Pass) -> list[float]:
    collectives = [i for block in one.values() for i in block if isinstance(i, Collective)]
    return [i.nbytes for i in collectives if i.operation == "all_gather"]


def test_each_product_casts_its_input_forward_and_its_output_s_gradient_backward() -> None:
    assert [name for name in names(layers.forward(FP8)) if "cast" in name] == [f"{name} input cast" for name in LINEARS]
    casts = [name for name in names(layers.backward(FP8)) if "cast" in name]
    kept = "projection kept input cast"
    assert sorted(casts) == sorted([kept, *(f"{name} output gradient cast" for name in LINEARS)])


def test_a_product_runs_without_a_cast_of_its_own() -> None:
    assert seconds(layers.forward(FP8), "mlp down forward") == product(
        FP8.gpu, 8192, 8192, 28672 // 8, "fp8", cold_weights=True
    )


def test_a_cast_works_on_what_the_rank_has_and_makes_both_directions() -> None:
    """Before the gather 1/8 of the tokens. Blackwell multiplies any layout, so that one copy does for fp8."""
    one = layers.forward(FP8)
    assert seconds(one, "qkv input cast") == kernel(FP8.gpu, "cast to fp8 and transpose", 1024 * 8192)
    assert seconds(one, "mlp down input cast") == kernel(FP8.gpu, "cast to fp8 and transpose", 8192 * 28672 // 8)
    assert seconds(layers.forward(B200), "qkv input cast") == kernel(B200.gpu, "cast to fp8", 1024 * 8192)
    mxfp8 = layers.forward(replace(B200, precision="mxfp8"))
    assert seconds(mxfp8, "mlp down input cast") == quantise(B200.gpu, 8192, 28672 // 8, "mxfp8", transposed=True)


def test_current_scaling_looks_for_the_largest_magnitude_first_but_after_a_norm() -> None:
    """The norm has found it on its way; delayed scaling goes by earlier steps."""
    current = replace(FP8, framework=replace(FP8.framework, fp8_scaling="current"))
    looks = [f"{name} input largest magnitude" for name in ("projection", "mlp down")]
    assert [name for name in names(layers.forward(current)) if "magnitude" in name] == looks
    assert not any("magnitude" in name for name in names(layers.forward(FP8)))


@pytest.mark.parametrize(
    ("precision", "nbytes"), [("bf16", 2), ("fp8", 1), ("mxfp8", 1 + 1 / 32), ("nvfp4", 0.5 + 1 / 16)]
)
def test_what_is_gathered_for_a_product_is_as_narrow_as_the_product(precision: Precision, nbytes: float) -> None:
    """Forward before qkv and up; backward these again, and the gradients of what projection and down summed."""
    context = replace(B200, precision=precision)
    assert gathers(layers.forward(context)) == [nbytes * 8192 * 8192] * 2
    assert gathers(layers.backward(context)) == [nbytes * 8192 * 8192] * 4


@pytest.mark.parametrize("precision", ["fp8", "mxfp8", "nvfp4"])
def test_narrow_products_are_faster_and_all_else_but_the_casts_is_as_before(precision: Precision) -> None:
    wide, narrow = (layers.forward(replace(B200, precision=one)) for one in ("bf16", precision))
    for name in LINEARS:
        assert seconds(narrow, f"{name} forward") < seconds(wide, f"{name} forward")
    for name in ("flash forward", "activation forward", "rotary forward", "mlp norm forward"):
        assert seconds(narrow, name) == seconds(wide, name)


@pytest.mark.parametrize(("precision", "nbytes"), [("bf16", 2), ("fp8", 1), ("mxfp8", 1 + 1 / 32)])
def test_a_product_asks_the_hbm_for_operands_as_narrow_as_they_are(precision: Precision, nbytes: float) -> None:
    one = layers.forward(replace(B200, precision=precision))
    (down,) = [i for i in one["compute"] if isinstance(i, Compute) and i.name == "mlp down forward"]
    moved = nbytes * (8192 + 8192) * 28672 // 8 + 2 * 8192 * 8192
    assert down.load.memory * down.duration * B200.gpu.memory_bandwidth == pytest.approx(moved)


def test_the_head_stays_in_16_bits() -> None:
    assert head.forward(FP8) == head.forward(replace(FP8, precision="bf16"))
    assert head.backward(FP8) == head.backward(replace(FP8, precision="bf16"))


def test_products_keep_8_bit_inputs_but_for_attention_s_16_bit_output() -> None:
    """Bytes a token of Llama-3-70B, 1/8 each: norms' inputs 2 x 2 x 8192, their outputs 2 x 1 x 8192; q, k, v
    2 x 10240, the context 2 x 8192; gate and up 2 x 2 x 28672, their product 28672; 4 bytes a head and row."""
    per_token = (4 + 2) * 8192 + 2 * 10240 + 2 * 8192 + 5 * 28672
    assert layers.saved_nbytes(FP8) == 8192 / 8 * per_token + 4 * 8 * 8192


def test_weights_are_cast_once_a_step() -> None:
    """8192 x 10240 + 8192 x 8192 + 3 x 8192 x 28672 weights, an eighth of them."""
    num_weights = (8192 * 10240 + 8192 * 8192 + 3 * 8192 * 28672) // 8
    (cast,) = layers.weight_casts(FP8)
    assert cast.duration == kernel(FP8.gpu, "cast to fp8 and transpose", num_weights)
    assert layers.weight_casts(replace(FP8, precision="bf16")) == ()


def test_times_rest_on_the_fit_of_the_precision() -> None:
    for precision in ("fp8", "mxfp8", "nvfp4"):
        one = layers.forward(replace(B200, precision=precision))
        (up,) = [i for i in one["compute"] if isinstance(i, Compute) and i.name == "mlp up forward"]
        assert [basis.operation for basis in up.basis] == [f"gemm {precision}"]


def test_a_gpu_without_the_precision_is_refused() -> None:
    with pytest.raises(InputError, match="multiplies no fp8"):
        layers.forward(replace(FP8, gpu=topologies.gpu("a100-80gb-sxm")))
