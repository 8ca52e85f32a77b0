"""Profiles are written whole, read again as they were, and leave alone what was not measured again."""

import os
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from calibrate.profile import merge_fits, write_fits
from topologies.document import InputError
from topologies.fits import profile
from topologies.hardware import Fit

FIT = Fit(
    values={"rate": 0.84, "launch": 3.1},
    sources={"rate": 'a "source"', "launch": 'a "source"'},
    origin="interpolated",
    spread=(-0.05, 0.04),
    half_widths={"rate": 0.01, "launch": 0.0},
    domain={"m": (1.0, 8192.0)},
    num_points=123,
    part="h100-80gb-sxm",
)
DAY = date(2026, 1, 2)


def test_a_fit_written_and_read_again_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "h100-80gb-sxm.yaml"
    write_fits(path, "h100-80gb-sxm", {"gemm bf16": FIT}, command="calibrate fit", day=DAY)
    assert profile(path) == {"h100-80gb-sxm": {"gemm bf16": FIT}}


def test_the_outermost_point_lies_inside_the_domain_that_is_written(tmp_path: Path) -> None:
    """262,144 rounds to 262,100 and 0.123456 to 0.1235: both away from the points instead."""
    wide = replace(FIT, domain={"n": (0.123456, 262144.0)})
    write_fits(tmp_path / "p.yaml", "p", {"a": wide}, command="c", day=DAY)
    low, high = profile(tmp_path / "p.yaml")["p"]["a"].domain["n"]
    assert 0.1233 < low <= 0.123456
    assert 262144 <= high < 262400


def test_operations_that_were_not_fitted_again_stay(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "p.yaml"
    other = replace(FIT, num_points=7)
    merge_fits(path, "h100-80gb-sxm", {"gemm bf16": FIT, "gemm fp8": FIT}, command="calibrate fit", day=DAY)
    merge_fits(path, "h100-80gb-sxm", {"gemm fp8": other}, command="calibrate fit", day=DAY)
    assert profile(path)["h100-80gb-sxm"] == {"gemm bf16": FIT, "gemm fp8": other}


def test_a_profile_is_on_the_disk_before_it_takes_the_place_of_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its contents first, then its name, which the folder holds: else a loss of power could leave an empty file."""
    path, kept = tmp_path / "p.yaml", []
    monkeypatch.setattr(os, "fsync", lambda file: kept.append((os.fstat(file).st_size, path.exists())))
    write_fits(path, "p", {"a": FIT}, command="c", day=DAY)
    assert kept[0] == (path.stat().st_size, False)
    assert [is_there for _, is_there in kept] == [False, True]


def test_the_same_fits_are_the_same_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    write_fits(one, "p", {"a": FIT, "b": FIT}, command="c", day=DAY)
    write_fits(other, "p", {"b": FIT, "a": FIT}, command="c", day=DAY)
    assert one.read_bytes() == other.read_bytes()


def test_the_file_of_another_part_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    write_fits(path, "nvlink4", {"nccl": FIT}, command="c", day=DAY)
    before = path.read_bytes()
    with pytest.raises(InputError, match="holds the fits of nvlink4; write those of h100-80gb-sxm into another file"):
        merge_fits(path, "h100-80gb-sxm", {"gemm": FIT}, command="c")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["p.yaml"]


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_fits(tmp_path / "file" / "p.yaml", "p", {"a": FIT}, command="c")
