"""Shared wires, in figures small enough to be solved by hand: bytes, seconds, bytes per second."""

from unittest import mock

import pytest
from simpy import Environment

from sim.flow import Flow
from sim.max_min import fair_speeds, filled
from sim.network import Network


def flow(nbytes: float, *wires: int, latency: float = 0.0, speed: float, ceiling: float = float("inf")) -> Flow:
    """A message over some wires; `speed` is what the narrowest of them carries."""
    usage = tuple((wire, 1.0) for wire in wires)
    return Flow(latency=latency, nbytes=nbytes, usage=usage, speed=min(speed, ceiling), ceiling=ceiling)


def finish_times(capacities: list[float], *starts: tuple[float, Flow]) -> list[float]:
    """When each flow, started at its time, is done."""
    env = Environment()
    network = Network(env, capacities)
    done = [float("nan")] * len(starts)

    def start(index: int, at: float, one: Flow) -> None:
        env.timeout(at).callbacks.append(lambda _: network.start(one, lambda: done.__setitem__(index, env.now)))

    for index, (at, one) in enumerate(starts):
        start(index, at, one)
    env.run()
    assert network.in_flight() == []
    return done


def test_alone_a_message_takes_its_latency_and_its_bytes_over_the_speed() -> None:
    """1 + 12 / 4."""
    assert finish_times([4.0], (0.0, flow(12, 0, latency=1.0, speed=4.0))) == [4.0]


def test_without_wires_only_the_latency_counts() -> None:
    assert finish_times([], (0.5, flow(0, latency=2.0, speed=1.0))) == [2.5]


def test_two_equal_messages_on_one_wire_take_twice_as_long() -> None:
    """12 bytes each at 4 B/s: 3 s alone, 6 s together, and the latency of 1 s only once."""
    both = (0.0, flow(12, 0, latency=1.0, speed=4.0))
    assert finish_times([4.0], both, both) == [7.0, 7.0]


def test_two_messages_on_two_wires_do_not_notice_each_other() -> None:
    assert finish_times([4.0, 4.0], (0.0, flow(12, 0, speed=4.0)), (0.0, flow(8, 1, speed=4.0))) == [3.0, 2.0]


def test_three_sizes_on_one_wire_speed_up_as_each_leaves() -> None:
    """6 B/s, 6 + 12 + 18 bytes. 2 B/s each until 3; 3 B/s each until 5 (12 - 6 = 6 left); 6 B/s until 6 (6 left)."""
    flows = [(0.0, flow(nbytes, 0, speed=6.0)) for nbytes in (6, 12, 18)]
    assert finish_times([6.0], *flows) == [3.0, 5.0, 6.0]


def test_a_message_that_joins_halfway_halves_the_speed_from_then_on() -> None:
    """4 B/s. A: 16 bytes from 0. B: 4 bytes from 2. A has 8 left at 2; both at 2 B/s: B done at 4, A (4 left) at 5."""
    assert finish_times([4.0], (0.0, flow(16, 0, speed=4.0)), (2.0, flow(4, 0, speed=4.0))) == [5.0, 4.0]


def test_a_small_message_delays_a_big_one_by_its_own_bytes() -> None:
    """1 B/s. 10 bytes from 0, 9 left at 1, when 1 byte joins: both at 0.5 B/s, the small one done at 3; the big one has
    8 left: 11. Nothing that was promised it when it was alone (10) may end it, or come after it."""
    assert finish_times([1.0], (0.0, flow(10, 0, speed=1.0)), (1.0, flow(1, 0, speed=1.0))) == [11.0, 3.0]


def test_one_that_joins_during_anothers_latency_has_the_wire_until_that_is_over() -> None:
    """4 B/s. A: latency 2, 8 bytes, from 0 (alone it would end at 4). B: 8 bytes from 1.

    B alone from 1 to 2 moves 4. From 2 both at 2 B/s: B's other 4 end at 4; A has 4 left, at 4 B/s: 5.
    """
    assert finish_times([4.0], (0.0, flow(8, 0, latency=2.0, speed=4.0)), (1.0, flow(8, 0, speed=4.0))) == [5.0, 4.0]


def test_one_that_comes_and_goes_during_anothers_latency_costs_it_nothing() -> None:
    """4 B/s. A enters at 2 and ends at 4; B is on the wire from 1 to 2."""
    assert finish_times([4.0], (0.0, flow(8, 0, latency=2.0, speed=4.0)), (1.0, flow(4, 0, speed=4.0))) == [4.0, 2.0]


def test_a_latency_that_outlasts_the_other_message_shares_nothing() -> None:
    """4 B/s. A: 8 bytes, done at 2. B: started at 1 with 2 s of latency: 3 + 8 / 4."""
    assert finish_times([4.0], (0.0, flow(8, 0, speed=4.0)), (1.0, flow(8, 0, latency=2.0, speed=4.0))) == [2.0, 5.0]


def test_one_that_enters_as_another_leaves_shares_nothing() -> None:
    """4 B/s. A: 8 bytes, done at 2. B enters at 2, either by its start or by its latency."""
    for joins in ((2.0, flow(8, 0, speed=4.0)), (1.0, flow(8, 0, latency=1.0, speed=4.0))):
        assert finish_times([4.0], (0.0, flow(8, 0, speed=4.0)), joins) == [2.0, 4.0]


def test_who_shares_a_wire_with_a_slowed_message_gets_what_it_leaves() -> None:
    """Wires of 6 and 12 B/s. A on the first, B on both, C on the second: 3, 3 and 9 B/s.

    A's 9 bytes end at 3; then B and C get 6 each. B's 12: 3 left at 3, done at 3.5. C's 45: 18 left at 3, 15 at 3.5,
    alone at 12 B/s: 4.75.
    """
    flows = (flow(9, 0, speed=6.0), flow(12, 0, 1, speed=6.0), flow(45, 1, speed=12.0))
    assert finish_times([6.0, 12.0], *((0.0, one) for one in flows)) == [3.0, 3.5, 4.75]


def test_a_collective_is_as_fast_as_its_tightest_wire_and_loads_the_others_less() -> None:
    """8 bytes over a wire of 8 B/s and 2 over one of 4: 1 s alone. A message of 8 bytes on the second finds 2 B/s free,
    and max-min gives it more: both rise to x with x / 4 + x = 4, x = 3.2. The message (8 bytes) ends at 2.5, just as
    the collective does (8 / 3.2)."""
    collective = Flow(latency=0.0, nbytes=8.0, usage=((0, 1.0), (1, 0.25)), speed=8.0)
    assert finish_times([8.0, 4.0], (0.0, collective)) == [1.0]
    both = finish_times([8.0, 4.0], (0.0, collective), (0.0, flow(8, 1, speed=4.0)))
    assert both == pytest.approx([2.5, 2.5])


def test_what_is_in_flight_says_when_it_enters_what_is_left_and_how_fast() -> None:
    """At 1: A (16 bytes at 4 B/s) has 12 left; B is in its latency for 2 s more; A's speed is not yet shared."""
    env = Environment()
    network = Network(env, [4.0])
    network.start(flow(16, 0, speed=4.0), lambda: None)
    network.start(flow(8, 0, latency=3.0, speed=4.0), lambda: None)
    env.run(until=1.0)
    assert network.in_flight() == [(0.0, 12.0, 4.0), (2.0, 8.0, 0.0)]
    env.run(until=3.5)
    assert network.in_flight() == [(0.0, 3.0, 2.0), (0.0, 7.0, 2.0)]


def test_an_activity_alone_on_its_wires_costs_one_event() -> None:
    env = Environment()
    Network(env, [4.0]).start(flow(16, 0, latency=1.0, speed=4.0), lambda: None)
    env.step()
    assert env.now == 5.0
    assert env.peek() == float("inf")


def test_fair_speeds_of_the_textbook() -> None:
    """Three flows over wires of 10 and 4: the two on the second get 2, the one left on the first 8."""
    assert fair_speeds([{0: 1.0}, {0: 1.0, 1: 1.0}, {1: 1.0}], {0: 10.0, 1: 4.0}) == [8.0, 2.0, 2.0]
    assert fair_speeds([{}], {}) == [float("inf")]


def test_who_is_held_by_a_ceiling_leaves_the_rest_to_the_others() -> None:
    """Three over 12 B/s: 4 each. One can do 1 at most: the others 5.5 each."""
    assert fair_speeds([{0: 1.0}] * 3, {0: 12.0}, [1.0, float("inf"), float("inf")]) == [1.0, 5.5, 5.5]


def test_a_ceiling_above_the_fair_share_changes_nothing() -> None:
    assert fair_speeds([{0: 1.0}] * 3, {0: 12.0}, [4.5, 100.0, float("inf")]) == [4.0, 4.0, 4.0]


def test_without_a_wire_a_flow_is_as_fast_as_its_ceiling() -> None:
    assert fair_speeds([{}, {}], {}, [3.0, float("inf")]) == [3.0, float("inf")]


def test_a_ceiling_counts_bytes_of_the_busiest_wire() -> None:
    """Two collectives, each with 8 bytes over a wire of 8 B/s and 2 over one of 1 B/s. The second wire holds both at
    x / 4 + y / 4 = 1: 2 B/s each; with a ceiling of 1 for the first the other has 3 B/s."""
    both = [{0: 1.0, 1: 0.25}] * 2
    assert fair_speeds(both, {0: 8.0, 1: 1.0}) == [2.0, 2.0]
    assert fair_speeds(both, {0: 8.0, 1: 1.0}, [1.0, float("inf")]) == [1.0, 3.0]


def test_a_message_with_a_ceiling_takes_as_long_alone_as_beside_one_that_leaves_it_that_much() -> None:
    """6 B/s. A: 6 bytes at 2 B/s at most: 3 s, alone or not. B: 8 bytes beside it at 4 B/s: 2 s."""
    held, other = flow(6, 0, speed=6.0, ceiling=2.0), flow(8, 0, speed=6.0)
    assert finish_times([6.0], (0.0, held)) == [3.0]
    assert finish_times([6.0], (0.0, held), (0.0, other)) == [3.0, 2.0]


def test_a_change_reaches_those_whom_it_slows_or_frees_and_those_whom_they_do() -> None:
    """Wires of 6, 6 and 12 B/s: A on the first, B on the first and second, C on the second and third, D on the third.

    A and B 3 each; C takes the 3 that B leaves, D the 9 that C leaves. E joins A and B on the first at 1: 2 B/s each,
    so C rises to 4 and D falls to 8. A: 3 bytes by 1, 2 B/s from then: 9 bytes at 4. B: 12 bytes: 3 by 1, 9 by 4, then
    with E alone 3 B/s: 5. C: 3 by 1, 15 by 4, 3 by 5: 21. D: 9 by 1, 24 by 4, 9 by 5: 42. E: 6 by 4, 3 by 5: 9.
    """
    flows = [
        (0.0, flow(9, 0, speed=6.0)),
        (0.0, flow(12, 0, 1, speed=6.0)),
        (0.0, flow(18, 1, 2, speed=6.0)),
        (0.0, flow(42, 2, speed=12.0)),
        (1.0, flow(9, 0, speed=6.0)),
    ]
    assert finish_times([6.0, 6.0, 12.0], *flows) == pytest.approx([4.0, 5.0, 5.0, 5.0, 5.0])


def test_who_is_held_by_a_wire_that_stays_full_has_more_once_another_there_would_be_faster() -> None:
    """Wires of 7, 4 and 4 B/s. On the first A, G and H; on the second also G and F; on the third also A and X.

    A 2, F 2, G 2, X 2, so H 3. At 1 F is done and six more enter the third: A and they have 0.5 each. Of the 6.5 that A
    leaves G could take 3.5 as H stands, and the wire would be full; but both have 3.25. H: 3 by 1, 6.25 by 2. G: 2 by
    1, 5.25 by 2.
    """
    flows = [
        (0.0, flow(100, 0, 2, speed=4.0)),
        (0.0, flow(2, 1, speed=4.0)),
        (0.0, flow(5.25, 0, 1, speed=4.0)),
        (0.0, flow(6.25, 0, speed=7.0)),
        (0.0, flow(100, 2, speed=4.0)),
        *[(0.0, flow(100, 2, latency=1.0, speed=4.0))] * 6,
    ]
    assert finish_times([7.0, 4.0, 4.0], *flows)[1:4] == pytest.approx([1.0, 2.0, 2.0])


def test_the_changes_of_one_moment_are_solved_together() -> None:
    """A thousand messages that start together on one wire end together, after one solution for all."""
    many = [(0.0, flow(1, 0, latency=1.0, speed=1000.0))] * 1000
    with mock.patch("sim.settling.filled", wraps=filled) as solving:
        assert finish_times([1000.0], *many) == pytest.approx([2.0] * 1000)
    assert solving.call_count == 1
