"""What holds for any messages on any wires: nothing is overfull, speeds are max-min fair, played as solved."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from simpy import Environment

from sim.flow import Flow
from sim.max_min import fair_speeds
from sim.network import Network

NUM_WIRES = 6
NEVER = float("inf")
capacities = st.lists(st.floats(0.5, 8.0), min_size=NUM_WIRES, max_size=NUM_WIRES)
usages = st.dictionaries(st.integers(0, NUM_WIRES - 1), st.sampled_from([0.25, 0.5, 1.0]), min_size=1, max_size=3)
ceilings = st.one_of(st.just(NEVER), st.floats(0.1, 4.0))
sizes = st.floats(0.5, 20.0)
times = st.one_of(st.floats(0.0, 5.0), st.sampled_from([0.0, 1.0, 2.0]))
starts = st.lists(st.tuples(times, times, sizes, usages, ceilings), min_size=1, max_size=12)
Start = tuple[float, float, float, dict[int, float], float]
"""When it starts, its latency, its bytes, the share of them on each wire, how fast it is at most."""


@given(flows=st.lists(st.tuples(usages, ceilings), min_size=1, max_size=12), carries=capacities)
def test_no_wire_is_overfull_and_every_flow_is_at_its_ceiling_or_has_a_full_wire_where_none_is_faster(
    flows: list[tuple[dict[int, float], float]], carries: list[float]
) -> None:
    """The certificate of max-min fairness [Bertsekas & Gallager, 6.5.2]: whoever is to go faster takes from a flow that
    is no faster than it, on its bottleneck wire. Nothing here knows how the speeds were found."""
    used_by, most = [usage for usage, _ in flows], [ceiling for _, ceiling in flows]
    speeds = fair_speeds(used_by, dict(enumerate(carries)), most)
    used = [
        sum(usage.get(wire, 0.0) * speed for usage, speed in zip(used_by, speeds, strict=True))
        for wire in range(NUM_WIRES)
    ]
    assert all(load <= carry * (1 + 1e-9) for load, carry in zip(used, carries, strict=True))
    for (usage, ceiling), speed in zip(flows, speeds, strict=True):
        assert speed <= ceiling
        assert speed == ceiling or any(
            used[wire] >= carries[wire] * (1 - 1e-9)
            and all(speed >= other * (1 - 1e-9) for one, other in zip(used_by, speeds, strict=True) if wire in one)
            for wire in usage
        )


@settings(max_examples=25)
@given(flows=st.lists(st.tuples(usages, ceilings), min_size=1, max_size=7), carries=capacities)
def test_speeds_are_those_of_a_linear_program_that_lifts_the_slowest_as_far_as_it_goes(
    flows: list[tuple[dict[int, float], float]], carries: list[float]
) -> None:
    used_by, most = [usage for usage, _ in flows], [ceiling for _, ceiling in flows]
    speeds = fair_speeds(used_by, dict(enumerate(carries)), most)
    assert speeds == pytest.approx(lifted(used_by, carries, most), rel=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_speeds_are_those_of_the_linear_program_on_larger_random_networks(seed: int) -> None:
    """30 flows over 1 to 5 of 20 wires, with shares from 0.01 to 1, every third with a ceiling."""
    random = np.random.default_rng(seed)
    carries = [float(carry) for carry in random.uniform(0.5, 8.0, 20)]
    used_by = [
        {int(wire): float(10 ** random.uniform(-2, 0)) for wire in random.choice(20, random.integers(1, 6), False)}
        for _ in range(30)
    ]
    most = [float(random.uniform(0.1, 4.0)) if index % 3 == 0 else NEVER for index in range(30)]
    speeds = fair_speeds(used_by, dict(enumerate(carries)), most)
    assert speeds == pytest.approx(lifted(used_by, carries, most), rel=1e-6)


def lifted(used_by: Sequence[Mapping[int, float]], carries: Sequence[float], most: Sequence[float]) -> list[float]:
    """Max-min fair by its definition: make the smallest speed as large as can be, keep those who can do no better than
    it where they are, and so on with the others [Nace & Pioro 2008]."""
    num = len(used_by)
    wires = np.array([[usage.get(wire, 0.0) for usage in used_by] + [0.0] for wire in range(len(carries))])
    bounds: list[tuple[float, float]] = [(0.0, ceiling) for ceiling in most]
    rising = set(range(num))
    while rising:
        floors = np.zeros((num, num + 1))
        for index in rising:
            floors[index, index], floors[index, num] = -1.0, 1.0
        rows, limits = np.vstack([wires, floors]), [*carries, *[0.0] * num]
        level = solved(rows, limits, bounds, num)
        stuck = {index for index in rising if solved(wires, carries, at_least(bounds, rising, level), index) <= level}
        assert stuck, "the slowest cannot be lifted, so somebody is stuck"
        for index in stuck:
            bounds[index] = (level * (1 - 1e-9), level)
        rising -= stuck
    return [high for _, high in bounds]


def solved(
    rows: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    limits: Sequence[float],
    bounds: Sequence[tuple[float, float]],
    index: int,
) -> float:
    """The most that one variable can be; a little less than that counts as all of it."""
    goal = np.zeros(rows.shape[1])
    goal[index] = -1.0
    found = linprog(goal, A_ub=rows, b_ub=limits, bounds=[*bounds, (0.0, None)])
    assert found.success
    assert found.fun is not None
    return -float(found.fun) * (1 - 1e-8 if index < rows.shape[1] - 1 else 1.0)


def at_least(bounds: Sequence[tuple[float, float]], rising: set[int], level: float) -> list[tuple[float, float]]:
    return [
        (min(level * (1 - 1e-9), high), high) if index in rising else (low, high)
        for index, (low, high) in enumerate(bounds)
    ]


@given(messages=starts, carries=capacities)
def test_messages_arrive_when_a_fluid_solved_at_every_moment_says(messages: list[Start], carries: list[float]) -> None:
    """The reference has no components, no promises and no versions: it solves all flows again whenever one comes or
    goes, and moves them on by what the speeds say."""
    assert played(messages, carries) == pytest.approx(replayed(messages, carries), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_many_messages_arrive_when_a_fluid_solved_at_every_moment_says(seed: int) -> None:
    """120 messages, a third of them in flight at a time, over 40 wires: a change reaches only some of the others."""
    random = np.random.default_rng(seed)
    carries = [float(carry) for carry in random.choice([1.0, 2.0, 4.0], 40)]
    messages: list[Start] = []
    for _ in range(120):
        wires = random.choice(40, random.integers(1, 5), False)
        usage = {int(wire): float(random.choice([0.25, 1.0])) for wire in wires}
        start, latency, nbytes = random.uniform(0.0, 30.0), random.choice([0.0, 0.5]), random.uniform(1.0, 10.0)
        messages.append((float(start), float(latency), float(nbytes), usage, NEVER if random.integers(2) else 0.8))
    assert played(messages, carries) == pytest.approx(replayed(messages, carries), rel=1e-9)


@given(messages=starts, carries=capacities, moment=st.floats(0.01, 12.0))
def test_at_any_moment_speeds_are_those_of_all_who_move_solved_at_once(
    messages: list[Start], carries: list[float], moment: float
) -> None:
    """So no wire is overfull at any moment, and none is left idle that somebody could use (the certificate above)."""
    env = Environment()
    network = Network(env, carries)
    underway = put(env, network, messages, carries)
    env.run(until=moment)
    moving = [index for index, enters in underway.items() if enters < moment]
    expected = fair_speeds([messages[i][3] for i in moving], dict(enumerate(carries)), [messages[i][4] for i in moving])
    speeds = [speed for waits, left, speed in network.in_flight() if waits == 0.0 and left > 0.0]
    if len(speeds) == len(moving):  # else one of them begins or ends at this very moment
        assert sorted(speeds) == pytest.approx(sorted(expected), rel=1e-9)


@given(messages=starts, carries=capacities)
def test_no_wire_carries_more_than_its_capacity_over_any_stretch_of_time(
    messages: list[Start], carries: list[float]
) -> None:
    """What enters after one moment and is done before another has gone over the wire in between."""
    done = played(messages, carries)
    enters = [start + latency for start, latency, *_ in messages]
    for first in enters:
        for last in done:
            for wire, carry in enumerate(carries):
                moved = sum(
                    nbytes * usage.get(wire, 0.0)
                    for (_, _, nbytes, usage, _), enter, end in zip(messages, enters, done, strict=True)
                    if enter >= first and end <= last
                )
                assert moved <= carry * max(0.0, last - first) * (1 + 1e-9) + 1e-9


def put(
    env: Environment,
    network: Network,
    messages: Sequence[Start],
    carries: Sequence[float],
    done: list[float] | None = None,
) -> dict[int, float]:
    """Start each message at its time; those underway, as they come and go, with the time that they enter."""
    underway: dict[int, float] = {}

    def end(index: int) -> None:
        del underway[index]
        if done is not None:
            done[index] = env.now

    def start(index: int, _: object) -> None:
        _, latency, nbytes, usage, ceiling = messages[index]
        alone = min(ceiling, *(carries[wire] / share for wire, share in usage.items()))
        flow = Flow(latency=latency, nbytes=nbytes, usage=tuple(usage.items()), speed=alone, ceiling=ceiling)
        underway[index] = env.now + latency
        network.start(flow, partial(end, index))

    for index, message in enumerate(messages):
        env.timeout(message[0]).callbacks.append(partial(start, index))
    return underway


def played(messages: Sequence[Start], carries: Sequence[float]) -> list[float]:
    """When the network delivers each message."""
    env = Environment()
    done = [float("nan")] * len(messages)
    network = Network(env, carries)
    put(env, network, messages, carries, done)
    env.run()
    assert network.in_flight() == []
    return done


def replayed(messages: Sequence[Start], carries: Sequence[float]) -> list[float]:
    """When each message is done if all speeds are solved at every arrival and departure."""
    left = [nbytes for _, _, nbytes, *_ in messages]
    enters = [start + latency for start, latency, *_ in messages]
    done = [NEVER] * len(messages)
    now = min(enters)
    while NEVER in done:
        moving = [i for i, enter in enumerate(enters) if enter <= now and done[i] == NEVER]
        used_by, most = [messages[i][3] for i in moving], [messages[i][4] for i in moving]
        speeds = dict(zip(moving, fair_speeds(used_by, dict(enumerate(carries)), most), strict=True))
        ends = {i: now + left[i] / speed for i, speed in speeds.items()}
        then = min([*ends.values(), *(enter for enter in enters if enter > now)])
        for i, speed in speeds.items():
            left[i] -= speed * (then - now)
            if ends[i] <= then:
                done[i] = then
        now = then
    return done
