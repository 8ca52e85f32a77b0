"""A run that is killed: what it told of is in its journal, its profile is absent or whole, and `--resume` finishes."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import NoReturn

import pytest

from calibrate import cli, journal
from calibrate.measurement import Measurement
from calibrate.running import run
from calibrate.running.asked import Asked, Told
from sim.commands.console import INTERNAL
from sim.costs.laws import KERNEL_LAWS
from tests.command import ROOT
from tests.samples import TOY
from tests.unit.test_run import MACHINE, PART, plan, points, ranks_without_torch
from topologies.fits import profile

KILLS = 10
PAUSE = 0.01
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
NAMED = ("--only", "attention forward", "--quick", "--backend", "gloo")


def tell_slowly(
    work: object,
    asked: Asked,
    *,
    backend: str,
    take: Callable[[Told], None],
    num_ranks: int | None,
    prepare: Callable[[Asked], Asked],
) -> bool:
    """In place of ranks: what is not measured yet, point by point, each printed once it was taken."""
    del work, backend, num_ranks
    known = {one.key for one in prepare(asked).measured}
    left = [one for one in points() if one.key not in known]
    take(MACHINE)
    take(plan(len(left)))
    for one in left:
        time.sleep(PAUSE)
        take(one)
        sys.stderr.write(f"told {one.inputs['m']:.0f} {one.inputs['n']:.0f} {one.inputs['k']:.0f}\n")
        sys.stderr.flush()
    return True


def run_slowly(folder: Path, to_parent: int) -> NoReturn:
    """`calibrate run` with such ranks, in a copy of the test's process: eleven fresh ones would take a minute."""
    os.dup2(to_parent, sys.stderr.fileno())
    sys.stderr = os.fdopen(to_parent, "w")
    KERNEL_LAWS[TOY.operation] = TOY  # type: ignore[index]
    run.launch = tell_slowly  # type: ignore[assignment]
    sys.modules["calibrate.bench.measuring"] = ranks_without_torch()
    sys.argv = ["calibrate", "run", "--resume", "--quiet", "--out", str(folder)]
    code = INTERNAL
    try:
        code = cli.main()
    finally:
        sys.stderr.flush()
        os._exit(code)


def sizes(measured: Sequence[Measurement]) -> list[list[str]]:
    return [[f"{one.inputs[name]:.0f}" for name in ("m", "n", "k")] for one in measured]


@pytest.mark.slow
@pytest.mark.timeout(300)  # starts many processes: half a minute on a quiet machine
def test_killed_at_ten_random_moments_nothing_that_was_told_is_lost(tmp_path: Path) -> None:
    """Moments from before the first point to the writing of the profile; each run goes on where the last one ended."""
    folder, moment = tmp_path / "p", random.Random(6)
    told: list[list[str]] = []
    for kill in range(KILLS + 1):
        reading, writing = os.pipe()
        started = get_context("fork").Process(target=run_slowly, args=(folder, writing))
        started.start()
        os.close(writing)
        with os.fdopen(reading) as said:
            if kill < KILLS:
                first = said.readline()
                time.sleep(moment.uniform(0, PAUSE * len(points()) / KILLS * (1 if kill < KILLS - 2 else 20)))
                started.kill()
            else:
                first = ""
            lines = (first + said.read()).splitlines()
        started.join()
        told += [line.split()[1:] for line in lines if line.startswith("told ")]
        measured = journal.read(folder / journal.NAME)[1]
        assert all(one in sizes(measured) for one in told)
        assert len(sizes(measured)) == len({tuple(one) for one in sizes(measured)})
        if (folder / run.PROFILE).exists():
            assert profile(folder / run.PROFILE)[PART][TOY.operation].num_points == len(points())
    assert started.exitcode == 0, lines
    assert len(told) > KILLS
    assert len(measured) == len(points())
    assert set(os.listdir(folder)) <= {"profile.yaml", "profile.yaml.part", "samples.jsonl"}


@pytest.mark.slow
@pytest.mark.timeout(300)  # starts many processes: half a minute on a quiet machine
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells which processes a run started")
def test_real_ranks_end_with_the_run_that_is_killed_and_resume_finishes(tmp_path: Path) -> None:
    command, before = _killed(tmp_path / "p")
    _finish(command, tmp_path / "p", before)


def _killed(folder: Path) -> tuple[Sequence[str], int]:
    """A run that is killed with two ranks: its command, and how many points its journal held before."""
    command = [sys.executable, "-m", "calibrate.cli", "run", *NAMED, "--out", str(folder)]
    killed = subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    before = _wait_for_points(killed, folder / journal.NAME)
    ranks = _ranks(killed.pid)
    assert len(ranks) == 2
    killed.kill()
    killed.wait()
    _wait_for_the_end(ranks)
    assert not (folder / run.PROFILE).exists()
    assert len(journal.read(folder / journal.NAME)[1]) >= before
    return command, before


def _finish(command: Sequence[str], folder: Path, before: int) -> None:
    resumed = subprocess.run([*command, "--resume"], env=ENVIRONMENT, capture_output=True, text=True, timeout=90)
    assert resumed.returncode == 0, resumed.stderr
    found = journal.read(folder / journal.NAME)[1]
    assert len({one.key for one in found}) == len(found)
    assert len(found) > before


def _wait_for_points(running: "subprocess.Popen[bytes]", path: Path) -> int:
    """The number of whole lines of measurements once there are some."""
    while running.poll() is None:
        lines = path.read_bytes().count(b"\n") if path.exists() else 0
        if lines > 3:
            return lines - 1
        time.sleep(0.02)
    raise AssertionError("the run ended before it was killed")


def _ranks(run_id: int) -> list[int]:
    """The processes that a run started."""
    return [int(word) for word in Path(f"/proc/{run_id}/task/{run_id}/children").read_text().split()]


def _wait_for_the_end(ranks: list[int]) -> None:
    """Of processes that nobody may be left to collect."""
    end = time.monotonic() + 30
    while any(_is_running(rank) for rank in ranks):
        assert time.monotonic() < end, "ranks outlive their run"
        time.sleep(0.05)


def _is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
