"""`calibrate verify`: what is compared, what is refused, and real processes from the command to the page."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from calibrate import cli
from calibrate.machines import at_hand, devices
from calibrate.machines.machine import Machine
from calibrate.profile import Counts, write_profile
from calibrate.sharded.blocks import BLOCKS
from calibrate.sharded.verify import relative_error
from calibrate.verification import verify as verification
from calibrate.verification.ladder import LADDER, fitted
from calibrate.verification.predicted import PLANS
from tests.command import Answer
from tests.processor import CPU
from tests.verified import LAYER
from tests.verified import verification as verification_of

Calibrate = Callable[..., Answer]
ONES = torch.ones(4)


@pytest.fixture
def calibrate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calibrate:
    """Runs the command in this process, on a processor of which `profile` is, in a folder of its own."""
    monkeypatch.setattr(at_hand, "processor_part", lambda: CPU.part)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["calibrate", *map(str, arguments)])
        code = cli.main()
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return written(tmp_path / "profile.yaml", CPU)


def written(path: Path, machine: Machine) -> Path:
    """A profile without fits: the sheets alone."""
    write_profile(path, machine, [], Counts(points=1, seconds=1.0), command="calibrate run")
    path.write_text(path.read_text(encoding="utf-8").replace("parts:\n", "parts: {}\n"), encoding="utf-8")
    return path


def refused(answer: Answer, *words: str, code: int = 2) -> None:
    assert (answer.code, answer.out) == (code, ""), answer
    assert all(word in answer.err for word in words), answer.err
    assert answer.err.count("\n") <= 2


def test_every_block_that_is_run_can_be_played_in_the_same_order() -> None:
    assert list(BLOCKS) == list(PLANS)


def test_an_error_is_relative_to_the_largest_number_of_its_tensor() -> None:
    """Off by 1 where the largest is 100, and by 0.1 where it is 1: a hundredth, a tenth."""
    wanted = {"output": torch.tensor([100.0, 1.0]), "weight gradient": ONES}
    found = {"output": torch.tensor([100.0, 2.0]), "weight gradient": ONES + torch.tensor([0.0, 0.1, 0.0, 0.0])}
    assert relative_error(found, {**wanted, "weight gradient": found["weight gradient"]}) == pytest.approx(0.01)
    assert relative_error(found, wanted) == pytest.approx(0.1)


def test_a_small_row_that_is_wrong_is_as_wrong_as_a_large_one() -> None:
    """A row of 0.1 beside one of 100, off by half of itself: 0.0005 of the largest number."""
    wanted = torch.stack([torch.full((4,), 100.0), torch.full((4,), 0.1)])
    found = wanted * torch.tensor([[1.0], [1.5]])
    assert relative_error({"output": found}, {"output": wanted}) == pytest.approx(0.5)


def test_a_row_that_cancels_out_is_measured_by_the_longest() -> None:
    """Rounding of 1e-6 where the row should be zero, beside rows of length 2: 2e-6 / 2e-3."""
    wanted = torch.stack([ONES, ONES * 0])
    found = wanted + torch.stack([ONES * 0, ONES * 1e-6])
    assert relative_error({"output": found}, {"output": wanted}) == pytest.approx(1e-3)


@pytest.mark.parametrize(
    "found", [{}, {"other": ONES}, {"output": ONES[:2]}, {"output": ONES * float("nan")}, {"output": ONES / 0}]
)
def test_what_cannot_be_compared_is_infinitely_wrong(found: dict[str, torch.Tensor]) -> None:
    assert relative_error(found, {"output": ONES}) == float("inf")


def test_without_a_profile_it_says_how_to_get_one(calibrate: Calibrate) -> None:
    answer = calibrate("verify", "--backend", "gloo")
    refused(answer, "no profile of this machine", "calibrate run --backend gloo --quick")


def test_a_profile_of_another_processor_is_refused(calibrate: Calibrate, profile: Path) -> None:
    written(profile, replace(CPU, part="cpu-other"))
    refused(calibrate("verify", "--backend", "gloo", "--profile", profile), "of cpu-other, but here is cpu-amd-epyc")


def test_a_profile_of_another_backend_is_refused(calibrate: Calibrate, profile: Path) -> None:
    refused(calibrate("verify", "--profile", profile), "measured with gloo; say --backend gloo")


def test_fits_without_a_machine_are_refused(calibrate: Calibrate, tmp_path: Path) -> None:
    (tmp_path / "fits.yaml").write_text("part: h100-80gb-sxm\nfits: {}\n")
    refused(calibrate("verify", "--backend", "gloo", "--profile", "fits.yaml"), "machine is missing")


def test_without_a_gpu_it_says_so(calibrate: Calibrate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "inventory", lambda: devices.Inventory(missing="no driver"))
    monkeypatch.setattr(at_hand, "inventory", devices.inventory)
    refused(calibrate("verify"), "no NVIDIA GPU is visible", code=4)


def test_a_name_that_no_block_has_is_refused(calibrate: Calibrate, profile: Path) -> None:
    answer = calibrate("verify", "--backend", "gloo", "--profile", profile, "--only", "zero 4")
    refused(answer, "--only 'zero 4'", "zero 3")


def test_a_block_that_is_not_equal_ends_with_3_and_says_which(
    calibrate: Calibrate, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = verification_of(LAYER, error=0.5)
    monkeypatch.setattr(verification, "verify", lambda *_: wrong)
    answer = calibrate("verify", "--backend", "gloo", "--profile", profile)
    assert answer.code == 3
    assert f"{LAYER} does not equal its reference: fp32: 0.5, 1e-05 allowed" in answer.err


def test_a_process_that_is_not_told_the_results_prints_nothing(
    calibrate: Calibrate, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "verify", lambda *_: None)
    assert calibrate("verify", "--backend", "gloo", "--profile", profile) == Answer(0, "", "")


def test_only_rank_0_needs_the_profile(profile: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Under a launcher: what rank 0 makes of it reaches the others by their meeting."""
    for name, value in {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "n1",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    asked: list[object] = []
    monkeypatch.setattr(verification, "launch", lambda work, sizes, **_: asked.append(list(sizes)))
    assert verification.verify(tmp_path / "is not here.yaml", "gloo", None, ["pipeline 1f1b"], print) is None
    assert asked == [["pipeline 1f1b"]]


def test_gpus_of_several_nodes_are_whole_nodes() -> None:
    machine = Machine(
        backend="nccl", part="h100-80gb-sxm", link="nvlink4", fabric="ib-ndr400x8", device="NVIDIA H100 80GB HBM3",
        num_gpus=32, num_nodes=4,
    )  # fmt: skip
    two, part = (verification.cluster_with(machine, {}, count) for count in (16, 4))
    assert (two.num_nodes, two.num_gpus) == (2, 16)
    assert (part.num_nodes, part.num_gpus) == (1, 4)


def test_the_measured_launch_is_taken_where_it_stands_beside_the_profile(tmp_path: Path) -> None:
    from calibrate.journal import NAME, Journal
    from calibrate.measurement import Measurement

    machine = Machine(backend="nccl", part="h100-80gb-sxm", link="nvlink4", device="NVIDIA H100", num_gpus=1)
    path = tmp_path / "profile.yaml"
    assert verification.launch_seconds_of(path, machine) == pytest.approx(6e-6), "an estimate, of PyTorch in general"
    journal = Journal(tmp_path / NAME, machine)
    for kind, seconds in ((0, 2e-6), (1, 4e-6), (2, 1e-6)):
        journal.add(
            Measurement(
                operation="launch", part=machine.part, inputs={"kind": kind}, seconds=seconds, low=seconds,
                high=seconds, repeats=3,
            )
        )  # fmt: skip
    journal.close()
    assert verification.launch_seconds_of(path, machine) == 4e-6
    assert verification.launch_seconds_of(path, CPU) == 0.0


@pytest.mark.slow
def test_real_processes_equal_the_reference_and_leave_a_page(
    calibrate: Calibrate, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes by Gloo; the times, against sheets that nobody measured, are not looked at."""
    monkeypatch.setattr(verification, "sizes_for", lambda name, cluster, **_: fitted(LADDER[0], 2))
    options = ("--backend", "gloo", "--profile", profile, "--only", "1f1b", "--out", "out", "--format", "json")
    answer = calibrate("verify", *options)
    assert answer.code == 0, answer
    found = json.loads(answer.out)
    assert found["ranks"] == 2
    assert [(block["name"], block["equal"]) for block in found["blocks"]] == [("pipeline 1f1b", True)]
    assert found["blocks"][0]["measured_s"] > 0
    page = Path("out/verify.html").read_text(encoding="utf-8")
    assert "rank" in page
    assert all(f'"{rank} {what}"' in page for rank in (0, 1) for what in ("real", "simulated"))
