"""Proposed tokens, and how many of them are right."""

from dataclasses import replace

import numpy as np
import pytest

from sim.deployment import Speculation
from sim.serving.service import serve
from sim.serving.settings import Settings
from sim.serving.speculation import accepted
from tests.pass_costs import Linear
from tests.served import SMALL, ahead, alike


def test_a_pass_gives_as_many_tokens_as_the_geometric_series_says() -> None:
    """Three proposed at 0.7: 1 + 0.7 + 0.49 + 0.343 = 2.533."""
    speculation = Speculation(tokens=3, acceptance=0.7)
    tokens = [1 + accepted(speculation, row, generated) for row in range(100) for generated in range(100)]
    assert np.mean(tokens) == pytest.approx((1 - 0.7**4) / 0.3, rel=0.02)


@pytest.mark.parametrize("config", [SMALL, ahead(SMALL)], ids=["one by one", "ahead"])
def test_right_guesses_make_an_answer_shorter_and_drafts_make_passes_longer(config: Settings) -> None:
    """A prompt and 40 tokens: with three right ones of three each time, 1 + 13 passes, each 1.3 times as long."""
    speculation = Speculation(tokens=3, acceptance=1.0, draft_share=0.1)
    record = serve(alike(2, 10, 41), replace(config, speculation=speculation), Linear(fixed=0.1))
    assert record.finished == pytest.approx(11 * 0.13)
    np.testing.assert_allclose(record.causes.sum(axis=1), record.finished, atol=1e-9)


def test_guesses_that_are_always_wrong_gain_nothing() -> None:
    speculation = Speculation(tokens=2, acceptance=0.0, draft_share=0.0)
    record = serve(alike(1, 10, 20), replace(SMALL, speculation=speculation), Linear(fixed=0.1))
    assert record.finished == pytest.approx(20 * 0.1)


@pytest.mark.parametrize("config", [SMALL, ahead(SMALL)], ids=["one by one", "ahead"])
def test_who_loses_its_blocks_while_guesses_are_checked_computes_all_of_it_again(config: Settings) -> None:
    """Two prompts of 20 in 7 blocks, 9 tokens a pass: the fourth time to decode is too much for both. The second has 20
    + 1 + 3 x 9 then, the last 9 of which may come when its blocks are lost."""
    config = replace(config, speculation=Speculation(tokens=8, acceptance=1.0), num_blocks=8)
    record = serve(alike(2, 20, 60), config, Linear(fixed=0.1))
    assert record.preemptions.tolist() == [0, 1]
    assert record.steps.prefill[record.steps.prefill > 0].tolist() == [40, 48]


def test_guesses_that_the_budget_has_no_room_for_are_not_checked() -> None:
    """A token with the prompt and 8 more, all guesses right: two passes of 4, but a budget of 2 leaves four of 2."""
    speculation = Speculation(tokens=3, acceptance=1.0, draft_share=0.0)
    config = replace(SMALL, speculation=speculation, max_num_batched_tokens=2)
    record = serve(alike(1, 2, 9), config, Linear(fixed=0.1))
    assert record.finished == pytest.approx(0.1 + 4 * 0.1)
    assert np.repeat(record.gap_seconds, record.gap_counts) == pytest.approx([0.1] * 4)
