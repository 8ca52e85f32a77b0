"""The figures of a served load: three requests worked out by hand (tests/serving_records.py), and what always holds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sim.objectives import objective
from sim.serving.record import CAUSES
from sim.serving.results import attainments, latencies, other_tools, summarize
from sim.serving.results.goodput import good
from sim.serving.results.latency import deviation, mean, percentile, sample
from tests.serving_records import passes, three


def test_three_requests_are_summed_up_as_vllm_does() -> None:
    """5 seconds, 600 tokens in, 9 out. TTFTs 1, 1, 2: mean 4/3, p50 1, p90 of rank 1.8: 1.8. TPOTs 0.5 and 1; gaps
    0.5 x 4, 1 x 2: mean 2/3. At second 3 to 4 none is new; from 4.0 on two requests are under way."""
    found = summarize(three(), num_gpus=1)
    expected = {
        "duration": 5.0,
        "completed": 3,
        "failed": 1,
        "total_input_tokens": 600,
        "total_output_tokens": 9,
        "request_throughput": 0.6,
        "request_goodput": None,
        "output_throughput": 1.8,
        "total_token_throughput": 121.8,
        "max_concurrent_requests": 2,
        "mean_ttft_ms": 4000 / 3,
        "median_ttft_ms": 1000.0,
        "p90_ttft_ms": 1800.0,
        "std_ttft_ms": 1000 * np.std([1, 1, 2]),
        "mean_tpot_ms": 750.0,
        "p99_tpot_ms": 995.0,
        "mean_itl_ms": 2000 / 3,
        "median_itl_ms": 500.0,
        "p90_itl_ms": 1000.0,
        "mean_e2el_ms": 8000 / 3,
        "kv_blocks": 100,
        "cached_prompt_tokens": 32,
        "bubble_fraction": 0.0,
        "gpu_busy_fraction": 0.8,
        "prefill": None,
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected)


def test_who_leaves_makes_room_for_who_comes_at_that_instant() -> None:
    """From 0 to 3, 3 to 5 and 5 to 6 s: never two at once."""
    record = replace(three(), sent=np.array([0.0, 3, 5, np.nan]), finished=np.array([3.0, 5, 6, np.nan]))
    assert summarize(record, num_gpus=1)["max_concurrent_requests"] == 1


def test_tokens_of_a_second_are_those_that_came_out_in_it() -> None:
    """At 1, 3 and 5 s first tokens; further ones (6) by the decodes 0, 1, 2, 3 of the passes that end at 1, 3, 4 and 5.
    So the most come at 5 s: 1 + 3."""
    assert summarize(three(), num_gpus=1)["max_output_tokens_per_s"] == pytest.approx(4.0)


def test_two_gpus_for_five_seconds_at_three_dollars_an_hour() -> None:
    """10 GPU-seconds at $3.6 an hour are 1 cent: a third of it for each of three queries, 1e6/9 of it per million
    tokens out. The GPUs work for 4 of the 5 seconds, so by use it is 0.8 of that."""
    found = summarize(three(), num_gpus=2, price=3.6)
    assert found["cost_per_query_usd"] == pytest.approx(0.01 / 3)
    assert found["cost_per_million_output_tokens_usd"] == pytest.approx(0.01 / 9e-6)
    assert found["cost_per_million_tokens_usd"] == pytest.approx(0.01 / 609e-6)
    assert found["cost_per_query_by_use_usd"] == pytest.approx(0.008 / 3)
    assert summarize(three(), num_gpus=2)["cost_per_query_usd"] is None


def test_a_breakdown_sums_to_one() -> None:
    """Of 8 s of latency 7 are computing and 1 is queueing; of 4 s until first tokens, 3 and 1."""
    found = summarize(three(), num_gpus=1)
    for key, shares in (("breakdown", (7 / 8, 1 / 8)), ("first_token_breakdown", (3 / 4, 1 / 4))):
        parts = found[key]
        assert isinstance(parts, dict)
        assert tuple(parts) == CAUSES
        assert sum(parts.values()) == pytest.approx(1.0)
        assert (parts["compute"], parts["queue"]) == pytest.approx(shares)


def test_goodput_is_of_requests_that_keep_every_limit() -> None:
    """TTFT <= 1 s: the first and third; TPOT <= 0.5 s: the second and, of one token, the third. So one in 5 s."""
    found = summarize(three(), num_gpus=1, limits={"ttft": 1.0, "tpot": 0.5})
    assert found["request_goodput"] == pytest.approx(0.2)


def test_an_objective_is_met_or_missed_by_so_much() -> None:
    """p90 TTFT is 1.8 s: a tenth below 2 s; mean TPOT 0.75 s, half as much again as 0.5 s. One TPOT of two kept it."""
    found = replace(latencies(three()), failed=0)
    met, missed = attainments(found, map(objective, ("p90 ttft < 2 s", "mean tpot < 500 ms")))
    assert (met.met, met.margin, met.share) == (True, pytest.approx(0.1), 1.0)
    assert (missed.met, missed.margin, missed.share) == (False, pytest.approx(-0.5), 0.5)


def test_who_is_refused_misses_every_objective() -> None:
    """TTFT: 1, 1, 2 s and never: the median is 1.5 s, p90 never; of TPOT, 0.5, 1 s and never, one of three keeps it."""
    texts = "median ttft < 2 s", "p90 ttft < 2 s", "mean tpot < 500 ms", "p50 itl < 900 ms"
    median, tail, mean, gaps = attainments(latencies(three()), map(objective, texts))
    assert (median.value, median.met, median.share) == (1.5, True, 0.75)
    assert (tail.value, tail.met, tail.share) == (np.inf, False, 0.75)
    assert (mean.value, mean.met, mean.share) == (np.inf, False, pytest.approx(1 / 3))
    assert (gaps.met, gaps.share) == (True, pytest.approx(4 / 7))


def test_one_cohort_leaves_all_stages_but_one_idle() -> None:
    """Passes from 0 to 4 s and from 6 to 10 s take 1 s on each of four stages: bubble 1 - 1/4. Two at once: 1 - 2/4."""
    one = passes(start=[0, 6], end=[4, 10], prefill=[0, 0], decodes=[1, 1], used=[1, 1])
    two = passes(start=[0, 0, 6, 6], end=[4, 4, 10, 10], prefill=[0] * 4, decodes=[1] * 4, used=[1] * 4)
    for steps, busy, bubble in ((one, 2.0, 0.75), (two, 4.0, 0.5)):
        record = replace(three(), steps=steps, stage_busy=np.full((1, 4), busy))
        assert summarize(record, num_gpus=4)["bubble_fraction"] == pytest.approx(bubble)


def test_other_tools_mean_other_things_by_the_same_words() -> None:
    """guidellm's time per output token counts the first: (3 + 4 + 1) / 9; its ITL is a gap's mean: 4 / 6. aiperf's ITL
    is what vLLM calls TPOT: (1 + 0.5) / 2; a user sees 1 or 2 tokens a second."""
    guide, ai = other_tools(three(), {"ttft": 1.0}).values()
    assert guide["time_per_output_token_ms"]["mean"] == pytest.approx(8000 / 9)
    assert guide["inter_token_latency_ms"]["mean"] == pytest.approx(4000 / 6)
    assert guide["request_latency"]["mean"] == pytest.approx(8 / 3)
    assert ai["inter_token_latency"]["avg"] == pytest.approx(750)
    assert ai["inter_chunk_latency"]["avg"] == pytest.approx(4000 / 6)
    assert ai["output_token_throughput_per_user"]["avg"] == pytest.approx(1.5)
    assert (ai["goodput"]["avg"], ai["good_request_fraction"]["avg"]) == pytest.approx((0.4, 0.5))


def test_a_load_of_which_nothing_came_is_summed_up_in_noughts() -> None:
    nothing = np.full(4, np.nan)
    record = replace(three(), scheduled=nothing, first_token=nothing, finished=nothing, gap_counts=np.array([0, 0]))
    found = summarize(record, num_gpus=1, price=1.0, objectives=[objective("p99 ttft < 2 s")])
    assert (found["completed"], found["failed"], found["p99_ttft_ms"], found["duration"]) == (0, 4, 0.0, 0.0)
    assert found["cost_per_query_usd"] is None
    assert found["objectives"] == [
        {"objective": "p99 ttft < 2 s", "value_ms": None, "met": False, "margin": None, "share_of_requests": 0.0}
    ]


@given(values=arrays.arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 100)), percent=st.floats(50, 99.9))
def test_percentiles_are_numpys_however_values_are_counted(values: np.ndarray, percent: float) -> None:
    counts = np.arange(len(values)) % 3 + 1
    spread = np.repeat(values, counts)
    for found, all_of_them in ((sample(values), values), (sample(values, counts), spread)):
        assert percentile(found, percent) == pytest.approx(np.percentile(all_of_them, percent), abs=1e-9)
        assert mean(found) == pytest.approx(all_of_them.mean(), abs=1e-9)
        assert deviation(found) == pytest.approx(all_of_them.std(), abs=1e-6)


def test_no_limit_makes_goodput_more_than_throughput() -> None:
    found = latencies(three())
    for ttft in (0.5, 1.0, 1.5, 2.0):
        kept = int(good(found, {"ttft": ttft}).sum())
        assert int(good(found, {"ttft": ttft, "tpot": 0.7}).sum()) <= kept <= len(found.rows)
