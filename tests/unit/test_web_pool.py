"""Tasks in processes of their own, with the smallest tasks there are: functions of Python's own modules."""

import math
import operator
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("streamlit", reason="streamlit is not installed")

import streamlit
from streamlit.testing.v1 import AppTest

from tests.command import ROOT
from topologies.document import Fault, parse
from web import simulations
from web.server import pool as pools
from web.server.pool import Job, Pool, value_of
from web.server.processes import Original
from web.server.worker import MOST_ANSWER, MOST_MEMORY

WAIT = 60.0
LONG = (1000.0,)


@pytest.fixture(scope="module")
def pool() -> Pool:
    return Pool(1, most_kept=1000)


def result(pool: Pool, work: Callable[..., object], *arguments: object) -> object:
    job = pool.ask(work, arguments)
    ended(job)
    pool.leave(job)
    return value_of(job)


def ended(job: Job) -> None:
    assert job.done.wait(WAIT)


def begun(job: Job) -> None:
    deadline = time.monotonic() + WAIT
    while not job.has_begun:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_task_runs_in_another_process(pool: Pool) -> None:
    assert result(pool, os.getpid) != os.getpid()
    assert result(pool, math.hypot, 3, 4) == 5


def test_the_same_question_is_answered_once(pool: Pool) -> None:
    assert result(pool, time.monotonic_ns) == result(pool, time.monotonic_ns)


def test_equal_numbers_of_other_types_are_other_questions(pool: Pool) -> None:
    assert [str(result(pool, abs, one)) for one in (1, 1.0, True)] == ["1", "1.0", "1"]
    assert [result(pool, str, one) for one in ((1,), (1.0,), (True,))] == ["(1,)", "(1.0,)", "(True,)"]


def test_the_oldest_answers_go_when_there_are_too_many(pool: Pool) -> None:
    """Room for 1,000 bytes: of three of 400 only two stay."""
    first = result(pool, os.urandom, 400)
    kept = result(pool, os.urandom, 401)
    result(pool, os.urandom, 402)
    assert result(pool, os.urandom, 401) == kept
    assert result(pool, os.urandom, 400) != first


def test_words_for_users_come_through_and_other_errors_do_not(pool: Pool, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="a second document begins"):
        result(pool, parse, "a: 1\n---\nb: 2\n", "x.yaml")
    with pytest.raises(Fault, match=r"an internal error \(ZeroDivisionError\)"):
        result(pool, operator.truediv, 1, 0)


def test_what_cannot_be_sent_is_told_to_who_asks(pool: Pool) -> None:
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pool.ask(lambda: None, ())
    assert result(pool, abs, -2) == 2


@pytest.mark.parametrize("death", [(os._exit, 3), (signal.raise_signal, signal.SIGKILL), (signal.raise_signal, 11)])
def test_a_process_that_dies_is_a_fault_and_another_takes_its_place(
    pool: Pool, death: tuple[Callable[..., object], int]
) -> None:
    with pytest.raises(Fault, match="has ended"):
        result(pool, *death)
    assert result(pool, abs, -3) == 3


def test_where_no_process_can_be_begun_nobody_waits_and_later_ones_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the system refuses them; those who ask meanwhile are told."""
    monkeypatch.setattr(pools, "AGAIN", 0.01)
    with monkeypatch.context() as refused:
        refused.setattr(Original, "copy", lambda _: os.open("/nowhere/at/all", os.O_RDONLY))
        poor = Pool(2)
        for question in (time.monotonic_ns, os.getpid):
            with pytest.raises(Fault, match=r"no process .* try again in a moment"):
                result(poor, question)
    assert result(poor, abs, -3) == 3


def test_memory_is_bounded(pool: Pool) -> None:
    with pytest.raises(Fault, match="more memory than the app may take"):
        result(pool, bytes, MOST_MEMORY)
    assert result(pool, abs, -4) == 4


def test_an_answer_is_bounded(pool: Pool) -> None:
    with pytest.raises(Fault, match="too large to be shown"):
        result(pool, bytes, int(MOST_ANSWER) + 1)


def test_time_is_bounded() -> None:
    hasty = Pool(1, seconds=0.05)
    job = hasty.ask(time.sleep, LONG)
    ended(job)
    with pytest.raises(Fault, match="took longer than 0 s"):
        value_of(job)


def test_what_nobody_waits_for_is_stopped(pool: Pool) -> None:
    first, second = pool.ask(time.sleep, LONG), pool.ask(time.sleep, LONG)
    assert first is second
    begun(first)
    pool.leave(first)
    assert not first.is_stopped
    pool.leave(second)
    assert result(pool, abs, -5) == 5


def test_what_is_asked_again_while_it_is_stopped_is_computed_anew(pool: Pool) -> None:
    gone = pool.ask(time.sleep, (0.2,))
    begun(gone)
    pool.leave(gone)
    again = pool.ask(time.sleep, (0.2,))
    assert again is not gone
    third = pool.ask(time.sleep, (0.2,))
    assert third is again
    ended(again)
    assert value_of(again) is None


def test_what_waits_in_the_queue_is_dropped_when_nobody_wants_it(pool: Pool) -> None:
    long = pool.ask(time.sleep, LONG)
    begun(long)
    queued = [pool.ask(time.sleep, (2000.0 + number,)) for number in range(5)]
    for job in queued:
        pool.leave(job)
    pool.leave(long)
    assert result(pool, abs, -6) == 6
    assert not any(job.has_begun for job in queued)


def test_stop_ends_the_task_and_says_how_to_go_on(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the page waits Streamlit ends its run for that of the button, in which nothing is asked for again."""
    asked: list[Job] = []

    def ask(*task: object) -> Job:
        asked.append(Pool.ask(pool, *task))  # type: ignore[arg-type]
        monkeypatch.setattr(asked[-1].done, "wait", lambda seconds: seconds == simulations.MOMENT and streamlit.stop())
        return asked[-1]

    monkeypatch.setattr(simulations, "pool", lambda: pool)
    monkeypatch.setattr(pool, "ask", ask)
    page = AppTest.from_function(_slow_page).run(timeout=WAIT)
    assert [button.label for button in page.button] == ["Stop"]
    page.button[0].click().run(timeout=WAIT)
    assert [one.value for one in page.info] == ["Stopped. Change a setting, or reload the page, to go on."]
    assert not page.button
    assert [job.is_stopped for job in asked] == [True]
    monkeypatch.undo()
    assert result(pool, abs, -7) == 7


def _slow_page() -> None:
    import time

    from web.simulations import ask

    ask(time.sleep, 1000.0)


def test_a_download_waits_only_so_long(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulations, "pool", lambda: pool)
    monkeypatch.setattr(simulations, "MOST_WAIT", 0.01)
    with pytest.raises(Fault, match="busy; try the download again"):
        simulations.fetch(time.sleep, *LONG)
    assert result(pool, abs, -8) == 8


@pytest.mark.skipif(not hasattr(time, "clock_gettime_ns"), reason="one clock by two names is of POSIX")
def test_what_is_asked_ahead_of_its_need_lets_others_pass(pool: Pool) -> None:
    """Two names of the same clock: the later question has the earlier time."""
    long = pool.ask(time.sleep, LONG)
    begun(long)
    ahead = pool.ask(time.perf_counter_ns, (), is_ahead=True)
    asked = pool.ask(time.clock_gettime_ns, (time.CLOCK_MONOTONIC,))
    pool.leave(long)
    ended(ahead)
    assert value_of(asked) < value_of(ahead)  # type: ignore[operator]


def test_one_question_after_the_other_goes_to_the_same_process() -> None:
    """Which has kept what the last one was about; room for one answer, so that each is computed."""
    two = Pool(2, most_kept=1)
    asked = [(result(two, os.getpid), result(two, abs, -number)) for number in range(5)]
    assert len({process for process, _ in asked}) == 1


def test_a_rehearsal_leaves_its_traces_in_every_copy() -> None:
    """A task that sets what a process inherits: the mask of the files that it makes."""
    rehearsed = Pool(1, rehearsal=(os.umask, (0o123,)))
    assert result(rehearsed, os.umask, 0o022) == 0o123


def test_a_long_task_leaves_the_others_their_process() -> None:
    two = Pool(2)
    long = two.ask(time.sleep, LONG)
    begun(long)
    assert [result(two, abs, -number) for number in range(7, 10)] == [7, 8, 9]
    two.leave(long)


def test_the_processes_have_loaded_the_answers_and_never_streamlit() -> None:
    """So a copy is there at once, and small."""
    loaded = (
        "import web.server.worker as w, sys; w._load(); print([n for n in ('streamlit', 'torch') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done


@pytest.mark.skipif(not Path("/proc").exists(), reason="no /proc to see processes in")
@pytest.mark.parametrize("busy", [False, True])
def test_no_process_outlives_an_app_that_is_killed(busy: bool) -> None:
    """The app prints the process of a task, of its original, and falls."""
    code = f"""
import os, time
from web.server.pool import Pool, value_of
pool = Pool(2)
jobs = [pool.ask(os.getpid, ()), pool.ask(os.getppid, ())]
[job.done.wait() for job in jobs]
long = [pool.ask(time.sleep, (1000.0 + n,)) for n in range(2 * {busy})]
while not all(job.has_begun for job in long): time.sleep(0.001)
print(*(value_of(job) for job in jobs), flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=WAIT)
    assert done.returncode == -signal.SIGKILL
    for pid in map(int, done.stdout.split()):
        deadline = time.monotonic() + WAIT
        while _is_alive(pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
