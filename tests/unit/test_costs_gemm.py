"""A matrix product by hand: a GPU of 10 SMs, 100 TFLOP/s, where nothing has a latency and tiles of 128 x 256 run at the
peak, others at a thousandth of it but for those that a test names."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

import topologies
from sim.costs.gemm import FORMATS, GRADIENTS, LAWS, TILES, gemm, product, quantise, seconds
from sim.costs.gemm.bends import TERMS
from sim.costs.gemm.blocks import blocks, is_ruled
from sim.costs.gemm.costs import EXACT_SUMS
from sim.costs.gemm.gradients import LAYOUT_RATES
from topologies.document import InputError
from topologies.hardware import Fit, Gpu

IDEAL = {
    **dict.fromkeys(("rate", "hbm", "activations", "outputs", "l2", "blend_tokens", "heat_time", "cast"), 1.0),
    **dict.fromkeys(("fetch", "step", "tile", "tail", "split", "heat", "blend_more", "launch", "cast_start"), 0.0),
    **dict.fromkeys(("sm_l2", "store", "reduce"), float("inf")),
    "l2_share": 1e-9,
    "blend": 500.0,
    "dislike": 0.0,
    "dislike_split": 1.0,
    **{tile.name: 1e-3 for tile in TILES},
    **dict.fromkeys(TERMS, 1.0),
}
SMALL = {"16x96": 1.0}
SPLIT = {"64x64 split": 1.0}
H100 = topologies.gpu("h100")


def make_gpu(
    bandwidth: float = 1e15, peaks: tuple[str, ...] = ("fp16",), rates: Mapping[str, float] = {}, **values: float
) -> Gpu:
    """The toy, with some values of its fits set otherwise."""
    sheet = {"gemm_efficiency": 1.0, "memory_efficiency": 1.0, "kernel_latency": 1e-6}
    fit = Fit(values={**IDEAL, **rates, **values}, sources={})
    return Gpu(
        name="toy",
        peak_flops=dict.fromkeys(peaks, 1e14),
        memory_nbytes=1e10,
        memory_bandwidth=bandwidth,
        num_sms=10,
        l2_nbytes=1e6,
        power_limit=100.0,
        fit=Fit(values=sheet, sources={}),
        fits={"gemm bf16": fit, "gemm fp8": fit},
    )


def test_full_waves_run_at_the_peak() -> None:
    """1280 x 2560 is 10 x 10 tiles of 128 x 256, ten full waves: 2 x 1280 x 2560 x 8192 / 1e14 = 537 us."""
    assert gemm(make_gpu(), 1280, 2560, 8192, "fp16") == pytest.approx(2 * 1280 * 2560 * 8192 / 1e14)


def test_one_tile_more_than_a_wave_costs_another_wave() -> None:
    """16 x 960 is one wave of ten 16 x 96 tiles; 16 x 961 is eleven, two waves of 2 x 16 x 96 x 128 FLOP on an SM."""
    wave, gpu = 2 * 16 * 96 * 128 / 1e13, make_gpu(rates=SMALL)
    assert gemm(gpu, 16, 960, 128, "fp16") == pytest.approx(wave)
    assert gemm(gpu, 16, 961, 128, "fp16") == pytest.approx(2 * wave)


def test_a_last_wave_costs_as_little_as_tail_says() -> None:
    """1.1 waves felt as 1.1 instead of 2 where idle SMs cost nothing, and as 1.55 half-way."""
    wave = 2 * 16 * 96 * 128 / 1e13
    assert gemm(make_gpu(tail=1.0, rates=SMALL), 16, 961, 128, "fp16") == pytest.approx(1.1 * wave)
    assert gemm(make_gpu(tail=0.5, rates=SMALL), 16, 961, 128, "fp16") == pytest.approx(1.55 * wave)


def test_tokens_are_padded_to_whole_tiles() -> None:
    """17 tokens are two rows of 16 x 96 tiles, as 32 are."""
    one, padded, two = (gemm(make_gpu(tail=1.0, rates=SMALL), m, 960, 128, "fp16") for m in (16, 17, 32))
    assert [padded, two] == pytest.approx([2 * one, 2 * one])


def test_a_long_k_is_split_where_a_second_wave_would_be_short() -> None:
    """12 tiles of 128 x 256 on 10 SMs are two waves; in three parts 36, four waves of a third: 4/3, and 4 bytes for
    each of 3 x 1536 x 256 sums. A k too short to be cut, as an A100 shows too, takes both waves."""
    gpu = make_gpu(bandwidth=1e13, reduce=1.0, rates={"128x256 split": 1.0})
    wave = 2 * 128 * 256 / 1e13
    summed = 3 * 1536 * 256 * 4 / 1e13
    assert gemm(gpu, 1536, 256, 76800, "fp16") == pytest.approx(76800 * wave * 4 / 3 + summed, rel=1e-3)
    assert gemm(gpu, 1536, 256, 256, "fp16") == pytest.approx(256 * wave * 2, rel=0.02)


def test_a_library_that_avoids_the_quickest_tile_takes_longer() -> None:
    """Tiles of 16 x 96 need a wave of 2 x 16 x 96 x 128 FLOP; of 128 x 256 a wave 21 times as long."""
    small, large = (2 * sides * 128 / 1e13 for sides in (16 * 96, 128 * 256))
    assert gemm(make_gpu(rates=SMALL), 16, 96, 128, "fp16") == pytest.approx(small)
    assert gemm(make_gpu(rates=SMALL, dislike=2.0), 16, 96, 128, "fp16") == pytest.approx(large)


def test_a_bend_scales_where_it_says() -> None:
    """The parameter of k is the factor where log k is at its end, 2^16 and beyond, and its inverse at the other."""
    plain, bent = (make_gpu(k=factor) for factor in (1.0, 1.1))
    for k, factor in ((2**18, 1.1), (2**16, 1.1), (2**12, 1.0), (2**8, 1.0)):
        ratio = gemm(bent, 1280, 2560, k, "fp16") / gemm(plain, 1280, 2560, k, "fp16")
        assert ratio == pytest.approx(factor, rel=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp8", "fp8_block", "mxfp8", "int8_weight", "int4_weight"])
@pytest.mark.parametrize("name", ["a100", "h100", "h200", "b200", "v100", "rtx-4090"])
def test_no_product_beats_the_peak_or_takes_no_time(name: str, precision: str) -> None:
    """Sizes from 1 to a million tokens and 262,144 outputs or inputs."""
    gpu = topologies.gpu(name)
    kind = FORMATS[precision]
    peak = max((gpu.peak_flops.get(peak, 0.0) for peak in kind.peaks), default=0.0)
    if not peak:
        return
    rng = np.random.default_rng(2)
    m, n, k = (np.floor(2 ** rng.uniform(0, high, 4000)) for high in (20, 18, 18))
    times = seconds(gpu, m, n, k, precision)
    assert np.isfinite(times).all()
    assert (times > 1e-6).all()
    assert (2 * m * n * k / times <= peak * (1 + 1e-9)).all()


def test_idle_sms_share_a_long_k() -> None:
    """64 x 64 is one tile; its k of 2560 is cut into ten parts of 256: 2 x 64 x 64 x 256 FLOP on each SM."""
    assert gemm(make_gpu(rates=SPLIT), 64, 64, 2560, "fp16") == pytest.approx(2 * 64 * 64 * 256 / 1e13)


def test_adding_the_parts_up_takes_time() -> None:
    """Ten parts of 64 x 64 sums of 4 bytes are 163840 bytes: 16 ns at 1e13 B/s, and the split 100 ns.

    At 1e9 B/s they are 164 us: four whole tiles of 16 x 96 are done sooner, in 2 x 16 x 96 x 2560 / 1e13 = 786 ns.
    """
    part = 2 * 64 * 64 * 256 / 1e13
    quick, slow = (make_gpu(bandwidth=1e13, reduce=reduce, split=1e-7, rates=SMALL | SPLIT) for reduce in (1.0, 1e-4))
    assert gemm(quick, 64, 64, 2560, "fp16") == pytest.approx(part + 1e-7 + 163840 / 1e13)
    assert gemm(slow, 64, 64, 2560, "fp16") == pytest.approx(2 * 16 * 96 * 2560 / 1e13)


def test_a_skinny_product_takes_as_long_as_its_weights_need_through_memory() -> None:
    """m = 1: 2 x 8192 x 81920 bytes at 10 GB/s take 134 ms; the products less than that."""
    traffic = 2 * (8192 + 8192 * 81920 + 81920)
    assert gemm(make_gpu(bandwidth=1e10), 1, 81920, 8192, "fp16") == pytest.approx(traffic / 1e10, rel=1e-6)


def test_small_weights_stay_in_the_l2_unless_they_are_cold() -> None:
    """256 KiB of weights in an L2 of 1 MB, read four times as fast as the HBM."""
    gpu = make_gpu(bandwidth=1e9, l2_share=1.0, l2=4.0, activations=1e6, outputs=1e6)
    warm, cold = (product(gpu, 1, 256, 512, "fp16", cold_weights=cold) for cold in (False, True))
    assert cold == pytest.approx(2 * 256 * 512 / 1e9, rel=1e-3)
    assert warm == pytest.approx(cold / 4, rel=1e-3)


def test_a_kernel_is_never_shorter_than_its_launch() -> None:
    assert gemm(make_gpu(launch=3.0), 1, 1, 1, "fp16") > 3e-6


def test_summing_into_fp32_moves_four_times_the_output() -> None:
    """Memory bound: k = 1, so that the output is nearly all of the traffic."""
    gpu = make_gpu(bandwidth=1e9)
    plain, summed = gemm(gpu, 2560, 1280, 1, "fp16"), gemm(gpu, 2560, 1280, 1, "fp16", output_nbytes=8)
    assert summed / plain == pytest.approx(4, rel=0.01)


def test_products_of_a_batch_share_waves_and_read_every_matrix() -> None:
    """Ten products of 128 x 256 are ten tiles, one wave; each has weights of its own."""
    assert gemm(make_gpu(), 128, 256, 8192, "fp16", batch=10) == gemm(make_gpu(), 1280, 256, 8192, "fp16")
    slow = make_gpu(bandwidth=1e10)
    assert gemm(slow, 1, 4096, 4096, "fp16", batch=8) == pytest.approx(8 * 2 * 4096**2 / 1e10, rel=1e-3)


def test_a_layout_is_slower_by_its_rate() -> None:
    gpu, shape = make_gpu(), (1280, 2560, 8192)
    forward, gradient = (product(gpu, *shape, "fp16", layout=layout) for layout in ("forward", "weight_gradient"))
    assert forward / gradient == pytest.approx(LAYOUT_RATES["weight_gradient"])


def test_measured_gradients_count_in_their_layout() -> None:
    """A gradient's rate is relative to the forward product of the same GPU; sizes of points are those of the layer."""
    values = {"input_gradient": 0.8, "weight_gradient": 0.4}
    plain = make_gpu(peaks=("fp16", "bf16"))
    gpu = replace(plain, fits={**plain.fits, GRADIENTS.operation: Fit(values=values, sources={})})
    tokens, outputs, inputs = 128.0, 2560.0, 8192.0
    own = {1: (128, 8192, 2560), 2: (2560, 8192, 128)}
    for code, layout in ((1, "input_gradient"), (2, "weight_gradient")):
        seconds = product(gpu, *own[code], "bf16", layout=layout)
        assert product(plain, *own[code], "bf16") / seconds == pytest.approx(values[layout])
        sizes = {"m": tokens, "n": outputs, "k": inputs, "layout": float(code)}
        columns = {name: np.array([size]) for name, size in sizes.items()}
        assert GRADIENTS.seconds(plain, values, columns) == pytest.approx([seconds])
        real = product(H100, *own[code], "bf16", layout=layout)
        assert GRADIENTS.seconds(H100, LAYOUT_RATES, columns) == pytest.approx([real])


def test_gradients_in_fp8_sum_apart_until_blackwell_and_forward_never_does() -> None:
    """The same product, wide enough to be bound by its FLOPs; scales of 32 numbers take a twentieth of any layout."""
    hopper = make_gpu(bandwidth=1e18, peaks=("fp8", "fp16"))
    blackwell = replace(hopper, peak_flops={**hopper.peak_flops, "fp4": 2e13})
    shape = (1280, 2560, 8192)
    forward, gradient = (product(hopper, *shape, "fp8", layout=layout) for layout in ("forward", "input_gradient"))
    assert forward / gradient == pytest.approx(EXACT_SUMS)
    for precision, rate in (("fp8", 1.0), ("mxfp8", 0.95)):
        both = [product(blackwell, *shape, precision, layout=layout) for layout in ("forward", "input_gradient")]
        assert both[0] == both[1] == pytest.approx(forward / rate)


def test_a_cast_reads_twice_and_writes_once_and_is_told_apart() -> None:
    """fp8 with one scale: 2 bytes for the largest magnitude, 2 + 1 to cast; a transposed copy is 1 more, at 1e9 B/s."""
    gpu = make_gpu(bandwidth=1e9, peaks=("fp8", "fp16"), cast_start=1e-6)
    assert quantise(gpu, 1000, 100, "fp8") == pytest.approx(1e-6 + 5e5 / 1e9)
    assert quantise(gpu, 1000, 100, "fp8", transposed=True) == pytest.approx(1e-6 + 6e5 / 1e9)
    assert quantise(gpu, 1000, 100, "fp16") == 0
    parts = product(gpu, 1000, 64, 100, "fp8") + quantise(gpu, 1000, 100, "fp8")
    assert gemm(gpu, 1000, 64, 100, "fp8") == parts


def test_packed_weights_are_read_faster_and_unpacked_on_the_way() -> None:
    """An H100: 4-bit weights are worth more than three times the speed to 16 tokens, nothing to 4,096 [Marlin]."""
    gains = {m: gemm(H100, m, 16384, 8192, "bf16") / gemm(H100, m, 16384, 8192, "int4_weight") for m in (16, 4096)}
    assert gains[16] > 2.9
    assert 0.7 < gains[4096] < 1


@pytest.mark.parametrize(("tokens", "published"), [(1, 140e-6), (16, 141e-6)])
def test_packed_weights_are_read_as_fast_as_published_on_an_a100(tokens: int, published: float) -> None:
    """The products of a layer of Llama 13B: 317 M weights in 140 us [vllm-project/vllm, pull request 2497], which is
    near the bound: 164 MB at 2.04 TB/s take 80 us, and those in 16 bits took 437."""
    shapes = ((15360, 5120), (5120, 5120), (27648, 5120), (5120, 13824))
    gpu = topologies.load("dgx-a100").gpu
    found = sum(gemm(gpu, tokens, n, k, "int4_weight", cold_weights=True) for n, k in shapes)
    assert found == pytest.approx(published, rel=0.1)


def test_a_precision_that_the_gpu_has_not_is_told() -> None:
    with pytest.raises(InputError, match="toy multiplies no fp8; take one of fp16"):
        gemm(make_gpu(), 1, 1, 1, "fp8")


def test_blocks_are_those_of_the_rule_tried_one_by_one() -> None:
    """Fewest waves, then the most blocks in the last one, then the narrowest, among 16, 24, ... 128."""
    rng = np.random.default_rng(0)
    m, n = (np.floor(2 ** rng.uniform(low, 13, 300)) for low in (5, 7))
    heights, widths = blocks(H100, m, n, 1.0)
    for tokens, outputs, height, width in zip(m, n, heights, widths, strict=True):

        def key(candidate: int, rows: float = np.ceil(tokens / height), n: float = outputs) -> tuple[float, ...]:
            tiles = rows * np.ceil(n / candidate)
            waves = np.ceil(tiles / H100.num_sms)
            return waves, -tiles, candidate

        assert width == min(range(16, 129, 8), key=key)


def test_the_rule_holds_between_the_sizes_that_were_tuned() -> None:
    tokens = [1, 16, 17, 32, 33, 64, 96, 128, 129, 2048, 3072, 4096, 4097]
    assert is_ruled(np.array(tokens, float)).tolist() == [t in (32, 33, 96, 129, 3072) for t in tokens]


@pytest.mark.parametrize("precision", ["bf16", "fp8", "fp8_block", "mxfp8", "int8_weight", "int4_weight"])
def test_times_are_finite_and_grow_with_every_side(precision: str) -> None:
    """From 1 to a million tokens; a better tile may win back a little, and DeepGEMM's rule much, where m grows."""
    m = np.floor(2 ** np.arange(0, 20.5, 0.5))
    n, k = np.full_like(m, 4096), np.full_like(m, 8192)
    times = seconds(H100, m, n, k, precision)
    assert np.isfinite(times).all()
    assert (times > 1e-6).all()
    if not FORMATS[precision].rule:
        assert (np.diff(np.log(times)) > -0.02).all()
    deep = [gemm(H100, 512, 4096, k, precision) for k in range(256, 20000, 512)]
    assert (np.diff(np.log(deep)) > -0.02).all()


@pytest.mark.parametrize("precision", ["bf16", "fp8", "fp8_block"])
def test_many_shapes_at_once_take_what_each_takes(precision: str) -> None:
    rng = np.random.default_rng(1)
    m, n, k = (np.floor(2 ** rng.uniform(low, 14, 3000)) for low in (0, 6, 6))
    times = seconds(H100, m, n, k, precision)
    for index in range(0, 3000, 100):
        one = gemm(H100, int(m[index]), int(n[index]), int(k[index]), precision)
        assert times[index] == pytest.approx(one, rel=1e-6)


def test_a_law_says_what_the_layers_are_told() -> None:
    """With the values of the GPU's fit, `seconds` of the law is the time of `gemm`."""
    points = {"m": np.array([100.0]), "n": np.array([4096.0]), "k": np.array([1024.0])}
    for law in LAWS:
        precision = law.operation.removeprefix("gemm ")
        if precision == "nvfp4":
            continue
        bare = replace(H100, fits={})
        values = {name: parameter.start for name, parameter in law.parameters.items()}
        assert law.seconds(bare, values, points)[0] == pytest.approx(gemm(bare, 100, 4096, 1024, precision))


@pytest.mark.parametrize("name", ["rtx-4090", "rtx-pro-6000", "l40s", "h100-80gb-sxm", "a100-80gb-sxm"])
def test_cold_weights_are_read_no_faster_than_the_memory_can(name: str) -> None:
    """Up to the largest of Llama 3.1 405B, which no fit was made from."""
    gpu, sides = topologies.gpu(name), [(4096.0, 4096.0), (16384.0, 53248.0), (106496.0, 16384.0), (57344.0, 8192.0)]
    columns, depth = (np.array(each) for each in zip(*sides, strict=True))
    for tokens in (1.0, 8.0, 64.0):
        taken = seconds(gpu, np.full(4, tokens), columns, depth, "bf16", cold_weights=True)
        assert (taken >= 2 * columns * depth / gpu.memory_bandwidth).all()
