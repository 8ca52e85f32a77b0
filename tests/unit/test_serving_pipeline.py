"""Passes on the stages of a replica."""

import pytest

from sim.serving.passes import Stage
from sim.serving.pipeline import Pipeline, splits


def stage(seconds: float, send: float = 0.0) -> Stage:
    return Stage(seconds, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, send)


def test_a_stage_begins_when_its_work_has_come_and_the_pass_before_has_left() -> None:
    """Stages of 1 s and 3 s, a message of 0.5 s: the first pass is out at 4.5, the second, whose message is there at
    2.5, waits for the second stage until then, and is out at 7.5."""
    pipeline = Pipeline(1, 2)
    passes = [(stage(1.0, 0.5), stage(3.0))]
    assert [pipeline.run(passes, ready) for ready in (0.0, 1.0)] == [4.5, 7.5]
    assert pipeline.busy == [[2.0, 6.0]]


def test_a_message_leaves_beside_the_next_pass() -> None:
    pipeline = Pipeline(1, 2)
    passes = [(stage(1.0, 10.0), stage(1.0))]
    assert [pipeline.run(passes, 0.0) for _ in range(2)] == [12.0, 13.0]


def test_in_lock_step_every_rank_waits_for_the_slowest() -> None:
    passes = [(stage(1.0),), (stage(3.0),)]
    assert Pipeline(2, 1).run(passes, 0.0) == 3.0
    quick, slow = splits(passes)
    assert (quick[6], slow[6]) == (2.0, 0.0)
    assert sum(quick) == sum(slow) == pytest.approx(3.0)
