"""Lines that a fit draws: over the sizes that it was made from, in the field's units."""

import numpy as np
import pytest

import topologies
from calibrate import curves, subjects
from calibrate.curves import MOST_LINES, lines, measured
from calibrate.families import family
from calibrate.samples import Samples
from topologies.fits import fits_of, fitted_parts


@pytest.mark.parametrize("part", fitted_parts())
def test_every_shipped_fit_is_drawn_over_the_sizes_that_it_was_made_from(part: str) -> None:
    for operation, fit in fits_of(part).items():
        drawn, found = family(operation), lines(part, operation, fit, {}, {})
        assert drawn is not None
        assert 1 <= len(found) <= MOST_LINES
        assert len({line.label for line in found}) == len(found)
        low, high = fit.domain[drawn.grows]
        for line in found:
            assert low <= line.sizes[0] < line.sizes[-1] <= high
            assert (line.seconds > 0).all()
            assert len(line.rates) == (len(line.sizes) if drawn.work else 0)


def test_a_product_takes_two_flops_for_each_multiply_and_add() -> None:
    """2 x 1 x 4096 x 4096 FLOPs of one row, in TFLOP/s."""
    fit = topologies.gpu("h100-80gb-sxm").fits["gemm bf16"]
    (line,) = (one for one in lines("h100-80gb-sxm", "gemm bf16", fit, {}, {}) if one.label == "n 4,096, k 4,096")
    assert line.rates[0] == pytest.approx(2 * 4096 * 4096 / line.seconds[0] / 1e12)
    assert line.rates.max() < 989


def test_bus_bandwidth_is_that_of_nccl_tests() -> None:
    """An all-reduce of 8 GPUs sends 2 x 7/8 of its bytes over each GPU's link, an all-gather 7/8."""
    fit = topologies.link("nvlink4").fits["nccl node"]
    found = {line.label: line for line in lines("nvlink4", "nccl node", fit, {}, {})}
    for label, share in (("all-reduce, 8 GPUs", 2 * 7 / 8), ("all-gather, 8 GPUs", 7 / 8)):
        line = found[label]
        assert line.rates == pytest.approx(share * line.sizes / line.seconds / 1e9)


def test_points_of_many_shapes_are_drawn_over_their_work() -> None:
    """A label for each of two shapes; of too many, one for all, over 2 m n k."""

    def points(count: int) -> curves.Measured | None:
        sizes = {"m": np.full(count, 64.0), "n": 256.0 * (1 + np.arange(count)), "k": np.full(count, 512.0)}
        samples = Samples(operation="gemm bf16", part="h100-80gb-sxm", points=sizes, seconds=np.ones(count),
                          rows=np.arange(count))  # fmt: skip
        return measured(samples, subjects.predicted(samples, {}))

    few, many = points(2), points(MOST_LINES + 1)
    assert few is not None
    assert many is not None
    assert (set(few.labels), list(few.sizes)) == ({"n 256, k 512", "n 512, k 512"}, [64, 64])
    assert (set(many.labels), many.sizes[0]) == ({"all shapes"}, 2 * 64 * 256 * 512)


def test_what_has_no_size_has_no_lines() -> None:
    assert family("power gemm") is None
