"""What holds for any messages on any wires: nothing is overfull, speeds are max-min fair, played as solved."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simpy import Environment

from sim.network import Flow, Network, fair_speeds

NUM_WIRES = 4
capacities = st.lists(st.floats(0.5, 8.0), min_size=NUM_WIRES, max_size=NUM_WIRES)
usages = st.dictionaries(st.integers(0, NUM_WIRES - 1), st.sampled_from([0.25, 0.5, 1.0]), min_size=1)
sizes = st.floats(0.5, 20.0)
times = st.one_of(st.floats(0.0, 5.0), st.sampled_from([0.0, 1.0, 2.0]))
starts = st.lists(st.tuples(times, times, sizes, usages), min_size=1, max_size=7)
Start = tuple[float, float, float, dict[int, float]]


@given(flows=st.lists(usages, min_size=1, max_size=7), carries=capacities)
def test_no_wire_is_overfull_and_every_flow_has_a_full_wire_where_none_is_faster(
    flows: list[dict[int, float]], carries: list[float]
) -> None:
    """The certificate of max-min fairness [Bertsekas & Gallager, 6.5.2]: whoever is to go faster takes from a flow that
    is no faster than it, on its bottleneck wire. Nothing here knows how the speeds were found."""
    speeds = fair_speeds(flows, dict(enumerate(carries)))
    used = [
        sum(usage.get(wire, 0.0) * speed for usage, speed in zip(flows, speeds, strict=True))
        for wire in range(NUM_WIRES)
    ]
    assert all(load <= carry * (1 + 1e-9) for load, carry in zip(used, carries, strict=True))
    for usage, speed in zip(flows, speeds, strict=True):
        assert any(
            used[wire] >= carries[wire] * (1 - 1e-9)
            and all(speed >= other * (1 - 1e-9) for one, other in zip(flows, speeds, strict=True) if wire in one)
            for wire in usage
        )


@given(messages=starts, carries=capacities)
def test_messages_arrive_when_a_fluid_solved_at_every_moment_says(messages: list[Start], carries: list[float]) -> None:
    """The reference has no components, no promises and no versions: it solves all flows again whenever one comes or
    goes, and moves them on by what the speeds say."""
    assert played(messages, carries) == pytest.approx(solved(messages, carries), rel=1e-9, abs=1e-9)


@given(messages=starts, carries=capacities)
def test_no_wire_carries_more_than_its_capacity_over_any_stretch_of_time(
    messages: list[Start], carries: list[float]
) -> None:
    """What enters after one moment and is done before another has gone over the wire in between."""
    done = played(messages, carries)
    enters = [start + latency for start, latency, _, _ in messages]
    for first in enters:
        for last in done:
            for wire, carry in enumerate(carries):
                moved = sum(
                    nbytes * usage.get(wire, 0.0)
                    for (_, _, nbytes, usage), enter, end in zip(messages, enters, done, strict=True)
                    if enter >= first and end <= last
                )
                assert moved <= carry * max(0.0, last - first) * (1 + 1e-9) + 1e-9


def played(messages: Sequence[Start], carries: Sequence[float]) -> list[float]:
    """When the network delivers each message."""
    env = Environment()
    network = Network(env, carries)
    done = [float("nan")] * len(messages)

    def put(index: int, start: float, flow: Flow) -> None:
        env.timeout(start).callbacks.append(lambda _: network.start(flow, lambda: done.__setitem__(index, env.now)))

    for index, (start, latency, nbytes, usage) in enumerate(messages):
        alone = min(carries[wire] / share for wire, share in usage.items())
        put(index, start, Flow(latency=latency, nbytes=nbytes, usage=tuple(usage.items()), speed=alone))
    env.run()
    return done


def solved(messages: Sequence[Start], carries: Sequence[float]) -> list[float]:
    """When each message is done if all speeds are solved at every arrival and departure."""
    left = [nbytes for _, _, nbytes, _ in messages]
    enters = [start + latency for start, latency, _, _ in messages]
    done = [float("inf")] * len(messages)
    now = min(enters)
    while float("inf") in done:
        moving = [i for i, enter in enumerate(enters) if enter <= now and done[i] == float("inf")]
        usage: list[Mapping[int, float]] = [messages[i][3] for i in moving]
        speeds = dict(zip(moving, fair_speeds(usage, dict(enumerate(carries))), strict=True))
        ends = {i: now + left[i] / speed for i, speed in speeds.items()}
        then = min([*ends.values(), *(enter for enter in enters if enter > now)])
        for i, speed in speeds.items():
            left[i] -= speed * (then - now)
            if ends[i] <= then:
                done[i] = then
        now = then
    return done
