"""Replicas that are dealt requests in turn are played alone: nobody can tell from what they leave."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from sim.requests import Requests
from sim.serving import shares
from sim.serving.record import Record, Steps
from sim.serving.service import serve
from sim.serving.settings import Settings
from tests.pass_costs import Linear
from tests.served import SMALL, ahead, poisson

COSTS = Linear(fixed=0.01, per_token=2e-5, per_key=1e-7, host_seconds=0.001)
LOAD = poisson(120, 40.0, 3)
NAMED = replace(LOAD, contents=tuple((row % 5, row % 10 + 5) for row in range(120)))
COLUMNS = (
    "sent", "scheduled", "first_token", "finished", "replica", "preemptions", "cached", "first_causes", "causes",
    "stage_busy",
)  # fmt: skip
LONG_LOAD = """
from tests.pass_costs import Linear
from tests.served import SMALL, poisson
from sim.serving.service import serve
serve(poisson(1_000_000, 100.0, 0), SMALL, Linear(), replicas=2)
"""


def in_one_time(requests: Requests, config: Settings, dp: int) -> Record:
    """As many users as requests wait for nobody, but might."""
    return serve(replace(requests, concurrency=len(requests)), config, COSTS, replicas=3, dp=dp)


def gaps(record: Record) -> list[tuple[float, int]]:
    return sorted(zip(record.gap_seconds.tolist(), record.gap_counts.tolist(), strict=True))


def assert_equal(one: Record, other: Record) -> None:
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for field in fields(Steps):
        np.testing.assert_array_equal(getattr(one.steps, field.name), getattr(other.steps, field.name))
    assert gaps(one) == gaps(other)
    assert one.refused == other.refused


@pytest.mark.parametrize("dp", [1, 2])
@pytest.mark.parametrize(
    ("requests", "config"),
    [
        (LOAD, SMALL),
        (LOAD, replace(ahead(SMALL), num_blocks=61)),
        (replace(LOAD, prompt=LOAD.prompt * 8), SMALL),
        (NAMED, replace(SMALL, prefix_caching=True)),
    ],
    ids=["alone", "preempted", "refused", "cached"],
)
def test_replicas_played_alone_leave_what_they_leave_in_one_time(requests: Requests, config: Settings, dp: int) -> None:
    assert_equal(serve(requests, config, COSTS, replicas=3, dp=dp), in_one_time(requests, config, dp))


def test_who_is_refused_takes_no_turn() -> None:
    requests = replace(LOAD, prompt=np.where(np.arange(len(LOAD)) % 2, LOAD.prompt, 5000))
    record = serve(requests, SMALL, COSTS, replicas=3)
    assert record.replica[1::2].tolist() == [turn % 3 for turn in range(60)]
    assert set(record.replica[::2]) == {-1}
    assert list(record.refused) == list(range(0, 120, 2))


def test_processes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = serve(LOAD, SMALL, COSTS, replicas=5)
    monkeypatch.setattr(shares, "WORTH_A_POOL", 1)
    monkeypatch.setattr(shares, "_num_cores", lambda: 2)
    assert_equal(serve(LOAD, SMALL, COSTS, replicas=5), alone)


@pytest.mark.skipif(sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="needs two cores of Linux")
def test_processes_end_with_the_one_that_asked() -> None:
    asking = subprocess.Popen([sys.executable, "-c", LONG_LOAD], cwd=Path(__file__).parents[2])
    try:
        helpers = _wait_for_children(asking.pid)
    finally:
        asking.send_signal(signal.SIGKILL)
        asking.wait()
    deadline = time.monotonic() + 30
    while any(map(_is_alive, helpers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_is_alive, helpers))


def _wait_for_children(pid: int) -> list[int]:
    """Both, as soon as they are there and know whom they serve."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = [int(each) for each in children.read_text().split()]
        if len(found) == 2 and all(len(list(Path(f"/proc/{each}/task").iterdir())) > 1 for each in found):
            return found
        time.sleep(0.05)
    raise AssertionError("no processes were started")


def _is_alive(pid: int) -> bool:
    """A zombie that nobody has waited for yet is over."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
