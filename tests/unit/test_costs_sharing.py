"""What a kernel loses beside communication, by hand: waves on the SMs that are left, the HBM by demand."""

from dataclasses import replace

import numpy as np
import pytest

import topologies
from sim.costs import sharing
from sim.costs.sharing import SHARING, Hold, hold, product, speed, streaming
from sim.instructions import NO_LOAD, Activity, Load
from topologies.fabric import Wire
from topologies.quantity import GB

H100 = topologies.gpu("h100-80gb-sxm")


def test_one_full_wave_becomes_two_on_fewer_sms() -> None:
    """132 blocks on 132 SMs are one wave, on 108 two: half the speed. Published of such a product beside an all-gather
    of 24 blocks: from 80 % to 47 % of the peak, 0.59 of its speed, as the all-gather was over sooner."""
    whole = product(H100, 1.0, 11 * 128, 12 * 256, 8192, "bf16")
    assert whole.num_blocks == 132
    assert speed(H100, whole, 24, 0.0) == 0.5


def test_a_large_product_loses_the_share_of_the_sms_that_are_held() -> None:
    """8,192 blocks: 63 waves on 132 SMs, 76 on 108: 0.829, near 108/132 = 0.818; a slowdown of 20.6 % where 18.9 % is
    the published mean over models and GPUs."""
    large = product(H100, 0.0115, 16384, 16384, 16384, "bf16")
    assert speed(H100, large, 24, 100 * GB) == pytest.approx(63 / 76)


def test_what_the_hbm_bounds_gets_its_part_of_all_that_is_asked_for() -> None:
    """It asks for 0.81 of the bandwidth, which is all there is; 340 GB/s sent ask for 2.5 x 340 / 3350 = 0.254 more:
    0.81 / 1.064 = 0.761. The 40 % slowdown of the paper's worst case is 1 / 1.4 = 0.714."""
    assert speed(H100, streaming(H100), 24, 340 * GB) == pytest.approx(0.81 / (0.81 + 2.5 * 340 / 3350))


def test_what_the_hbm_bounds_needs_not_all_sms() -> None:
    """60 % of the SMs saturate the HBM: 24 of 132 are not missed, of 70 held 62 are left of the 79.2 needed."""
    assert speed(H100, streaming(H100), 24, 0.0) == 1.0
    assert speed(H100, streaming(H100), 70, 0.0) == pytest.approx(62 / 79.2)


def test_a_skinny_product_is_bound_by_the_hbm_and_a_square_one_by_the_sms() -> None:
    """16 rows against an 8192 x 8192 matrix: 134 MB in 50 us are 0.80 of 3350 GB/s, 0.04 of the peak."""
    skinny = product(H100, 50e-6, 16, 8192, 8192, "bf16")
    assert skinny.sms == 0.0
    assert skinny.memory == pytest.approx((8192 * 8192 + 2 * 16 * 8192) * 2 / 50e-6 / 3350e9)
    assert product(H100, 1.6e-3, 8192, 8192, 8192, "bf16").sms == 1.0


def test_narrow_operands_ask_less_of_the_hbm() -> None:
    """8 bits: 67 MB of operands instead of 134, the output 2 bytes a number all the same."""
    wide, narrow = (product(H100, 50e-6, 16, 8192, 8192, "fp8", operand_nbytes=nbytes) for nbytes in (2, 1))
    moved = 8192 * 8192 + 16 * 8192
    assert (wide.memory - narrow.memory) * 50e-6 * 3350e9 == pytest.approx(moved)


def test_communication_without_sms_takes_nothing_and_what_computes_nothing_loses_nothing() -> None:
    activity = Activity(latency=0.0, loads=((Wire("nvlink", "out", 0), 1e9),))
    assert hold(H100, activity, 1.0) == Hold(0, 0.0)
    assert hold(H100, replace(activity, num_sms=16), 0.5) == Hold(16, 2e9)
    assert hold(H100, replace(activity, num_sms=1000), 0.5).num_sms == 131, "a kernel keeps one SM"
    assert speed(H100, NO_LOAD, 100, 1e12) == 1.0


@pytest.mark.parametrize("load", [streaming(H100), sharing.flash(0.6), Load(sms=1.0, num_blocks=300), Load(memory=0.4)])
def test_more_communication_never_speeds_a_kernel(load: Load) -> None:
    """Nor does any speed it beyond what it has alone."""
    by_sms = [speed(H100, load, num_sms, 50 * GB) for num_sms in range(132)]
    by_bandwidth = [speed(H100, load, 8, bandwidth * GB) for bandwidth in range(0, 900, 50)]
    for speeds in (by_sms, by_bandwidth):
        assert speeds == sorted(speeds, reverse=True)
        assert 0 < speeds[-1] <= speeds[0] <= 1


def test_a_piece_asks_for_the_mean_of_its_kernels() -> None:
    """1 s at the math roof, 2 s of the HBM, 1 s of waiting while it sends for half a second at the HBM's rate."""
    whole = sharing.mean_load([(1.0, Load(math=0.8, sms=1.0)), (2.0, Load(memory=0.6))], 4.0, 0.5)
    assert whole == Load(math=0.2, memory=0.3, link=0.125, sms=0.25)


def test_the_law_is_the_function_over_arrays() -> None:
    points = {name: np.array([1.0, 2.0]) for name in SHARING.inputs}
    points |= {"num_blocks": np.array([132.0, 0.0]), "sms": np.array([1.0, 0.0]), "memory": np.array([0.1, 0.81])}
    points |= {"num_sms_held": np.array([24.0, 24.0]), "wire_bandwidth": np.array([0.0, 340e9])}
    values = {name: parameter.start for name, parameter in SHARING.parameters.items()}
    assert SHARING.seconds(H100, values, points) == pytest.approx([2.0, 2.0 * (0.81 + 2.5 * 340 / 3350) / 0.81])
