"""Requests composed from a load: how many, who shares a beginning, whose turn follows whose; and what is refused."""

import math
from pathlib import Path

import numpy as np
import pytest

from sim.requests import Bursts, Distribution, Diurnal, Load, Prefix, Sessions, described, made
from topologies.document import InputError


def fixed(tokens: float) -> Distribution:
    return Distribution(mean=tokens)


def test_a_load_that_says_nothing_is_vllms_random_one_all_at_once() -> None:
    requests = made(Load(), seed=0)
    assert len(requests) == 1_000
    assert (set(requests.arrival), set(requests.prompt), set(requests.output)) == ({0.0}, {1024}, {128})
    assert requests.after is None
    assert requests.contents is None


def test_a_closed_loop_sends_all_at_once_to_so_many_users() -> None:
    requests = made(Load(concurrency=8, num_requests=80), seed=0)
    assert requests.concurrency == 8
    assert not requests.arrival.any()


def test_a_prefix_comes_on_top_and_its_whole_runs_have_one_name_in_all() -> None:
    """100 tokens are six whole runs of 16; 2 x 6 x 16 of the 3 x 150 tokens are found again."""
    requests = made(Load(num_requests=3, prompt=fixed(50), prefix=Prefix(tokens=100)), seed=0)
    assert requests.prompt.tolist() == [150] * 3
    assert requests.contents == (tuple(range(6)),) * 3
    assert described(requests).reusable == pytest.approx(2 * 96 / 450)


def test_groups_share_a_prefix_each_and_none_with_each_other() -> None:
    requests = made(Load(num_requests=400, prefix=Prefix(tokens=32, groups=4)), seed=0)
    assert requests.contents is not None
    assert set(requests.contents) == {(0, 1), (2, 3), (4, 5), (6, 7)}


def test_each_turn_holds_all_that_was_said_before() -> None:
    """New tokens 20, answers 12: prompts of 20, 20+12+20 = 52, 84; whole runs with the answers: 2, 4, 6."""
    sessions = Sessions(turns=Distribution(mean=3), think_time=2.0)
    requests = made(Load(num_requests=5, prompt=fixed(20), output=fixed(12), sessions=sessions), seed=0)
    assert requests.prompt.tolist() == [20, 52, 84, 20, 52]
    assert requests.after is not None
    assert requests.after.tolist() == [-1, 0, 1, -1, 3]
    assert requests.contents == (range(2), range(4), range(6), range(6, 8), range(6, 10))
    assert (requests.arrival[requests.after >= 0] > 0).all()


def test_a_cache_finds_prompt_and_answer_of_the_turns_before() -> None:
    """Of 20 + 52 + 84 tokens it finds nothing, 2 runs and 4 runs: 96 of 156."""
    sessions = Sessions(turns=Distribution(mean=3))
    description = described(made(Load(num_requests=3, prompt=fixed(20), output=fixed(12), sessions=sessions), seed=0))
    assert (description.num_requests, description.num_sessions) == (3, 1)
    assert description.reusable == pytest.approx(96 / 156)


def test_conversations_with_a_common_prefix_begin_with_its_names() -> None:
    sessions = Sessions(turns=Distribution(mean=2))
    load = Load(num_requests=4, prompt=fixed(16), output=fixed(16), prefix=Prefix(tokens=32), sessions=sessions)
    requests = made(load, seed=0)
    assert requests.prompt.tolist() == [48, 80, 48, 80]
    assert requests.contents == ((0, 1, 2, 3), (0, 1, 2, 3, 4, 5), (0, 1, 6, 7), (0, 1, 6, 7, 8, 9))


def test_think_times_have_their_mean() -> None:
    sessions = Sessions(turns=Distribution(mean=50), think_time=8.0)
    requests = made(Load(rate=1.0, num_requests=20_000, sessions=sessions), seed=1)
    assert requests.after is not None
    assert requests.arrival[requests.after >= 0].mean() == pytest.approx(8.0, rel=0.05)
    assert (np.diff(requests.arrival[requests.after < 0]) >= 0).all()


def test_a_description_counts_rate_and_percentiles() -> None:
    """Four in 0.25 s steps are three intervals in 0.75 s."""
    description = described(made(Load(rate=4.0, burstiness=math.inf, num_requests=4, prompt=fixed(7)), seed=0))
    assert (description.rate, description.duration) == (4.0, 0.75)
    assert (description.prompt.p50, description.prompt.largest, description.reusable) == (7.0, 7, 0.0)
    assert described(made(Load(), seed=0)).rate is None


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (Load(rate=0.0), "rate: must be positive"),
        (Load(rate=math.nan), "rate: must be positive"),
        (Load(rate=1.0, burstiness=-1.0), "burstiness: must be positive"),
        (Load(burstiness=2.0), "burstiness: needs a rate; write rate: 4"),
        (Load(rate=1.0, bursts=Bursts(on=1.0, off=1.0), diurnal=Diurnal(peak=2.0)), "bursts: not with diurnal"),
        (Load(rate=1.0, diurnal=Diurnal(peak=3.0)), "diurnal.peak: must be from 1 to 2"),
        (Load(rate=1.0, bursts=Bursts(on=0.0, off=1.0)), "bursts.on: must be positive"),
        (Load(duration=5.0), "duration: all requests come at once"),
        (Load(rate=1e-3, duration=1e-3), "duration: no request comes within 0.001 s"),
        (Load(rate=1e9, duration=1e9), "duration: more than 20,000,000 requests"),
        (Load(num_requests=0), "num_requests: must be a whole number from 1"),
        (Load(concurrency=0), "concurrency: must be a whole number from 1"),
        (Load(prompt=fixed(2e7)), "prompt: must be from 1 to 1e+07"),
        (Load(prompt=fixed(1.5)), "prompt: 1.5 is not a whole number of tokens"),
        (Load(output=Distribution(mean=5, kind="uniform", range_ratio=1.0)), "output.range_ratio: must be at least 0"),
        (Load(prefix=Prefix(tokens=0)), "prefix.tokens: must be a whole number from 1"),
        (Load(sessions=Sessions(turns=fixed(2), think_time=-1.0)), "sessions.think_time: must be from 0"),
        (Load(window=(0.0, 1.0)), "window: it is of a trace"),
        (Load(rate_scale=2.0), "rate_scale: only where requests come as a trace says"),
        (Load(trace=Path("none.csv"), window=(5.0, 5.0)), "window: from 5 to 5 s holds nothing"),
    ],
)
def test_what_cannot_be_is_refused_by_the_field_and_with_what_to_write(load: Load, message: str) -> None:
    with pytest.raises(InputError) as caught:
        made(load, seed=0)
    assert str(caught.value).startswith(message)
