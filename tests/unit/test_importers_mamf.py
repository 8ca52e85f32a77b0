"""Logs of mamf-finder, as its versions print them, become products; what cannot be is refused with its line."""

from pathlib import Path

import pytest

from calibrate import importers, limits
from calibrate.importers import mamf
from calibrate.importers.reading import Reading
from calibrate.samples import Samples
from topologies.document import InputError
from topologies.quantity import TERA

HEADER = """
Benchmark started on 2026-11-21 10:00:00

** Command line:
/usr/bin/python mamf-finder.py --m 1024 --n 2048 --k 4096

** Dtype: {dtype}

** Platform/Device info:
Linux n1 6.8.0 #1 SMP x86_64 x86_64
_CudaDeviceProperties(name='NVIDIA H100 80GB HBM3', major=9, minor=0, total_memory=81079MB, multi_processor_count=132)

** Critical software versions:
torch=2.9.0
cuda=12.8

--------------------------------------------------------------------------------

"""
FIRST = """
     1 |  500.0 TFLOPS @ 1024x2048x4096       | best:  500.0 TFLOPS @ 1024x2048x4096 (MxNxK)
     2 |  600.0 TFLOPS @ 2048x2048x4096       | best:  600.0 TFLOPS @ 2048x2048x4096 (MxNxK)
The best outcome was 600.0TFLOPS @ 2048x2048x4096 (MxNxK) (tried 2 shapes)
Elapsed time: 0:00:02
"""
SECOND = """
Warming up the accelerator for 30 secs ... accelerator warmup finished
     1 |  490.0(mean)  500.0(median)  520.0(max) @ 1024x2048x4096       | best:  490.0(mean)  500.0(median)  520.0(max) TFLOPS
Tried  1 shapes => the best outcomes were:
mean:   490.0 TFLOPS @ 1024x2048x4096 (MxNxK)
median: 500.0 TFLOPS @ 1024x2048x4096 (MxNxK)
max:    520.0 TFLOPS @ 1024x2048x4096 (MxNxK)

geomean: 490.0 TFLOPS for 1 shapes in range: m=[1024] | n=[2048] | k=[4096]
"""  # noqa: E501
FOURTH = """
Grid search: sweeping 24 shapes (scout 20 iters / 8 warmup), then confirm ...
     #  MxNxK                mean median    max   best     W   MHz
    18  3072x2816x20480     828.4  828.6  831.6  828.4   506  1980  <- best mean

MAMF recall screen: 8 shapes ...
     #  MxNxK                peak   MHz
     1  1024x2816x20480     837.7  1965  <- best peak

MSMF (sustainable) confirm: 10 shapes ...
  MxNxK              TFLOPS     W   MHz
  3072x2816x8192      722.5   681  1612 drop   0.7% spread  4.2%  locked in  <- MSMF

** Results:

Tried 24 shapes => the best outcomes were:
MAMF (max achievable,  boost burst): 842 TFLOPS @ 3072x2816x16384 (MxNxK)  172W 1980MHz
MSMF (max sustainable, saturated):   722 TFLOPS @ 3072x2816x8192 (MxNxK)  681W 1612MHz
"""


def log(body: str, dtype: str = "torch.bfloat16") -> str:
    return HEADER.format(dtype=dtype) + body


def read(body: str, dtype: str = "torch.bfloat16", gpu: str | None = None) -> Reading:
    text = log(body, dtype)
    assert mamf.is_log(text)
    return mamf.read_log(text, "m.txt", gpu)


def only(reading: Reading) -> Samples:
    (found,) = reading.samples
    return found


def rates(samples: Samples) -> list[float]:
    flops = 2 * samples.points["m"] * samples.points["n"] * samples.points["k"]
    return [float(round(rate, 3)) for rate in flops / samples.seconds / TERA]


def test_the_first_version_calls_the_shared_dimension_n() -> None:
    """1024x2048x4096 multiplied 1024 x 2048 by 2048 x 4096: m 1024, n 4096, k 2048. The best line says nothing new."""
    found = only(read(FIRST))
    assert (found.operation, found.part) == ("gemm bf16", "h100-80gb-sxm")
    assert [list(found.points[name]) for name in "mnk"] == [[1024, 2048], [4096, 4096], [2048, 2048]]
    assert rates(found) == [500.0, 600.0]


def test_of_the_second_version_the_median_is_taken() -> None:
    found = only(read(SECOND))
    assert [list(found.points[name]) for name in "mnk"] == [[1024], [2048], [4096]]
    assert rates(found) == [500.0]


def test_of_the_fourth_version_scouts_and_the_best_burst_are_taken() -> None:
    """The row of the screen is of two repetitions, and what a saturated GPU holds is another clock: neither counts."""
    found = only(read(FOURTH))
    assert list(found.points["k"]) == [20480, 16384]
    assert rates(found) == [828.6, 842.0]
    assert log(FOURTH).splitlines()[found.rows[0] - 1].split()[0] == "18"


def test_what_a_terminal_printed_over_itself_is_read_line_by_line() -> None:
    rows = FIRST.strip("\n").split("\n")
    over = "\r".join(rows[:2]) + "\x1b[K" + "\n".join(rows[2:])
    assert rates(only(read(over))) == [500.0, 600.0]


def test_a_log_that_was_cut_off_counts_as_far_as_it_goes() -> None:
    reading = read(FIRST[: FIRST.index("2048x2048x4096") + 12])
    assert rates(only(reading)) == [500.0]
    assert [one.reason for one in reading.skipped] == ["the line is cut off"]


def test_formats_go_to_their_fits_and_others_are_told() -> None:
    assert only(read(SECOND, "torch.float8_e4m3fn")).operation == "gemm fp8"
    assert only(read(SECOND, "nvfp4")).operation == "gemm nvfp4"
    reading = read(SECOND, "torch.float32")
    assert reading.samples == ()
    assert "a number format that no GEMM is fitted for" in reading.skipped[0].reason


def test_rates_that_one_digit_cannot_tell_are_left_out() -> None:
    reading = read(FIRST.replace("500.0 TFLOPS", "  0.4 TFLOPS"))
    assert rates(only(reading)) == [600.0]
    assert "printed with one digit" in reading.skipped[0].reason


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("500.0 TFLOPS @ 1024x", "500.0 TFLOPS @ 0x", r"a product of 0x4096x2048|a product of 0x2048x4096"),
        ("500.0 TFLOPS", "nan TFLOPS", "TFLOPS is not possible"),
        ("500.0 TFLOPS", "inf TFLOPS", "TFLOPS is not possible"),
        ("500.0 TFLOPS", "-5.0 TFLOPS", "TFLOPS is not possible"),
        ("name='NVIDIA H100 80GB HBM3'", "name='Voodoo 2'", "Voodoo 2 is not in the catalogue; say --gpu NAME"),
        ("(name='NVIDIA H100 80GB HBM3'", "(", "does not name its GPU; say --gpu NAME"),
        ("** Dtype: torch.bfloat16", "", "does not say the number format"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(old: str, new: str, said: str) -> None:
    text = log(FIRST).replace(old, new, 1)
    with pytest.raises(InputError, match=rf"^m\.txt:20: .*({said})"):
        mamf.read_log(text, "m.txt", None)


def test_a_gpu_that_is_said_goes_before_the_logs(tmp_path: Path) -> None:
    path = tmp_path / "m.txt"
    path.write_text(log(FIRST), encoding="utf-8")
    assert only(importers.read(path, "h200-sxm", None)).part == "h200-sxm"


def test_gigaflops_taken_for_teraflops_are_faster_than_the_gpu_can_be() -> None:
    reading = read(SECOND.replace("500.0(median)", "500000.0(median)"))
    with pytest.raises(InputError, match=r"^m\.txt:21: gemm bf16: .* is faster than h100-80gb-sxm can be"):
        limits.check([reading], ["m.txt"])
