"""The critical path of timelines whose longest chain can be seen by eye; it always sums to the step."""

import pytest

import topologies
from sim.critical_path import critical_path
from sim.engine import Engine
from sim.instructions import Activity
from tests.programs import collective, pipeline, plan, toy, train


def path_of(*size: object, **passes: object) -> dict[str, float]:
    timeline = Engine(toy()).play(pipeline(*size, **passes))  # type: ignore[arg-type]
    path = critical_path(timeline)
    assert sum(seconds for _, seconds in path) == pytest.approx(timeline.duration, rel=1e-12)
    assert [seconds for _, seconds in path] == sorted((seconds for _, seconds in path), reverse=True)
    return {words: seconds for words, seconds in path if seconds}


@pytest.mark.parametrize("name", ["gpipe", "1f1b"])
def test_without_messages_it_is_all_kernels(name: str) -> None:
    """p + m - 1 = 6 forwards of 1 s and as many backwards of 2 s."""
    assert path_of(name, 3, 1, 4, forward=1.0, backward=2.0) == {"pass B": 12.0, "pass F": 6.0}


def test_of_gpipe_every_message_of_the_way_there_and_back_is_on_it() -> None:
    """2(p-1) = 6 messages of 0.5 s; the others are hidden behind kernels."""
    path = path_of("gpipe", 4, 1, 8, forward=1.0, backward=2.0, latency=0.5)
    assert path == {"pass B": 22.0, "pass F": 11.0, "pipeline messages": 3.0}


def test_messages_that_queue_on_a_stream_are_on_it_one_after_the_other() -> None:
    """GPipe on two ranks, messages of 2 s and passes of 0.5: F0 (0.5), two messages (4), F1 and B0 ... on rank 1.

    Rank 1 has F0 at 2.5, F1 from 4.5 to 5, B0 to 5.5, B1 to 6; B0's message ends at 7.5, B1's, queued, at 9.5; B1 on
    rank 0 at 10. Back: B1, its queue of two messages, B0 and F1 on rank 1, the queue of two, F0.
    """
    path = path_of("gpipe", 2, 1, 2, forward=0.5, backward=0.5, nbytes=2.0)
    assert path == {"pipeline messages": 8.0, "pass B": 1.0, "pass F": 1.0}


def test_a_sender_that_waits_has_its_own_message_on_it() -> None:
    """One microbatch a rank: F 1, message 0.5, F 1, B 2, message 0.5, B 2."""
    path = path_of("1f1b", 2, 1, 1, forward=1.0, backward=2.0, latency=0.5, sender_waits=True)
    assert path == {"pass B": 4.0, "pass F": 2.0, "pipeline messages": 1.0}


def test_before_a_collective_it_goes_through_who_came_last() -> None:
    """Rank 1 comes after 3 s; rank 0's bubble is nobody's fault but rank 1's."""
    activity = Activity(latency=0.5, loads=())
    timeline = Engine(toy()).play(collective("sum", activity, {0: 1.0, 1: 3.0, 2: 2.0}, after=1.0))
    assert dict(critical_path(timeline)) == {"before": 3.0, "after": 1.0, "tp communication": 0.5}


@pytest.mark.parametrize(("detail", "word"), [("kernel", "qkv forward"), ("layer", "layer forward: kernels")])
def test_of_a_training_step_it_names_kernels_or_what_pieces_are_made_of(detail: str, word: str) -> None:
    timeline = train(plan(8, 2, sp=True), topologies.load("dgx-h100", 16), detail=detail)
    path = dict(critical_path(timeline))
    assert path[word] > 0
    assert sum(path.values()) == pytest.approx(timeline.duration, rel=1e-9)
    assert "optimizer" in path
