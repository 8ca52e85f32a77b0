"""The bubble and the memory of each schedule are those that its authors published, by exact count in the dry run.

Huang et al. 2019 (GPipe), Narayanan et al. 2021 (1F1B, interleaved), Lamy-Poirier 2022 (looped), Qi et al. 2023 (ZB-H1,
ZB-H2, ZB-V), Qi et al. 2024 (V-Half, V-Min), the table in github.com/deepseek-ai/DualPipe (DualPipe, DualPipeV).
"""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sim.schedules import SCHEDULES, Grid, Schedule, schedule_of
from sim.schedules.dry_run import dry_run
from tests.schedules import EQUAL, Size, durations, halves, held, make, sizes


def bubble(grid: Grid) -> int:
    """The most that a rank idles from its first pass to its last, beyond nothing to do: Qi et al.'s measure."""
    busy = [[place for place, action in enumerate(row) if action] for row in grid]
    return max(places[-1] + 1 - places[0] for places in busy) - max(map(len, busy))


def is_split(schedule: Schedule) -> bool:
    return any(action.kind == "I" for row in schedule.rows for action in row)


# Published bubbles.


@given(size=sizes("gpipe", "1f1b", "interleaved"), lasting=halves)
def test_the_bubble_is_p_less_one_passes_of_one_chunk(size: Size, lasting: dict[str, int]) -> None:
    """The step takes (m + (p-1)/v)(F+B) [Narayanan et al. 2021], F and B those of a rank; a chunk's are F/v and B/v.

    In units where a chunk takes f and b: (m v + p - 1)(f + b), of which each rank works m v (f + b) and idles the rest.
    """
    _, p, v, m = size
    lasts = durations(lasting)
    chunk = lasts["F"] + lasts["B"]
    for row in dry_run(make(size), lasts):
        assert len(row) == (m * v + p - 1) * chunk
        assert row.count(None) == (p - 1) * chunk


@given(size=sizes("looped"), lasting=halves)
def test_breadth_first_has_the_interleaved_bubble_where_each_rank_has_a_microbatch(
    size: Size, lasting: dict[str, int]
) -> None:
    """(p-1)(F+B)/v [Lamy-Poirier 2022, equation 3]; with m < p, each of the v - 1 turns waits p - m passes more."""
    _, p, v, m = size
    lasts = durations(lasting)
    waits = (v - 1) * max(0, p - m)
    assert len(dry_run(make(size), lasts)[0]) == (m * v + p - 1 + waits) * (lasts["F"] + lasts["B"])


@given(size=sizes("naive"), lasting=halves)
def test_naive_model_parallelism_uses_one_rank_at_a_time(size: Size, lasting: dict[str, int]) -> None:
    _, p, _, m = size
    lasts = durations(lasting)
    grid = dry_run(make(size), lasts)
    assert len(grid[0]) == m * p * (lasts["F"] + lasts["B"])
    assert all(sum(action is not None for action in column) == 1 for column in zip(*grid, strict=True))


@given(p=st.integers(1, 8), more=st.integers(0, 6), lasting=halves)
def test_zb_h1_leaves_f_plus_i_less_w_of_each_rank_but_one(p: int, more: int, lasting: dict[str, int]) -> None:
    """(p-1)(T_F+T_B-T_W), where T_B is our I [Qi et al. 2023, table 2]; a W fits beside an F where it is not longer."""
    lasts = durations(lasting)
    if lasts["W"] <= lasts["F"]:
        grid = dry_run(SCHEDULES["zb-h1"](p, 1, 2 * p + more), lasts)
        assert bubble(grid) == (p - 1) * (lasts["F"] + lasts["I"] - lasts["W"])


@given(p=st.integers(1, 8), more=st.integers(0, 6), lasting=halves)
def test_zb_h2_leaves_f_plus_i_less_two_w_of_each_rank_but_one(p: int, more: int, lasting: dict[str, int]) -> None:
    """(p-1)(T_F+T_B-2T_W) [Qi et al. 2023, table 2], and nothing where that is negative."""
    lasts = durations(lasting)
    if lasts["W"] <= lasts["F"]:
        grid = dry_run(SCHEDULES["zb-h2"](p, 1, 2 * p + more), lasts)
        assert bubble(grid) == max(0, (p - 1) * (lasts["F"] + lasts["I"] - 2 * lasts["W"]))


@given(p=st.integers(1, 8), more=st.integers(0, 6))
def test_zb_h2_and_zb_v_have_no_bubble_where_f_i_and_w_last_alike(p: int, more: int) -> None:
    """[Qi et al. 2023, sections 2.2 and 6]. Rank r starts and ends r passes late: p - 1 more over all."""
    for name, v in (("zb-h2", 1), ("zb-v", 2)):
        m = 2 * p - 1 + more
        grid = dry_run(SCHEDULES[name](p, v, m), EQUAL)
        assert bubble(grid) == 0
        assert len(grid[0]) == 3 * m * v + p - 1


@given(p=st.integers(2, 10), more=st.integers(0, 4))
def test_v_half_and_v_min_have_a_half_and_two_thirds_of_the_bubble_of_1f1b(p: int, more: int) -> None:
    """Rates of about p/2m and 2p/3m where F = I = W, 1F1B's being p/m [Qi et al. 2024; sail-sg's demonstration of it].

    1F1B idles 6(p-1) passes of a chunk, so V-Half about 3p, V-Min about 4p. Ours: 3(p-1), one less for odd p; 4p - 5,
    two more where 3 divides p and the pattern needs a gap.
    """
    m = 2 * p + more
    assert bubble(dry_run(SCHEDULES["v-half"](p, 2, m), EQUAL)) == 3 * (p - 1) - p % 2
    assert bubble(dry_run(SCHEDULES["v-min"](p, 2, m), EQUAL)) == 4 * p - 5 + 2 * (p % 3 == 0)


@given(p=st.integers(1, 5), more=st.integers(0, 4), lasting=halves, saved=st.integers(0, 3))
def test_dualpipe_leaves_the_bubble_of_its_table(p: int, more: int, lasting: dict[str, int], saved: int) -> None:
    """(PP/2-1)(F&B + B - 3W), PP the stages of the model [github.com/deepseek-ai/DualPipe], exact for W <= F = I.

    F&B, a forward and a backward as one, lasts `saved` less than both, but no less than B. DualPipeV of p ranks is of
    2p stages. The bubble is what the ranks at the turn idle, which have the most pairs.
    """
    lasts = durations(lasting | {"I": lasting["F"], "W": min(lasting["W"], lasting["F"])})
    paired = lasts["B"] + max(0, lasts["F"] - saved)
    expected = (p - 1) * (paired + lasts["B"] - 3 * lasts["W"])
    for name, ranks, v, m in (("dualpipe", 2 * p, 1, 4 * p + 2 * more), ("dualpipev", p, 2, 2 * p + more)):
        grid = dry_run(SCHEDULES[name](ranks, v, m), lasts, paired=paired)
        assert max(row.count(None) for row in grid) == expected


@given(p=st.integers(2, 16), m=st.integers(1, 31))
def test_the_bubble_fraction_shrinks_as_microbatches_grow(p: int, m: int) -> None:
    """(p-1)/(m+p-1) of the step."""
    few, more = (dry_run(SCHEDULES["1f1b"](p, 1, count))[0] for count in (m, m + 1))
    assert few.count(None) / len(few) == (p - 1) / (m + p - 1)
    assert more.count(None) / len(more) < few.count(None) / len(few)


# Published memory.


@given(size=sizes("gpipe", "looped", "naive", "1f1b", "interleaved"))
def test_a_rank_holds_at_most_its_warmup_and_one_more(size: Size) -> None:
    """GPipe and looped all; naive 1; 1F1B min(p - r, m); interleaved 2(p-1-r) + (v-1)p + 1 chunks [Megatron-Core].

    On rank 0 of a long interleaved run that is pv + p - 1 chunks of L/(pv) layers: L(1 + (p-1)/(pv)), as Korthikanti et
    al. 2022, section 4.2.3, state.
    """
    name, p, v, m = size
    expected = {
        "gpipe": [m] * p,
        "looped": [m * v] * p,
        "naive": [1] * p,
        "1f1b": [min(p - rank, m) for rank in range(p)],
        "interleaved": [min(2 * (p - 1 - rank) + (v - 1) * p + 1, m * v) for rank in range(p)],
    }
    assert held(make(size)) == expected[name]


@given(p=st.integers(1, 8), more=st.integers(0, 6))
def test_zero_bubble_schedules_hold_what_their_paper_says(p: int, more: int) -> None:
    """ZB-H1 p microbatches on every rank, ZB-H2 2p - 1, ZB-V 2p chunks, that is p [Qi et al. 2023, sections 2.3, 6]."""
    m = 2 * p + more
    assert held(SCHEDULES["zb-h1"](p, 1, m)) == [p] * p
    assert held(SCHEDULES["zb-h2"](p, 1, m)) == [2 * p - 1] * p
    assert held(SCHEDULES["zb-v"](p, 2, m)) == [2 * p] * p


@given(p=st.integers(1, 10), more=st.integers(0, 4))
def test_v_half_and_v_min_hold_a_half_and_a_third(p: int, more: int) -> None:
    """(p+2)//2 and (p+4)//3 microbatches of two chunks [Qi et al. 2024; sail-sg's demonstration of it]."""
    m = 2 * p + more
    assert max(held(SCHEDULES["v-half"](p, 2, m))) == 2 * ((p + 2) // 2)
    assert max(held(SCHEDULES["v-min"](p, 2, m))) == 2 * ((p + 4) // 3)


@given(size=sizes("dualpipe", "dualpipev"))
def test_dualpipe_holds_one_microbatch_more_than_it_has_stages(size: Size) -> None:
    """PP + 1 activations of a stage, PP the stages of the model [github.com/deepseek-ai/DualPipe]; and two models."""
    name, p, v, _ = size
    schedule = make(size)
    assert held(schedule) == [p * v + 1] * p
    assert schedule.num_models == (2 if name == "dualpipe" else 1)
    assert all(len(schedule.stages_of(rank)) == 2 for rank in range(p))


@given(size=sizes("zb-h1", "zb-h2", "zb-v", "v-half", "v-min"))
def test_a_short_batch_holds_no_more_than_a_long_one(size: Size) -> None:
    name, p, v, m = size
    few, many = held(make(size)), held(SCHEDULES[name](p, v, 3 * p + m))
    assert all(one <= other for one, other in zip(few, many, strict=True))
    assert max(few) <= m * v


# Groups, and pairs of 1F1B.


@given(p=st.integers(1, 8), v=st.integers(1, 4), data=st.data())
def test_groups_of_any_size_from_p_have_the_same_bubble(p: int, v: int, data: st.DataObject) -> None:
    """Megatron-Core's rule: the last group is whole, or has p microbatches or more. A larger group holds more.

    A last group of another size may put a backward behind forwards of the larger group, so the bubble may be larger.
    """
    size = data.draw(st.integers(p, 2 * p + 2))
    rest = data.draw(st.sampled_from([0, *range(p, size)]))
    m = size * data.draw(st.integers(1, 3)) + rest
    schedule = schedule_of("interleaved", p, v, m, size)
    idle = len(dry_run(schedule, EQUAL)[0]) - 3 * m * v
    assert idle >= 3 * (p - 1)
    if not rest:
        assert idle == 3 * (p - 1)
        warmup = [2 * (p - 1 - rank) + (v - 1) * size for rank in range(p)]
        assert held(schedule) == [min(each + 1, m * v) for each in warmup]


@given(p=st.integers(1, 8), v=st.integers(1, 3), groups=st.integers(1, 4))
def test_one_more_warmup_makes_every_forward_and_the_backward_after_it_a_pair(p: int, v: int, groups: int) -> None:
    """[Megatron-Core, overlap_moe_expert_parallel_comm]. Though a pair waits for both, the bubble is (p-1)(F+B)/v."""
    m = p * groups
    schedule = schedule_of("interleaved", p, v, m, overlap_ep=True)
    assert len(dry_run(schedule, EQUAL)[0]) == 3 * (m * v + p - 1)
    for rank in range(p):
        warmup = 2 * (p - 1 - rank) + (v - 1) * p + 1
        pairs = [each for each in schedule.passes(rank) if len(each) == 2]
        assert len(pairs) == max(0, m * v - warmup)
        assert is_split(replace(schedule, rows=(schedule.rows[rank],))) == (not pairs)
