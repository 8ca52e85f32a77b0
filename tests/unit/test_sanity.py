"""More work does not take less time: of measurements and of fits."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibrate import sanity
from calibrate.importers.reading import Reading
from calibrate.samples import Samples
from sim.costs.laws import KERNEL_LAWS
from tests.processor import SHEET
from tests.samples import TOY, TRUTH
from topologies.document import InputError
from topologies.fits import FOLDER, profile
from topologies.hardware import Fit
from topologies.quantity import MIB, MICROSECOND

H100 = "h100-80gb-sxm"


def all_reduces(times: Mapping[float, float], *, num_gpus: float = 8.0) -> Samples:
    """All-reduces by MiB, in microseconds."""
    sizes = np.array([*times]) * MIB
    count = len(sizes)
    return Samples(
        operation="nccl node",
        part="nvlink4",
        gpu=H100,
        points={"operation": np.zeros(count), "num_gpus": np.full(count, num_gpus), "nbytes": sizes},
        seconds=np.array([*times.values()]) * MICROSECOND,
        rows=np.arange(2, count + 2),
    )


def usual(count: int = 40) -> dict[float, float]:
    """20 us and 10 us for each MiB."""
    return {float(size): 20.0 + 10.0 * size for size in range(1, count + 1)}


def test_what_grows_with_its_size_contradicts_nothing() -> None:
    assert not sanity.contradicting(all_reduces(usual())).any()


def test_a_fall_within_the_noise_is_none() -> None:
    """5 MiB take 70 us; 6 MiB in 52 us are a quarter less, in 45 us more than a third."""
    assert not sanity.contradicting(all_reduces({**usual(), 6.0: 52.0})).any()
    assert sanity.contradicting(all_reduces({**usual(), 6.0: 45.0})).sum() == 1


def test_starts_of_kernels_may_differ_by_microseconds() -> None:
    assert not sanity.contradicting(all_reduces({0.001: 9.0, 0.002: 5.0, 0.004: 4.5})).any()


def test_the_one_point_that_contradicts_many_is_the_wrong_one() -> None:
    """32 MiB in 30 us: as fast as 1 MiB. It alone goes, whichever way round it is wrong."""
    for size, time in ((32.0, 30.0), (2.0, 3000.0)):
        wrong = sanity.contradicting(all_reduces({**usual(), size: time}))
        assert list(np.flatnonzero(wrong)) == [int(size) - 1]


def test_points_that_differ_in_more_than_sizes_are_not_compared() -> None:
    two, eight = all_reduces(usual(), num_gpus=2.0), all_reduces({9.0: 20.0}, num_gpus=8.0)
    points = {name: np.concatenate([column, eight.points[name]]) for name, column in two.points.items()}
    both = replace(two, points=points, seconds=np.append(two.seconds, eight.seconds), rows=np.arange(41))
    assert not sanity.contradicting(both).any()


def test_products_are_larger_only_in_every_size() -> None:
    """128 x 4096 x 4096 in 30 us beside 4096 x 64 x 64 in 10 us say nothing of each other."""
    columns = {"m": [128.0, 4096.0], "n": [4096.0, 64.0], "k": [4096.0, 64.0]}
    samples = Samples(
        operation="gemm bf16",
        part=H100,
        points={name: np.array(column) for name, column in columns.items()},
        seconds=np.array([30.0, 10.0]) * MICROSECOND,
        rows=np.array([2, 3]),
    )
    assert not sanity.contradicting(samples).any()


def test_few_are_left_out_and_told() -> None:
    samples = all_reduces({**usual(), 32.0: 30.0})
    (reading,) = sanity.without_nonsense([Reading(samples=(samples,))], ["t.csv"])
    assert len(reading.samples[0]) == 39
    assert [(one.row, one.reason) for one in reading.skipped] == [(33, f"nccl node: {sanity.REASON}")]


def test_many_are_refused_with_two_rows() -> None:
    """Every second time is in nanoseconds."""
    mixed = {size: time / 1000 if index % 2 else time for index, (size, time) in enumerate(usual().items())}
    with pytest.raises(InputError, match=r"^t\.csv:3: nccl node: 0\.04 us, but the smaller one of row 2 took 30 us"):
        sanity.without_nonsense([Reading(samples=(all_reduces(mixed),))], ["t.csv"])


def test_our_own_journals_keep_their_points() -> None:
    reading = Reading(samples=(all_reduces({**usual(), 32.0: 30.0}),))
    assert sanity.without_nonsense([reading], ["samples.jsonl"]) == [reading]


def test_microseconds_among_seconds_are_found_in_our_own_journals_too() -> None:
    mixed = {nbytes: seconds * (1e6 if index % 2 else 1.0) for index, (nbytes, seconds) in enumerate(usual().items())}
    with pytest.raises(InputError, match="sizes or times in two units"):
        sanity.without_nonsense([Reading(samples=(all_reduces(mixed),))], ["samples.jsonl"])


def toy_fit(**values: float) -> Fit:
    return Fit(
        values={**TRUTH, **values},
        sources={},
        origin="interpolated",
        spread=(-0.05, 0.05),
        domain=dict.fromkeys("mnk", (64.0, 8192.0)),
        num_points=100,
        part=H100,
    )


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KERNEL_LAWS, TOY.operation, TOY)  # type: ignore[arg-type]


@pytest.mark.usefixtures("toy")
def test_a_sound_fit_passes() -> None:
    sanity.check_profile("p.yaml", {H100: {TOY.operation: toy_fit()}}, {})


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rate": 3.0, "launch": 0.0}, r"predicts .* us where physics allows .* us, for m .*; calibrate again$"),
        ({"launch": -1000.0}, r"predicts -0\.00\S+ s for m 64, n 64, k 64; calibrate again$"),
        ({"rate": 0.0}, r"predicts inf s for"),
    ],
)
def test_a_fit_that_predicts_what_cannot_be_is_refused(values: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=rf"^p\.yaml: {H100}: gemm toy: {said}"), np.errstate(divide="ignore"):
        sanity.check_profile("p.yaml", {H100: {TOY.operation: toy_fit(**values)}}, {})


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: Path(file).stem)
def test_no_shipped_fit_predicts_what_cannot_be(file: Path) -> None:
    sanity.check_profile(file.name, profile(file), {})


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"domain": {"m": [64, 128], "colour": [1, 2]}}, "gemm toy: domain.colour: no such input"),
        ({"domain": {"m": [-64, 128]}}, "gemm toy: domain.m: -64 is no size"),
        ({"values": {"rate": 1e30, "launch": 0.0}}, "gemm toy: values.rate: 1e[+]30 is beyond"),
        ({"values": {"rate": "much", "launch": 0.0}}, "gemm toy.values.rate: 'much' is not a number"),
        ({"values": {}}, "gemm toy: values: .* is missing"),
    ],
)
def test_a_profile_edited_to_nonsense_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(json.dumps({"parts": {H100: {TOY.operation: {"values": TRUTH, **change}}}}))
    with pytest.raises(InputError, match=said):
        sanity.checked(path)


def test_a_profile_with_a_broken_sheet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(json.dumps({"hardware": {"gpu": {**SHEET, "num_sms": -1}}, "parts": {}}))
    with pytest.raises(InputError, match=r"hardware\.gpu: num_sms"):
        sanity.checked(path)
