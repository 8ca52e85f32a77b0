"""Two profiles side by side, and the health check: what is told, and the exit codes that scripts rely on."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from calibrate import cli
from calibrate.comparison.compare import shifts
from calibrate.comparison.findings import sentences, stragglers
from calibrate.comparison.sides import Side, load
from calibrate.importers import written
from calibrate.journal import Journal
from calibrate.machines.machine import Machine
from calibrate.measurement import Measurement
from calibrate.profile import write_fits
from sim.costs.law import starting_fit
from sim.costs.laws import KERNEL_LAWS
from tests.command import Answer
from tests.processor import CPU
from topologies.document import InputError
from topologies.fits import FOLDER
from topologies.quantity import GIGA, KIB, MIB, MICROSECOND

Calibrate = Callable[..., Answer]
H100 = "h100-80gb-sxm"
NODE = Machine(
    backend="nccl",
    part=H100,
    link="nvlink4",
    device="NVIDIA H100 80GB HBM3",
    num_gpus=8,
    software={"driver": "570.1", "nccl": "2.27.5"},
    clocks={"sm": 1980.0},
)
SMALL, MEDIUM, LARGE = 16 * KIB, 4 * MIB, 256 * MIB
Factor = Callable[[str, Mapping[str, float]], float]


@pytest.fixture
def calibrate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Calibrate:
    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["calibrate", *map(str, arguments)])
        code = cli.main()
        return Answer(code, *capsys.readouterr())

    return run


def all_reduce(nbytes: float) -> Measurement:
    inputs = {"operation": 0, "num_gpus": 8, "num_nodes": 1, "gpus_per_node": 8, "nbytes": nbytes, "is_integer": 0,
              "nccl_version": 2027}  # fmt: skip
    return measurement("nccl node", inputs, 20 * MICROSECOND + nbytes / (200 * GIGA), part="nvlink4", gpu=H100)


def product(m: float) -> Measurement:
    return measurement(
        "gemm bf16", {"m": m, "n": 8192, "k": 8192}, 3 * MICROSECOND + m * 8192 * 8192 / (300_000 * GIGA)
    )


def measurement(
    operation: str,
    inputs: Mapping[str, float],
    seconds: float,
    *,
    part: str = H100,
    gpu: str = "",
    noise: float = 0.005,
) -> Measurement:
    return Measurement(
        operation=operation,
        part=part,
        gpu=gpu,
        inputs=inputs,
        seconds=seconds,
        low=seconds * 0.995,
        high=seconds * 1.005,
        repeats=20,
    )


MEASURED = [
    *(all_reduce(scale * size) for size in (SMALL, MEDIUM, LARGE) for scale in (1.0, 1.5, 2.0)),
    *(product(2.0**power) for power in range(6, 15)),
]


def journal(folder: Path, *, factor: Factor = lambda operation, inputs: 1.0, machine: Machine = NODE,
            measured: list[Measurement] | None = None) -> Path:  # fmt: skip
    """A run's journal, with each time multiplied."""
    path = folder / "samples.jsonl"
    made = Journal(path, machine, command="calibrate run")
    for one in MEASURED if measured is None else measured:
        times = factor(one.operation, one.inputs)
        made.add(replace(one, seconds=one.seconds * times, low=one.low * times, high=one.high * times))
    made.close()
    return path


def slow_link(operation: str, inputs: Mapping[str, float]) -> float:
    """An all-reduce above 16 MiB takes 7 % longer."""
    return 1.07 if operation == "nccl node" and inputs["nbytes"] > 16 * MIB else 1.0


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return journal(tmp_path / "before")


def found(calibrate: Calibrate, *arguments: object) -> dict[str, object]:
    answer = calibrate(*arguments, "--format", "json")
    assert answer.code in (0, 3), answer
    record = json.loads(answer.out)
    assert isinstance(record, dict)
    return record


def test_a_slow_link_is_told_with_its_sizes_and_a_cause(calibrate: Calibrate, before: Path, tmp_path: Path) -> None:
    """Three sizes above 16 MiB are 7 % slower; repetitions scatter by 0.5 % on each side, so by 1 % at least."""
    after = journal(tmp_path / "after", factor=slow_link)
    record = found(calibrate, "compare", before, after)
    shown = record["compared"]
    assert isinstance(shown, list)
    (slow,) = [one for one in shown if one["beyond_noise"]]
    assert slow["ratio"] == pytest.approx(1.07)
    assert (slow["collective"], slow["where"], slow["points"], slow["from"]) == (
        "all-reduce",
        "above 16 MiB",
        3,
        "points",
    )
    told = record["sentences"]
    assert isinstance(told, list)
    assert told[0] == "7 % slower all-reduce within a node above 16 MiB on nvlink4: is a link of the node down?"
    assert any(one.startswith("products in bf16 on h100-80gb-sxm: as fast (±1 %)") for one in told)


def test_what_scatters_more_than_it_shifts_is_no_finding(before: Path, tmp_path: Path) -> None:
    """Repetitions that spread over ±10 %: 7 % are within."""
    noisy = [replace(one, low=one.seconds * 0.9, high=one.seconds * 1.1) for one in MEASURED]
    after = journal(tmp_path / "after", factor=slow_link, measured=noisy)
    here, there = load(before, None, None), load(after, None, None)
    assert not any(shift.is_beyond_noise for shift in shifts(here, there))
    assert all("as fast" in one for one in sentences(here, there, shifts(here, there)))


def test_what_scatters_by_more_than_half_is_not_called_as_fast(calibrate: Calibrate, tmp_path: Path) -> None:
    """Repetitions from nothing to twice the time, on both sides: ±141 %."""
    wild = [replace(one, low=0.01 * one.seconds, high=2.01 * one.seconds) for one in MEASURED]
    path = journal(tmp_path / "wild", measured=wild)
    answer = calibrate("check", path, "--against", path)
    assert answer.code == 0
    assert "products in bf16 on h100-80gb-sxm: too noisy to tell (±141 %)" in answer.out
    assert "as fast" not in answer.out


def test_measurements_faster_than_the_gpu_can_be_are_refused(calibrate: Calibrate, tmp_path: Path) -> None:
    path = journal(tmp_path / "wrong", factor=lambda operation, inputs: 0.001)
    answer = calibrate("check", path, "--against", path)
    assert (answer.code, answer.out) == (2, "")
    assert "samples.jsonl:2: nccl node: " in answer.err


def test_a_machine_is_as_fast_as_itself(calibrate: Calibrate, before: Path) -> None:
    answer = calibrate("check", before, "--against", before)
    assert answer.code == 0
    assert answer.out.startswith("ok: none of 5 is slower")


def test_beyond_the_tolerance_the_exit_code_is_3(calibrate: Calibrate, before: Path, tmp_path: Path) -> None:
    after = journal(tmp_path / "after", factor=slow_link)
    answer = calibrate("check", after, "--against", before, "--format", "json")
    record = json.loads(answer.out)
    assert answer.code == 3
    assert (record["ok"], record["tolerance"]) == (False, 0.05)
    assert [one["where"] for one in record["checks"] if not one["ok"]] == ["above 16 MiB"]
    assert {"operation", "part", "where", "ratio", "low", "high", "ok"} <= set(record["checks"][0])
    assert record["reasons"] == [
        "7 % slower all-reduce within a node above 16 MiB on nvlink4: is a link of the node down?"
    ]
    assert record["machine"]["device"] == "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize(("tolerance", "code"), [("10%", 0), ("0.1", 0), ("2%", 3), ("0%", 3)])
def test_the_tolerance_decides(calibrate: Calibrate, before: Path, tmp_path: Path, tolerance: str, code: int) -> None:
    after = journal(tmp_path / "after", factor=slow_link)
    assert calibrate("check", after, "--against", before, "--tolerance", tolerance).code == code


def test_faster_than_the_reference_is_well(calibrate: Calibrate, before: Path, tmp_path: Path) -> None:
    after = journal(tmp_path / "after", factor=lambda operation, inputs: 0.95)
    assert calibrate("check", after, "--against", before).code == 0


@pytest.mark.parametrize("tolerance", ["five", "-1%", "nan", "100%", "5%%"])
def test_a_tolerance_that_is_none_is_refused(calibrate: Calibrate, before: Path, tolerance: str) -> None:
    answer = calibrate("check", before, "--against", before, "--tolerance", tolerance)
    assert (answer.code, answer.out) == (2, "")
    assert "is no share; write one such as 5%" in answer.err


def test_without_a_reference_the_shipped_fits_are_it_and_that_is_said(calibrate: Calibrate, tmp_path: Path) -> None:
    """Times that the shipped fit itself predicts are well; half as fast again they are not."""
    from calibrate import domains, subjects
    from topologies.fits import profile

    fit = profile(FOLDER / f"{H100}.yaml")[H100]["gemm bf16"]
    points = domains.over(H100, "gemm bf16", fit.domain, {})
    assert points is not None
    times = subjects.predicted(points, {H100: {"gemm bf16": fit}})
    for factor, code in ((1.0, 0), (1.5, 3)):
        path = tmp_path / f"{code}.csv"
        path.write_text(written.write([replace(points, seconds=times * factor)]), encoding="utf-8")
        answer = calibrate("check", path)
        assert answer.code == code, answer
        assert "against the shipped fits of this hardware" in answer.err


def test_a_fit_is_asked_only_about_sizes_that_it_was_made_from(before: Path, tmp_path: Path) -> None:
    """Of nine products six have 512 rows or more."""
    law = KERNEL_LAWS["gemm bf16"]
    fit = replace(starting_fit(law), domain={"m": (512.0, 1e6), "n": (1.0, 1e6), "k": (1.0, 1e6)}, spread=(-0.1, 0.1))
    write_fits(tmp_path / "fits.yaml", H100, {law.operation: fit}, command="c")
    found = shifts(load(tmp_path / "fits.yaml", None, None), load(before, None, None))
    assert sum(shift.points for shift in found) == 6
    assert all(shift.noise == pytest.approx(0.1) for shift in found)


def test_a_processor_says_nothing_of_a_gpu(calibrate: Calibrate, before: Path, tmp_path: Path) -> None:
    measured = [measurement("gemm bf16", {"m": 64.0 * n, "n": 64, "k": 64}, 1e-4 * n, part=CPU.part) for n in (1, 2, 3)]
    processes = journal(tmp_path / "cpu", machine=CPU, measured=measured)
    answer = calibrate("check", processes, "--against", before)
    assert (answer.code, answer.out) == (2, "")
    assert "is of processes on a processor" in answer.err
    alone = calibrate("check", processes)
    assert alone.code == 2
    assert "no fits of cpu-amd-epyc are shipped; name a profile to compare with: --against FILE" in alone.err
    assert calibrate("check", processes, "--against", processes).code == 0


def test_what_differs_of_the_machines_comes_first(calibrate: Calibrate, before: Path, tmp_path: Path) -> None:
    other = replace(NODE, software={"driver": "580.2", "nccl": "2.27.5"}, clocks={"sm": 1755.0})
    after = journal(tmp_path / "after", machine=other)
    record = found(calibrate, "compare", before, after)
    assert record["differences"] == ["driver: 570.1, then 580.2", "clock sm (MHz): 1980, then 1755"]
    shown = calibrate("compare", before, after).out
    assert shown.index("driver: 570.1") < shown.index("as fast")


def test_the_journal_beside_a_profile_is_found(before: Path) -> None:
    law = KERNEL_LAWS["memory bound"]
    write_fits(before.with_name("profile.yaml"), H100, {law.operation: starting_fit(law)}, command="c")
    for path in (before.with_name("profile.yaml"), before.parent):
        side = load(path, None, None)
        assert side.machine == NODE
        assert {samples.operation for samples in side.samples} == {"nccl node", "gemm bf16"}
        assert set(side.fits[H100]) == {"memory bound"}


def test_two_fits_are_compared_where_nobody_kept_points(calibrate: Calibrate) -> None:
    record = found(calibrate, "compare", FOLDER / "nvlink4.yaml", FOLDER / "nvlink5.yaml")
    told = record["sentences"]
    assert isinstance(told, list)
    assert told[0] == "nvlink4, then nvlink5: not the same hardware"
    assert any("faster all-reduce within a node above 16 MiB on nvlink5" in one for one in told)
    assert not any("?" in one for one in told)


def test_nothing_in_common_is_refused(calibrate: Calibrate, before: Path, tmp_path: Path) -> None:
    copy = journal(tmp_path / "copy", measured=[measurement("host copy", {"nbytes": MIB, "direction": 0.0}, 1e-3)])
    answer = calibrate("compare", before, copy)
    assert (answer.code, answer.out) == (2, "")
    assert "no operation and sizes in common; measure both alike" in answer.err


def test_throttled_points_and_wrong_results_are_not_compared(before: Path, tmp_path: Path) -> None:
    spoilt = [*MEASURED[:-2], replace(MEASURED[-2], throttled="heat"), replace(MEASURED[-1], wrong="not finite")]
    side = load(journal(tmp_path / "after", measured=spoilt), None, None)
    assert sum(shift.points for shift in shifts(load(before, None, None), side)) == len(MEASURED) - 2


def test_the_gpu_that_is_always_last_is_named() -> None:
    """GPU 5 takes 6 % longer than the median GPU in nine of ten kernels."""
    slow = [replace(product(64.0 + n), slowest=product(64.0 + n).seconds * 1.06, slowest_rank=5) for n in range(9)]
    other = replace(product(8.0), slowest=product(8.0).seconds * 1.01, slowest_rank=2)
    (told,) = stragglers(Side(name="b", measurements=(*slow, other)))
    assert told == "b: GPU 5 is 6 % slower than the median GPU: its clock, power or cooling?"
    assert (
        stragglers(Side(name="b", measurements=tuple(replace(one, slowest_rank=n) for n, one in enumerate(slow)))) == []
    )


def test_a_journal_with_a_torn_middle_is_refused_with_its_line(calibrate: Calibrate, before: Path) -> None:
    lines = before.read_text(encoding="utf-8").splitlines()
    before.write_text("\n".join([*lines[:3], lines[3][:20], *lines[4:]]) + "\n", encoding="utf-8")
    answer = calibrate("compare", before, before)
    assert (answer.code, answer.out) == (2, "")
    assert "samples.jsonl:4: not a line of JSON" in answer.err


def test_a_journal_is_read_by_the_door_of_all_measurements(calibrate: Calibrate, before: Path, tmp_path: Path) -> None:
    assert calibrate("import", before, "--out", tmp_path / "s.csv").code == 0
    assert calibrate("score", before, "--format", "json").code == 0
    assert load(tmp_path / "s.csv", None, None).parts == ["nvlink4", H100]


def test_a_file_that_is_not_there_is_refused(before: Path) -> None:
    with pytest.raises(InputError, match=r"there is no such file|cannot be read"):
        load(before.with_name("none.csv"), None, None)
