"""What holds on every wiring: ports, meshes, PCIe trees, shared NICs, oversubscribed leaves, tori, mixed nodes."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sim.costs.collectives import COLLECTIVES, alone
from sim.costs.collectives.point_to_point import send
from sim.plan import Plan
from sim.timeline import breakdown, breakdown_by_rank
from tests.clusters import clusters
from tests.programs import plan, small, train
from topologies.document import InputError
from topologies.fabric import capacity, describe, loaded_route, route
from topologies.hardware import Cluster

NUM_GPUS = 24
gpus = st.integers(0, NUM_GPUS - 1)
groups = st.lists(gpus, min_size=2, max_size=12, unique=True).map(sorted)


@given(clusters(NUM_GPUS), gpus, gpus)
def test_a_route_crosses_no_wire_twice_and_every_wire_has_a_name_of_its_own(cluster: Cluster, a: int, b: int) -> None:
    wires = cluster.route(a, b)
    assert len(wires) == len(set(wires)) == len({describe(cluster, wire) for wire in wires})
    assert bool(wires) == (a != b)
    assert all(capacity(cluster, wire) > 0 for wire in wires)


@given(clusters(NUM_GPUS), gpus, gpus)
def test_the_way_back_is_as_long_and_shares_no_wire_with_the_way_there(cluster: Cluster, a: int, b: int) -> None:
    there, back = route(cluster, a, b), route(cluster, b, a)
    assert len(there) == len(back)
    assert set(there).isdisjoint(back)
    assert sorted(wire.medium for wire in there) == sorted(wire.medium for wire in back)


@given(clusters(NUM_GPUS), groups, st.floats(1e3, 1e9))
def test_a_collective_alone_takes_its_latency_and_the_bytes_of_its_tightest_wire(
    cluster: Cluster, members: list[int], nbytes: float
) -> None:
    for collective in COLLECTIVES.values():
        activity = collective(cluster, members, nbytes)
        assert activity.loads
        slowest = max(load / capacity(cluster, wire) for wire, load in activity.loads)
        assert alone(cluster, activity) == pytest.approx(activity.latency + slowest)
        assert len({wire for wire, _ in activity.loads}) == len(activity.loads)


@given(clusters(NUM_GPUS), groups)
def test_a_collective_loads_no_wire_that_is_not_between_its_members(cluster: Cluster, members: list[int]) -> None:
    between = {wire for a in members for b in members for wire in loaded_route(cluster, a, b)}
    assert {wire for wire, _ in COLLECTIVES["all_reduce"](cluster, members, 1e6).loads} <= between


@given(clusters(NUM_GPUS), groups)
def test_as_much_as_leaves_the_nodes_of_a_group_comes_in(cluster: Cluster, members: list[int]) -> None:
    """Over ports, NICs and leaves; and of the way out nothing is lost where a node sends through fewer NICs."""
    loads = dict(COLLECTIVES["all_gather"](cluster, members, 1e6).loads)
    for medium in ("nvlink", "slot", "nic", "leaf"):
        out, back = (
            sum(load for wire, load in loads.items() if (wire.medium, wire.direction) == (medium, direction))
            for direction in ("out", "in")
        )
        assert out == pytest.approx(back)


@given(clusters(NUM_GPUS), gpus, gpus)
def test_a_message_alone_is_as_fast_as_its_narrowest_wire(cluster: Cluster, a: int, b: int) -> None:
    assume(a != b)
    message = send(cluster, a, b, 1e6)
    narrowest = min(capacity(cluster, wire) for wire in route(cluster, a, b))
    assert alone(cluster, message) == pytest.approx(message.latency + 1e6 / narrowest)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Up to 24 GPUs, with and without sequence parallelism, interleaving and ZeRO."""
    tp, pp = draw(st.sampled_from([1, 2, 3, 4, 6, 8])), draw(st.integers(1, 3))
    assume(tp * pp <= NUM_GPUS)
    dp = draw(st.integers(1, NUM_GPUS // (tp * pp)))
    vpp = draw(st.sampled_from([1, 2])) if pp > 1 else 1
    return plan(
        tp,
        pp,
        dp,
        num_microbatches=2 * pp,
        vpp=vpp,
        schedule="interleaved" if vpp > 1 else "1f1b",
        sp=tp > 1 and 1024 % tp == 0 and draw(st.booleans()),
        zero=draw(st.sampled_from([0, 1])),
    )


def assert_folded_is_unfolded(layout: Plan, cluster: Cluster, detail: str, framework: str) -> None:
    model = small("gpt-1.7b", 12)
    try:
        folded, whole = (
            train(layout, cluster, model, detail=detail, framework=framework, folded=folding)
            for folding in (True, False)
        )
    except InputError:
        assume(False)
    assert folded.duration == pytest.approx(whole.duration, rel=1e-9)
    assert breakdown(folded) == pytest.approx(breakdown(whole), abs=1e-9)
    all_ranks = breakdown_by_rank(whole)
    for rank, parts in breakdown_by_rank(folded).items():
        assert parts == pytest.approx(all_ranks[rank], abs=1e-9 * whole.duration)


frameworks = st.sampled_from(["megatron-core", "megatron-lm"])


@settings(max_examples=60)
@given(clusters(NUM_GPUS), plans(), frameworks)
def test_folded_is_unfolded_on_every_wiring(cluster: Cluster, layout: Plan, framework: str) -> None:
    assert_folded_is_unfolded(layout, cluster, "layer", framework)


@settings(max_examples=15)
@given(clusters(NUM_GPUS), plans(), frameworks)
def test_folded_is_unfolded_on_every_wiring_kernel_by_kernel(cluster: Cluster, layout: Plan, framework: str) -> None:
    assert_folded_is_unfolded(layout, cluster, "kernel", framework)
