"""`calibrate run`: whatever its ranks tell is kept, and becomes a profile; here the test itself says what they tell."""

import errno
import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import topologies
from calibrate import cli, journal, sanity
from calibrate.machines import at_hand
from calibrate.machines.machine import Machine, gpu_of
from calibrate.machines.own_gpu import gpu_sheet
from calibrate.measurement import LeftOut, Measurement
from calibrate.running import run
from calibrate.running.asked import Asked, Family, Planned, Told
from sim.costs.laws import KERNEL_LAWS
from tests.command import Answer
from tests.processor import CPU
from tests.samples import TOY, toy_samples
from tests.unit.test_own_gpu import SEEN, X1
from topologies.document import Fault, InputError, Missing
from topologies.fits import profile
from topologies.hardware import Gpu

PART = "h100-80gb-sxm"
MACHINE = Machine(
    backend="nccl", part=PART, link="nvlink4", device="NVIDIA H100 80GB HBM3", num_gpus=2, hosts=("n1",),
    software={"driver": "550.54", "nccl": "2.27.3"},
)  # fmt: skip
H100 = topologies.gpu(PART)
SHARED = "ranks share a GPU: plumbing only"


def points(count: int = 40, gpu: Gpu = H100) -> list[Measurement]:
    """The first of 40 points of the toy law."""
    samples = toy_samples(gpu, noise=0.03, count=40)
    return [
        Measurement(
            operation=TOY.operation,
            part=gpu.name,
            inputs={name: float(column[index]) for name, column in samples.points.items()},
            seconds=float(samples.seconds[index]),
            low=float(samples.seconds[index]),
            high=float(samples.seconds[index]),
            repeats=9,
            slowest=float(samples.seconds[index]) * 1.01,
            slowest_rank=index % 2,
        )
        for index in range(count)
    ]


def plan(count: int = 40) -> Planned:
    return Planned(families=(Family(operation=TOY.operation, part=PART, points=count, seconds=2.0 * count),))


class Ranks:
    """What the ranks tell, and how they end; `asked` is what they were asked."""

    def __init__(self) -> None:
        self.told: Iterable[Told] = [MACHINE, plan(), *points()]
        self.end: bool | BaseException | None = True
        self.asked: Asked | None = None
        self.num_ranks: int | None = None

    def launch(
        self, work: object, asked: Asked, *, backend: str, take: Callable[[Told], None], num_ranks: int | None,
        prepare: Callable[[Asked], Asked],
    ) -> bool | None:  # fmt: skip
        assert backend == asked.backend
        self.asked, self.num_ranks = prepare(asked), num_ranks
        for one in self.told:
            take(one)
        if isinstance(self.end, BaseException):
            raise self.end
        return self.end


def ranks_without_torch() -> ModuleType:
    """In place of the module that the ranks run, which takes seconds to import."""
    made = ModuleType("calibrate.bench.measuring")
    made.__dict__["work"] = None
    return made


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ranks:
    monkeypatch.setitem(KERNEL_LAWS, TOY.operation, TOY)  # type: ignore[arg-type]
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    made = Ranks()
    monkeypatch.setattr(run, "launch", made.launch)
    monkeypatch.setattr(at_hand, "problems_at_hand", lambda backend: [])
    monkeypatch.setitem(sys.modules, "calibrate.bench.measuring", ranks_without_torch())
    return made


@pytest.fixture
def calibrate(
    ranks: Ranks, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Answer]:
    """Runs `calibrate run --out p` in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def execute(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["calibrate", "run", "--out", "p", *arguments])
        return Answer(cli.main(), *capsys.readouterr())

    return execute


def test_a_run_writes_its_samples_and_a_profile_that_predicts_them(
    calibrate: Callable[..., Answer], tmp_path: Path
) -> None:
    answer = calibrate("--quick")
    assert answer.code == 0
    assert re.search(rf"^{TOY.operation} +{PART} +40 ", answer.out, re.MULTILINE)
    assert "next: shardsim train MODEL CLUSTER --profile p/profile.yaml" in answer.out
    assert "wrote p/profile.yaml" in answer.err
    machine, found = journal.read(tmp_path / "p" / "samples.jsonl")
    assert (machine, len(found)) == (MACHINE, 40)
    text = (tmp_path / "p" / "profile.yaml").read_text()
    assert text.startswith("# Written by `calibrate run --out p --quick`.\nprofile: h100-80gb-sxm\nmachine:\n")
    assert "processor" not in text
    assert re.search(r"^measured: .*\"points\": 40", text, re.MULTILINE)
    assert re.search(r"^      error: \[0.0\d+, 0.0\d+\]$", text, re.MULTILINE)
    fit = profile(tmp_path / "p" / "profile.yaml")[PART][TOY.operation]
    assert fit.num_points == 40
    assert fit.sources["rate"].startswith("measured by calibrate run on NVIDIA H100 80GB HBM3, 20")


def test_what_is_asked_for_reaches_the_ranks(ranks: Ranks, calibrate: Callable[..., Answer]) -> None:
    calibrate(
        "--full", "--minutes", "2", "--only", "gemm", "--gpu", "h200", "--fabric", "ib-ndr400x8", "--processes", "3"
    )
    assert ranks.asked == Asked(
        backend="nccl", budget="full", seconds=120.0, only="gemm", gpu="h200", fabric="ib-ndr400x8"
    )
    assert ranks.num_ranks == 3


@pytest.mark.parametrize(("option", "seconds"), [((), 300.0), (("--quick",), 60.0), (("--full",), 1800.0)])
def test_a_run_takes_one_five_or_thirty_minutes(
    ranks: Ranks, calibrate: Callable[..., Answer], option: tuple[str, ...], seconds: float
) -> None:
    calibrate(*option)
    assert ranks.asked is not None
    assert ranks.asked.seconds == seconds


def test_what_would_spoil_it_is_told_before_it_begins(
    calibrate: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_hand, "problems_at_hand", lambda backend: [f"GPU 0 is busy, for {backend}"])
    assert calibrate("--dry-run").err.startswith("GPU 0 is busy, for nccl\n")
    assert "busy" not in calibrate("--dry-run", "--quiet").err


def test_points_that_are_left_are_told_by_code_5(
    ranks: Ranks, calibrate: Callable[..., Answer], tmp_path: Path
) -> None:
    ranks.told, ranks.end = [MACHINE, plan(), *points(30)], False
    answer = calibrate()
    assert answer.code == 5
    assert "10 of 40 points are left; --resume goes on with them" in answer.err
    assert profile(tmp_path / "p" / "profile.yaml")[PART][TOY.operation].num_points == 30


def test_ctrl_c_keeps_and_fits_what_is_there(ranks: Ranks, calibrate: Callable[..., Answer], tmp_path: Path) -> None:
    ranks.told, ranks.end = [MACHINE, plan(), *points(30)], KeyboardInterrupt()
    answer = calibrate()
    assert answer.code == 130
    assert profile(tmp_path / "p" / "profile.yaml")[PART][TOY.operation].num_points == 30


def test_a_second_ctrl_c_leaves_the_samples_and_no_profile(
    ranks: Ranks, calibrate: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    ranks.end = KeyboardInterrupt()
    monkeypatch.setattr(run, "fit_all", interrupted)
    assert calibrate().code == 130
    assert len(journal.read(tmp_path / "p" / "samples.jsonl")[1]) == 40
    assert not (tmp_path / "p" / "profile.yaml").exists()


def test_a_rank_that_dies_loses_nothing(ranks: Ranks, calibrate: Callable[..., Answer], tmp_path: Path) -> None:
    ranks.told, ranks.end = [MACHINE, plan(), *points(5)], Fault("rank 1 was killed by SIGKILL")
    answer = calibrate()
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == ("calibrate: rank 1 was killed by SIGKILL; 5 points are kept in p, --resume goes on\n")
    assert len(journal.read(tmp_path / "p" / "samples.jsonl")[1]) == 5


def test_a_run_that_never_measured_leaves_nothing(
    ranks: Ranks, calibrate: Callable[..., Answer], tmp_path: Path
) -> None:
    for end, code in ((Missing("no GPU is visible"), 4), (KeyboardInterrupt(), 130), (Fault("rank 0 died"), 1)):
        ranks.told, ranks.end = [MACHINE, plan()], end
        assert calibrate().code == code
        assert not (tmp_path / "p").exists()


def test_nothing_is_overwritten(calibrate: Callable[..., Answer], tmp_path: Path) -> None:
    assert calibrate().code == 0
    before = (tmp_path / "p" / "samples.jsonl").read_bytes()
    answer = calibrate()
    assert answer.code == 2
    assert (
        answer.err
        == "calibrate: p/samples.jsonl is there already; add --resume to go on with it, or write another --out\n"
    )
    assert (tmp_path / "p" / "samples.jsonl").read_bytes() == before


def test_resume_tells_the_ranks_what_is_measured_and_adds_the_rest(
    ranks: Ranks, calibrate: Callable[..., Answer], tmp_path: Path
) -> None:
    ranks.told, ranks.end = [MACHINE, plan(), *points(10)], Fault("rank 1 died")
    assert calibrate().code == 1
    ranks.told, ranks.end = [MACHINE, plan(30), *points()[10:]], True
    assert calibrate("--resume").code == 0
    assert ranks.asked is not None
    assert ranks.asked.found == MACHINE
    assert [one.key for one in ranks.asked.measured] == [one.key for one in points(10)]
    assert profile(tmp_path / "p" / "profile.yaml")[PART][TOY.operation].num_points == 40


def test_resume_begins_where_there_is_nothing(calibrate: Callable[..., Answer], tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "samples.jsonl").write_text('{"torn')
    assert calibrate("--resume").code == 0
    assert len(journal.read(tmp_path / "p" / "samples.jsonl")[1]) == 40


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backend", "foo"], "--backend 'foo' is not known"),
        (["--minutes", "0"], "--minutes 0: write more than 0"),
        (["--minutes", "-1"], "--minutes -1: write more than 0"),
        (["--minutes", "nan"], "--minutes nan: write more than 0"),
        (["--processes", "0"], "'--processes'"),
        (["--quick", "--full"], "--quick and --full say different things"),
        (["--backend", "gloo", "--gpu", "h100"], "--gpu: --backend gloo measures no GPU"),
        (["--backend", "gloo", "--fabric", "ib-ndr400x8"], "--fabric: --backend gloo measures no GPU"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_measured(
    ranks: Ranks, calibrate: Callable[..., Answer], arguments: list[str], said: str
) -> None:
    ranks.told = iter([MACHINE])
    answer = calibrate(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert answer.err.count("\n") <= 2
    assert list(ranks.told) == [MACHINE], "nobody was asked to measure"


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(
    ranks: Ranks, calibrate: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ranks.told = iter([MACHINE])
    (tmp_path / "p").write_text("x")
    answer = calibrate()
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.endswith("p is a file, not a folder; write another --out\n")
    (tmp_path / "p").unlink()
    monkeypatch.setattr(run.os, "access", lambda *_: False)
    answer = calibrate()
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.endswith(": nobody lets you write there; write another --out\n")
    assert list(ranks.told) == [MACHINE], "nobody was asked to measure"


def test_a_disk_that_fills_up_keeps_what_is_written(
    ranks: Ranks, calibrate: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write, left = os.write, iter([True] * 6)

    def writing(file: int, line: bytes) -> int:
        if next(left, False):
            return write(file, line)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal.os, "write", writing)
    answer = calibrate()
    monkeypatch.undo()
    assert (answer.code, answer.out) == (2, "")
    said = "cannot be written: no space left on device; 5 points are kept in p, --resume goes on"
    assert answer.err.endswith(f"{said}\n")
    assert len(journal.read(tmp_path / "p" / "samples.jsonl")[1]) == 5


def test_a_dry_run_tells_the_plan_and_writes_nothing(
    ranks: Ranks, calibrate: Callable[..., Answer], tmp_path: Path
) -> None:
    groups = tuple(tuple(range(start, start + 8)) for start in range(0, 64, 8))
    rails = ((0, 8, 16, 24), (3, 5))
    nccl = Family(operation="nccl node", part="nvlink4", points=12, seconds=3.0, groups=groups)
    railed = replace(nccl, operation="nccl send", groups=rails)
    ranks.told = [MACHINE, Planned(families=(*plan().families, nccl, railed))]
    answer = calibrate("--dry-run")
    assert answer.code == 0
    lines = [re.split(r"  +", line) for line in answer.out.splitlines()]
    assert lines[1:4] == [
        [TOY.operation, PART, "40", "80 s", "each alone"],
        ["nccl node", "nvlink4", "12", "3 s", "0-7, 8-15, 16-23, 5 more"],
        ["nccl send", "nvlink4", "12", "3 s", "0-24/8, 3+5"],
    ]
    assert answer.out.endswith("64 points, about 86 s\n")
    assert ranks.asked is not None
    assert ranks.asked.is_plan
    assert not (tmp_path / "p").exists()
    assert json.loads(calibrate("--dry-run", "--format", "json").out)[2]["groups"] == [[0, 8, 16, 24], [3, 5]]


def test_another_rank_than_the_first_prints_and_writes_nothing(
    ranks: Ranks, calibrate: Callable[..., Answer], tmp_path: Path
) -> None:
    ranks.told, ranks.end = [], None
    assert calibrate() == Answer(0, "", "")
    assert not (tmp_path / "p").exists()


def test_points_left_out_throttled_wrong_and_without_a_law_are_told_and_not_fitted(
    ranks: Ranks, calibrate: Callable[..., Answer]
) -> None:
    first, second, *rest = points()
    ranks.told = [
        MACHINE, plan(43), replace(first, throttled="hot"), replace(second, wrong="result off by 50 %"), *rest,
        replace(first, operation="launch"), replace(first, operation="launch", inputs={"kind": 1.0}),
        LeftOut(operation="gemm fp8", inputs={"m": 8.0}, reason="out of memory"),
    ]  # fmt: skip
    answer = calibrate()
    assert answer.code == 0
    assert "1 point throttled, kept apart and not fitted: hot" in answer.out
    assert "1 point wrong, kept apart and not fitted: result off by 50 %" in answer.out
    assert re.search(rf"^launch +{PART} +2 ", answer.out, re.MULTILINE)
    assert "1 point left out (gemm fp8): out of memory" in answer.err
    found = json.loads(calibrate("--resume", "--format", "json").out)
    assert found["measured"]["throttled"] == 2
    assert [one["operation"] for one in found["figures"]] == ["launch"]
    assert found["operations"][0]["points"] == 76


def test_points_faster_than_the_part_can_be_are_not_fitted(ranks: Ranks, calibrate: Callable[..., Answer]) -> None:
    first, second, *rest = points()
    ranks.told = [MACHINE, plan(), replace(first, seconds=1e-9), replace(second, seconds=1e-9), *rest]
    answer = calibrate()
    assert "2 points faster than h100-80gb-sxm can be, not fitted" in answer.out
    assert re.search(rf"^{TOY.operation} +{PART} +38 ", answer.out, re.MULTILINE)


def test_a_fit_that_predicts_nonsense_is_not_written(
    ranks: Ranks, calibrate: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise InputError("more work takes less time")

    monkeypatch.setattr(sanity, "check_profile", refuse)
    answer = calibrate()
    assert answer.code == 0
    assert answer.out.startswith(f"not fitted: {TOY.operation} on {PART}: more work takes less time")
    assert not (tmp_path / "p" / "profile.yaml").exists()


def test_a_gpu_that_is_always_behind_is_named() -> None:
    """Rank 3 takes 5 % longer in nine of ten kernels; where slownesses take turns nobody is."""
    behind = [
        replace(one, slowest=1.05 * one.seconds, slowest_rank=3 if index % 10 else 1)
        for index, one in enumerate(points())
    ]
    found = run.slow_gpu(behind)
    assert found is not None
    assert found[0] == 3
    assert found[1] == pytest.approx(0.05)
    assert run.slow_gpu(points()) is None
    assert run.slow_gpu([replace(one, slowest_rank=0) for one in points()]) is None
    assert run.slow_gpu([]) is None


def test_a_gpu_of_no_catalogue_comes_with_a_cluster_to_simulate(
    ranks: Ranks, calibrate: Callable[..., Answer], tmp_path: Path
) -> None:
    """Its fits are for the part that cluster.yaml describes, and what its sheet assumes is said."""
    hardware = {"gpu": gpu_sheet(X1, SEEN)}
    machine = replace(MACHINE, part="nvidia-x1-96gb", link="pcie5", device=X1.name, hardware=hardware)
    ranks.told = [machine, plan(), *points(gpu=gpu_of(machine.part, hardware))]
    answer = calibrate()
    assert answer.code == 0
    assert "next: shardsim train MODEL p/cluster.yaml --profile p/profile.yaml" in answer.out
    assert "NVIDIA X1 96GB is in no catalogue; its peak_flops is assumed: the best large product" in answer.out
    cluster = topologies.load(str(tmp_path / "p" / "cluster.yaml"))
    found = topologies.fits.laid_over(cluster, profile(tmp_path / "p" / "profile.yaml"))
    assert found.node.gpu.fits[TOY.operation].part == cluster.node.gpu.name == machine.part
    assert found.num_gpus == 2


def test_all_runs_of_a_folder_count_for_how_long_it_was_measured(
    ranks: Ranks, calibrate: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten points of a second each, then thirty more, with hours between the runs that nobody measured in."""
    clock = iter(range(10**6))
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: 1000.0 * next(clock)))
    monkeypatch.setattr(run.Taken, "_lap", lambda taken: 1.0)
    ranks.told, ranks.end = [MACHINE, plan(), *points(10)], Fault("rank 1 died")
    assert calibrate().code == 1
    ranks.told, ranks.end = [MACHINE, plan(30), *points()[10:]], True
    assert json.loads(calibrate("--resume", "--format", "json").out)["measured"]["seconds"] == 40


def test_what_ranks_on_one_gpu_measure_is_kept_said_and_never_fitted(
    ranks: Ranks, calibrate: Callable[..., Answer], tmp_path: Path
) -> None:
    ranks.told = [MACHINE, plan(), *(replace(one, wrong=SHARED) for one in points())]
    answer = calibrate("--processes", "2")
    assert answer.code == 0
    assert "40 points wrong, kept apart and not fitted: ranks share a GPU: plumbing only" in answer.out
    assert not (tmp_path / "p" / "profile.yaml").exists()


def test_a_processor_is_stamped_and_never_installed(
    ranks: Ranks, calibrate: Callable[..., Answer], tmp_path: Path
) -> None:
    ranks.told = [CPU, plan(), *points(gpu=gpu_of(CPU.part, CPU.hardware))]
    answer = calibrate("--backend", "gloo")
    assert answer.code == 0
    assert "shardsim train" not in answer.out
    text = (tmp_path / "p" / "profile.yaml").read_text()
    assert text.splitlines()[1].startswith("# Of processes on a processor, not GPUs")
    assert f"profile: {CPU.part}\n" in text
    assert 'backend: "gloo"' in text
    assert topologies.fits.hardware_of(tmp_path / "p" / "profile.yaml") == CPU.hardware
    refused = calibrate("--backend", "gloo", "--install")
    assert (refused.code, refused.out) == (2, "")
    assert "is no GPU's" in refused.err


def test_install_lays_the_fits_among_the_users_own(calibrate: Callable[..., Answer], tmp_path: Path) -> None:
    assert calibrate("--install").code == 0
    installed = tmp_path / "home" / "shardsim" / "fits" / f"{PART}.yaml"
    assert profile(installed)[PART][TOY.operation].num_points == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--quick", "--full"), "say different things"),
        (("--minutes", "0"), "--minutes 0: write more than 0"),
        (("--minutes", "nan"), "--minutes nan: write more than 0"),
        (("--backend", "mpi"), "--backend 'mpi' is not known; use nccl, gloo"),
        (("--format", "xml"), "--format 'xml' is not known"),
        (("--processes", "0"), "processes"),
    ],
)
def test_what_makes_no_sense_is_refused(
    calibrate: Callable[..., Answer], arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    answer = calibrate(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert not (tmp_path / "p").exists()


def test_what_nothing_begins_with_is_refused(ranks: Ranks, calibrate: Callable[..., Answer], tmp_path: Path) -> None:
    ranks.told = [MACHINE, plan(0)]
    answer = calibrate("--only", "nothing")
    assert (answer.code, answer.out) == (2, "")
    assert "--only 'nothing': nothing that is measured here begins so" in answer.err
    assert not (tmp_path / "p").exists()


def test_where_every_point_is_left_out_the_reason_is_told(ranks: Ranks, calibrate: Callable[..., Answer]) -> None:
    ranks.told = [MACHINE, plan(1), LeftOut(operation="gemm fp8", inputs={"m": 8.0}, reason="out of memory")]
    answer = calibrate()
    assert (answer.code, answer.err) == (2, "calibrate: nothing was measured: gemm fp8: out of memory\n")


def test_a_budget_that_ends_with_the_last_point_leaves_nothing(ranks: Ranks, calibrate: Callable[..., Answer]) -> None:
    ranks.end = False
    assert calibrate().code == 0
