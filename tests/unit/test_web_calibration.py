"""The page Calibration: a slow fabric is named, uploads are bounded, and its numbers are the command line's."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from calibrate import cli
from tests.command import ROOT
from tests.nccl_log import nccl_log
from topologies.document import InputError

pytest.importorskip("streamlit", reason="streamlit is not installed")

from web.answers import fits, measurements

LOG = ("all_reduce.log", "", "ib-ndr400x8")


@pytest.fixture
def calibrate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs the command in this process."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["calibrate", *map(str, arguments)])
        assert cli.main() == 0
        return capsys.readouterr().out

    return run


def test_a_fabric_that_is_slower_than_the_fit_is_named_with_the_sizes() -> None:
    """A quarter slower above 16 MiB, which is far beyond the fit's own scatter."""
    slow, well = (measurements.upload(nccl_log(slower), *LOG) for slower in (1.25, 1.0))
    assert slow.sentences[0].startswith("25 % slower all-reduce between nodes above 16 MiB on ib-ndr400")
    assert all("as fast" in sentence for sentence in well.sentences)
    (scored,) = well.scored
    assert scored.points["error"] == pytest.approx(0, abs=0.005)
    assert (scored.fit_of, scored.unit) == ("ib-ndr400", "GB/s bus bandwidth")


def test_a_file_is_scored_and_compared_as_by_the_command_line(calibrate: Callable[..., str], tmp_path: Path) -> None:
    log = nccl_log(1.1)
    (tmp_path / "all_reduce.log").write_bytes(log)
    said = calibrate("score", tmp_path / "all_reduce.log", "--fabric", "ib-ndr400x8", "--format", "json")
    assert json.loads(measurements.scores(log, *LOG)) == json.loads(said)
    files = [str(ROOT / f"topologies/fits/{part}.yaml") for part in ("h100-80gb-sxm", "h200-sxm")]
    told = json.loads(calibrate("compare", *files, "--format", "json"))
    found = measurements.compared("h100-80gb-sxm", "h200-sxm", b"", b"", "", "")
    assert list(found.rows) == told["compared"]
    assert list(found.sentences[1:]) == told["sentences"][1:]


def test_the_fits_that_can_be_downloaded_are_what_the_command_compares(
    calibrate: Callable[..., str], tmp_path: Path
) -> None:
    for part in ("h100-80gb-sxm", "h200-sxm"):
        (tmp_path / f"{part}.yaml").write_bytes(measurements.fits_file(part))
    files = [tmp_path / f"{part}.yaml" for part in ("h100-80gb-sxm", "h200-sxm")]
    told = json.loads(calibrate("compare", *files, "--format", "json"))
    assert list(measurements.compared("h100-80gb-sxm", "h200-sxm", b"", b"", "", "").rows) == told["compared"]
    with pytest.raises(InputError, match="no fits of"):
        measurements.fits_file("../../etc/passwd")


def test_what_is_fitted_here_is_a_file_of_fits_that_can_be_shown_and_compared() -> None:
    made = measurements.fitted(nccl_log(1.1), *LOG)
    ((name, text),) = made.files
    assert (name, made.rows[0]["operation"], made.left) == ("ib-ndr400.yaml", "nccl network", ())
    assert fits.operations("ib-ndr400", text.encode()) == (("nccl network", "ib-ndr400"),)
    shown = fits.operation("ib-ndr400", "nccl network", text.encode())
    assert shown.is_measured
    assert len(shown.lines["size"])
    found = measurements.compared("ib-ndr400", name, b"", text.encode(), "", "")
    assert {row["part"] for row in found.rows} == {"ib-ndr400"}


def test_a_gpu_is_not_shown_formats_in_which_it_cannot_multiply_and_says_whose_fits_it_borrows() -> None:
    found = dict(fits.operations("a100-80gb-sxm"))
    assert found["gemm bf16"] == "a100-80gb-sxm"
    assert found["attention decode fp8"] == "h100-80gb-sxm"
    assert not any("gemm fp8" in name or "nvfp4" in name for name in found)
    assert not fits.operation("a100-80gb-sxm", "attention decode fp8").is_measured


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (b"\x1f\x8b\x08\x00", "trace.json", "unpack it first"),
        (b"a", "run.sh", "upload one of csv"),
        (b"a", "../../etc/passwd", "upload one of csv"),
        (b"a,b\n1,2\n", "table.csv", "upload.csv:1: no layout has these columns"),
        (b"{" * 1000, "trace.json", "upload.json"),
        (b"", "samples.jsonl", "upload.jsonl"),
        (b"part: x\nfits: {}\n", "fits.yaml", "this is YAML, not measurements"),
        (b"a" * (5 * 2**20 + 1), "all.log", "more than 5"),
    ],
)
def test_an_upload_that_cannot_be_read_is_refused_and_names_no_folder(content: bytes, name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as refused:
        measurements.upload(content, name, "", "")
    assert "/" not in str(refused.value).replace("docs/", "").replace("../../etc/passwd", "")


def test_tags_in_a_profile_are_not_executed() -> None:
    with pytest.raises(InputError, match="tags"):
        fits.profiles(b"part: !!python/object/apply:os.system [ls]\n")


def test_a_refusal_names_the_fields_of_the_page_where_the_command_line_has_flags() -> None:
    with pytest.raises(InputError, match=r"write it into the field Fabric, such as ib-ndr400x8$"):
        measurements.upload(nccl_log(), "all_reduce.log", "", "")
