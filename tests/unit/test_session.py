"""All ranks walk the same points: what fails on one is left out by all, and what hangs or dies ends with words."""

import math
from dataclasses import replace

import pytest
import torch

from calibrate.bench import session
from calibrate.bench.monitor import Reading
from calibrate.bench.point import Ranks, Run
from calibrate.bench.session import SHARED, Fared, result
from calibrate.bench.timing import Timed
from calibrate.launching.launch import launch
from calibrate.measurement import LeftOut, Measurement
from tests import launched
from topologies.document import Fault

FOUR = Ranks(rank=0, num_ranks=4, ranks_per_node=4, device=torch.device("cuda"))


def _fared(seconds: float, **facts: object) -> Fared:
    return Fared(timed=Timed(seconds, seconds - 1, seconds + 1, 7))._replace(**facts)  # type: ignore[arg-type]


def _taken(fared: list[Fared], name: str = "product") -> Measurement:
    made = result(launched.POINTS[name], fared, FOUR)
    assert isinstance(made, Measurement)
    return made


def test_a_kernel_takes_what_the_median_gpu_takes_and_the_slowest_is_named() -> None:
    made = _taken([_fared(3.0), _fared(9.0), _fared(2.0), _fared(4.0)])
    assert (made.seconds, made.low, made.high, made.repeats) == (3.0, 2.0, 4.0, 7)
    assert (made.slowest, made.slowest_rank) == (9.0, 1)


def test_processes_of_one_machine_differ_by_chance_and_take_the_median() -> None:
    processes = replace(FOUR, device=torch.device("cpu"))
    made = result(launched.POINTS["product"], [_fared(3.0), _fared(9.0), _fared(2.0), _fared(4.0)], processes)
    assert isinstance(made, Measurement)
    assert made.seconds == 3.5


def test_a_collective_has_no_slowest_gpu() -> None:
    """Its members end together: the mean of their medians is told by each."""
    made = _taken([_fared(3.0), _fared(3.0), _fared(3.0), _fared(3.0)], "sum")
    assert made.seconds == 3.0
    assert math.isnan(made.slowest)


def test_what_held_back_another_gpu_than_the_median_one_spoils_a_collective_and_no_kernel() -> None:
    fared = [_fared(3.0), _fared(9.0, reading=Reading(throttled="power brake")), _fared(2.0), _fared(4.0)]
    assert _taken(fared).throttled == ""
    assert _taken(fared, "sum").throttled == "rank 1: power brake"


def test_one_wrong_result_makes_the_measurement_wrong() -> None:
    made = _taken([_fared(3.0), _fared(3.0, wrong="off by 3 %")])
    assert made.wrong == "rank 1: off by 3 %"


def test_inputs_that_the_run_told_join_those_of_the_point() -> None:
    assert _taken([_fared(3.0, found=(("alone", 2.0),))]).inputs == {"n": 1.0, "alone": 2.0}


def test_what_ranks_on_one_gpu_measure_is_wrong_whatever_comes_out() -> None:
    made = result(launched.POINTS["product"], [_fared(3.0)], replace(FOUR, shares_gpu=True))
    assert isinstance(made, Measurement)
    assert made.wrong == SHARED


def test_a_point_that_one_rank_could_not_run_is_left_out() -> None:
    left = result(launched.POINTS["sum"], [_fared(3.0), Fared(reason="out of memory")], FOUR)
    assert left == LeftOut(operation="sum", inputs={"n": 1.0}, reason="rank 1: out of memory")


def _run_alone(monkeypatch: pytest.MonkeyPatch, error: Exception, *, is_lost: bool) -> Fared:
    """A kernel that fails so, on a GPU that fails from then on, or does not."""

    def synchronize(device: torch.device) -> None:
        if is_lost:
            raise RuntimeError("CUDA error: unspecified launch failure")

    def fail(run: Run, ranks: Ranks) -> Timed:
        raise error

    monkeypatch.setattr(session, "time_alone", fail)
    monkeypatch.setattr(session, "meter_of", lambda device: None)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    return session._alone(launched.POINTS["product"], Run(print, str), FOUR)


def test_a_kernel_that_fails_on_a_gpu_that_works_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    fared = _run_alone(monkeypatch, RuntimeError("no kernel for this size"), is_lost=False)
    assert fared.reason == "RuntimeError: no kernel for this size"


def test_a_gpu_on_which_nothing_works_any_more_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Fault, match=r"rank 0 on .*: product \(n 1\): an illegal memory access"):
        _run_alone(monkeypatch, RuntimeError("an illegal memory access"), is_lost=True)


def test_memory_that_does_not_suffice_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run_alone(monkeypatch, torch.OutOfMemoryError("20 GiB"), is_lost=True).reason == "out of memory"


def test_what_the_processor_launches_slower_than_it_runs_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "time_alone", lambda run, ranks: Timed(1.0, 1.0, 1.0, 3, eager=True))
    processor = replace(FOUR, device=torch.device("cpu"))
    assert session._alone(launched.POINTS["product"], Run(print, str), processor) == Fared(reason=session.EAGER)


@pytest.mark.slow
def test_what_does_not_fit_on_one_rank_is_left_out_by_all_and_the_walk_goes_on_until_rank_0_ends_it() -> None:
    told: list[launched.Told] = []
    names = ("product", "too large", "unknown", "wrong", "tried", "sum")
    assert launch(launched.walk_twice, names, backend="gloo", take=told.append, num_ranks=2) == [True, False]
    assert [one.operation for one in told] == [*names, names[0]], "rank 0 decides between points that it is over"
    assert [one.reason for one in told if isinstance(one, LeftOut)] == [
        "rank 1: out of memory",
        "rank 1: NotImplementedError: no such dtype",
    ]
    assert [one.wrong for one in told if isinstance(one, Measurement)] == ["", "rank 1: off by 3 %", "", "", ""]
    assert told[4].inputs == {"n": 1.0, "alone": 2.0}


@pytest.mark.slow
def test_a_rank_killed_in_a_collective_ends_all_and_what_was_told_stays() -> None:
    told: list[launched.Told] = []
    with pytest.raises(Fault, match=r"rank 1 on .* was killed by SIGKILL"):
        launch(launched.walk, ("product", "killed", "sum"), backend="gloo", take=told.append, num_ranks=2)
    assert [one.operation for one in told] == ["product"]


@pytest.mark.slow
def test_a_collective_to_which_a_rank_never_comes_ends_with_its_name() -> None:
    with pytest.raises(Fault, match=r"late \(n 1\): no end after 1 s"):
        launch(launched.walk_impatiently, ("late",), backend="gloo", take=print, num_ranks=2)
