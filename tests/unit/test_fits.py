"""Fits are laid over data sheets: the package's, then the user's, then those of a profile."""

from dataclasses import replace
from pathlib import Path

import pytest

import topologies
from calibrate.profile import write_fits
from topologies import fits as fits_module
from topologies.document import Document, InputError, Value
from topologies.fit_files import read_fits, written
from topologies.fits import (
    fits_of,
    gpu_over,
    hardware_of,
    laid_over,
    link_with_fits,
    part_names,
    profile,
    relative,
    users_folder,
    with_fits,
)
from topologies.hardware import Fit
from topologies.parts import outlined

OPERATION = "an operation that no shipped fit has"
FIT = Fit(
    values={"rate": 0.5},
    sources={"rate": "here"},
    origin="interpolated",
    spread=(-0.1, 0.1),
    half_widths={"rate": 0.0},
    num_points=9,
    part="h100-80gb-sxm",
)
SHEETS = {name: replace(topologies.gpu(name), fits={}) for name in ("h100-80gb-sxm", "h200-sxm", "a100-80gb-sxm")}


def quick(path: Path) -> Document:
    return Document(name=path.name, data=written(path.read_text(encoding="utf-8")), lines={})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    folder = users_folder()
    folder.mkdir(parents=True)
    return folder


def test_a_users_own_fits_go_before_those_of_the_package(home: Path) -> None:
    write_fits(home / "h100-80gb-sxm.yaml", "h100-80gb-sxm", {OPERATION: FIT}, command="c")
    assert fits_of("h100-80gb-sxm")[OPERATION] == FIT
    assert with_fits(SHEETS["h100-80gb-sxm"], []).fits[OPERATION]["rate"] == 0.5


def test_a_link_takes_its_fits_too(home: Path) -> None:
    write_fits(home / "nvlink4.yaml", "nvlink4", {OPERATION: replace(FIT, part="nvlink4")}, command="c")
    assert link_with_fits(topologies.link("nvlink4"), {}).fits[OPERATION].part == "nvlink4"


def test_a_link_borrows_from_the_nearest_of_its_kind(home: Path) -> None:
    for name in ("nvlink4", "ib-ndr400", "ib-hdr200"):
        write_fits(home / f"{name}.yaml", name, {OPERATION: replace(FIT, part=name)}, command="c")
    rates = {name: topologies.link(name).bandwidth for name in ("nvlink4", "ib-ndr400", "ib-hdr200")}
    for name, lender in (("nvlink5", "nvlink4"), ("ib-xdr800", "ib-ndr400"), ("roce-200", "ib-hdr200")):
        assert link_with_fits(replace(topologies.link(name), fits={}), rates).fits[OPERATION].part == lender
    assert OPERATION not in link_with_fits(replace(topologies.link("pcie5"), fits={}), rates).fits


@pytest.mark.parametrize("name", topologies.names("gpus"))
def test_the_outline_of_a_sheet_says_what_the_sheet_says(name: str) -> None:
    gpu = topologies.gpu(name)
    assert outlined(name) == relative(gpu.name, gpu.peak_flops, gpu.num_sms, gpu.memory_bandwidth)


def test_without_a_folder_of_ones_own_there_are_the_shipped_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))
    assert OPERATION not in fits_of("h100-80gb-sxm")
    assert fits_of("no such part") == {}


def test_a_gpu_that_nobody_measured_borrows_from_its_own_generation(home: Path) -> None:
    """H200 is H100's chip with more memory; A100 is another chip."""
    for name, rate in (("h100-80gb-sxm", 0.5), ("a100-80gb-sxm", 0.9)):
        own = replace(FIT, part=name, values={"rate": rate})
        write_fits(home / f"{name}.yaml", name, {OPERATION: own}, command="c")
    lenders = [outlined("a100-80gb-sxm"), outlined("h100-80gb-sxm")]
    borrowed = with_fits(SHEETS["h200-sxm"], lenders).fits[OPERATION]
    assert (borrowed["rate"], borrowed.part, borrowed.origin) == (0.5, "h100-80gb-sxm", "datasheet")


def test_a_profile_replaces_the_fits_of_its_parts_in_all_pools(tmp_path: Path) -> None:
    cluster = topologies.load("dgx-h100", 16)
    over = laid_over(cluster, {"h100-80gb-sxm": {OPERATION: FIT}, "nvlink4": {OPERATION: FIT}, "t4": {OPERATION: FIT}})
    assert over.gpu.fits[OPERATION] == FIT
    assert over.node.scale_up.fits[OPERATION] == FIT
    assert over.node.nic == cluster.node.nic
    assert gpu_over(SHEETS["h200-sxm"], {"h100-80gb-sxm": {OPERATION: FIT}}).fits == {}


def test_a_folder_is_a_profile_of_all_parts_in_it(tmp_path: Path) -> None:
    for part in ("nvlink4", "h200-sxm"):
        write_fits(tmp_path / f"{part}.yaml", part, {OPERATION: replace(FIT, part=part)}, command="c")
    assert set(profile(tmp_path)) == {"nvlink4", "h200-sxm"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1", "p.yaml: not a file of fits"),
        ("part: x\nfits: {a: 1}", "p.yaml:2: fits.a: no values"),
        (
            "part: x\nfits: {a: {values: {r: fast}}}",
            "p.yaml:2: fits.a.values.r: 'fast' is not a number; write one such",
        ),
        ("part: x\nfits: {a: {values: {r: 1}, spread: 3}}", "p.yaml:2: fits.a.spread: write two numbers"),
        ("part: x\nfits: {a: {values: {r: 1}, spread: [.2, .1]}}", "p.yaml:2: fits.a.spread: 0.2 is above 0.1"),
        ("part: x\nfits: {a: {values: {r: 1}, spread: [-9, 9]}}", "p.yaml:2: fits.a.spread: [-9, 9] is ln(measured /"),
        ("part: x\nfits: {a: {values: {r: 1}, domain: [1]}}", "p.yaml:2: fits.a.domain: write a mapping"),
        ("part: x\nfits: {a: {values: {r: 1}, domain: {m: [2, 1]}}}", "p.yaml:2: fits.a.domain.m: 2 is above 1; write"),
        (
            "part: x\nfits: {a: {values: {r: 1}, domian: {}}}",
            "p.yaml:2: fits.a.domian: a fit has no such field; did you",
        ),
        ("part: x\nfits: {a: {values: {r: 1}, points: -3}}", "p.yaml:2: fits.a.points: -3 counts nothing; write"),
        ("part: x\nfits: {a: {values: {r: 1}, origin: guessed}}", "p.yaml:2: fits.a.origin: 'guessed' is none; write"),
        ("part: x\nfits: {a: {values: {r: 1 ± x}}}", "p.yaml:2: fits.a.values.r: ' x' is not a number"),
        ("part: x\nfits: {a: {values: {r: 1 ± -2}}}", "p.yaml:2: fits.a.values.r: half of an interval is not negative"),
        ("part: x\nfits: {a: {values: {r: nan}}}", "p.yaml:2: fits.a.values.r: nan is not a finite number"),
        ("part: x\nfits: {a: {values: {r: .inf}}}", "p.yaml:2: .inf is not a finite number"),
        ("parts: {x: 1}", "p.yaml:1: parts.x: write a mapping"),
        (
            "profile: x\nparts:\n  x:\n    a:\n      values: {r: inf}",
            "p.yaml:5: parts.x.a.values.r: inf is not a finite",
        ),
    ],
)
def test_what_is_no_profile_is_refused_with_the_place(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as refused:
        profile(path)
    assert str(refused.value).startswith(said)


def test_a_profile_of_a_run_holds_several_parts_and_the_sheets_of_what_no_catalogue_has(tmp_path: Path) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(
        "profile: cpu-x\nmachine: {backend: gloo}\nhardware: {gpu: {name: cpu-x}, link: {name: gloo-loopback}}\n"
        "parts:\n  cpu-x:\n    a:\n      source: here\n      points: 9\n      spread: [-0.1, 0.1]\n"
        "      error: [0.03, 0.09]\n      values: {rate: 0.5}\n    b: {values: {rate: 0.5}}\n"
        "  gloo-loopback: {}\n",
        encoding="utf-8",
    )
    of_cpu = replace(FIT, part="cpu-x")
    assert profile(path) == {
        "cpu-x": {"a": of_cpu, "b": replace(of_cpu, spread=None, num_points=0)},
        "gloo-loopback": {},
    }
    assert profile(tmp_path) == profile(path)
    assert hardware_of(path) == {"gpu": {"name": "cpu-x"}, "link": {"name": "gloo-loopback"}}


@pytest.mark.parametrize("sheets", ["{cpu: {}}", "{gpu: fast}", "[1]"])
def test_sheets_that_are_none_are_refused(sheets: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(f"hardware: {sheets}\nparts: {{}}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"p\.yaml:1: hardware"):
        hardware_of(tmp_path)


def test_the_parts_of_a_cluster_are_named_once() -> None:
    assert part_names(topologies.load("dgx-h100", 16)) == ["h100-80gb-sxm", "nvlink4", "ib-ndr400"]


def test_an_empty_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \*\.yaml in this folder"):
        profile(tmp_path)
    with pytest.raises(InputError, match="there is no such file"):
        profile(tmp_path / "none.yaml")


def test_every_shipped_fit_can_be_read_and_is_small() -> None:
    for path in fits_module.FOLDER.glob("*.yaml"):
        assert path.stat().st_size <= 8192, f"{path.name}: at most 8 kB: physics, not a table in disguise"
        (part,) = profile(path)
        assert part == path.stem
        for operation, fit in fits_of(part).items():
            assert len(fit.values) <= 200, operation
            assert fit.num_points == 0 or next(iter(fit.sources.values())), f"{part}: {operation} has no source"


def test_the_quick_reader_sees_what_the_careful_one_sees() -> None:
    for path in fits_module.FOLDER.glob("*.yaml"):
        (careful,) = profile(path).values()
        assert read_fits(quick(path)) == {path.stem: careful}, path.name


def test_the_quick_reader_reads_texts_with_anything_in_them(tmp_path: Path) -> None:
    odd = replace(FIT, sources={"rate": 'a, "b": {c} [d]: e \\ f'}, domain={"m": (1.0, 2.0), "n": (0.5, 1e9)})
    write_fits(tmp_path / "p.yaml", "p", {"an op": odd, "b": replace(odd, origin="measured")}, command="c")
    (careful,) = profile(tmp_path / "p.yaml").values()
    assert read_fits(quick(tmp_path / "p.yaml")) == {"p": careful}


def test_read_fits_keeps_the_origin_that_is_written() -> None:
    fit: Value = {"origin": "datasheet", "source": "s", "values": {"r": "1 ± 0.1"}}
    found = read_fits(Document(name="x.yaml", data={"part": "x", "fits": {"a": fit}}, lines={}))["x"]
    assert (found["a"].origin, found["a"].half_widths["r"], found["a"].num_points) == ("datasheet", 0.1, 0)


def test_a_gpu_without_fp8_borrows_from_one_with_it_last(home: Path) -> None:
    """An RTX 3090's SMs multiply like an RTX 4090's, but its kernels are an A100's; an L40S has the newer ones."""
    for name in ("a100-80gb-sxm", "rtx-4090"):
        write_fits(home / f"{name}.yaml", name, {OPERATION: replace(FIT, part=name)}, command="c")
    lenders = [outlined(name) for name in ("a100-80gb-sxm", "rtx-4090")]
    for name, lender in (("rtx-3090", "a100-80gb-sxm"), ("rtx-5090", "rtx-4090")):
        assert with_fits(topologies.gpu(name), lenders).fits[OPERATION].part == lender
