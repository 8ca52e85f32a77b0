"""What holds on every wiring: ports, meshes, PCIe trees, shared NICs, oversubscribed leaves, tori, mixed nodes."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import permutations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sim.costs.collectives import COLLECTIVES, alone
from sim.costs.collectives.exchange import between, inside, joined
from sim.costs.collectives.point_to_point import send
from sim.plan import Plan
from sim.timeline import breakdown, breakdown_by_rank
from tests.clusters import clusters
from tests.programs import plan, small, train
from topologies.document import InputError
from topologies.fabric import Wire, capacity, leaf_of, loaded_route, message_loads, route, spread_evenly
from topologies.hardware import Cluster
from topologies.wire_names import describe

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
def test_the_way_back_is_as_wide_and_shares_no_wire_with_the_way_there(cluster: Cluster, a: int, b: int) -> None:
    there, back = route(cluster, a, b), route(cluster, b, a)
    assert set(there).isdisjoint(back)
    if not cluster.is_mixed:
        for medium in {wire.medium for wire in (*there, *back)}:
            sent = [
                sum(share for wire, share in message_loads(cluster, *ends) if wire.medium == medium)
                for ends in ((a, b), (b, a))
            ]
            assert sent[0] == pytest.approx(sent[1])


@given(clusters(NUM_GPUS), groups, st.floats(1e3, 1e9))
def test_a_collective_alone_takes_its_latency_and_its_bytes_over_its_tightest_wire_or_its_ceiling(
    cluster: Cluster, members: list[int], nbytes: float
) -> None:
    for collective in COLLECTIVES.values():
        activity = collective(cluster, members, nbytes)
        assert activity.loads
        slowest = max(load / capacity(cluster, wire) for wire, load in activity.loads)
        slowest = max(slowest, activity.nbytes / activity.ceiling)
        assert alone(cluster, activity) == pytest.approx(activity.latency + slowest)
        assert len({wire for wire, _ in activity.loads}) == len(activity.loads)


@given(clusters(NUM_GPUS), groups)
def test_a_collective_loads_no_wire_that_is_not_between_its_members(cluster: Cluster, members: list[int]) -> None:
    between = {
        wire for a in members for b in members for pxn in (True, False) for wire in route(cluster, a, b, pxn=pxn)
    }
    if cluster.network.ecmp:
        between |= {wire for a in members for b in members for wire in _any_uplink(cluster, a, b)}
    assert {wire for wire, _ in COLLECTIVES["all_reduce"](cluster, members, 1e6).loads} <= between


def _any_uplink(cluster: Cluster, a: int, b: int) -> Iterator[Wire]:
    """The up-links that members may share: which, depends on the NICs that the chain has at both ends."""
    if cluster.network.wiring != "torus":
        for leaf in (leaf_of(cluster, a), leaf_of(cluster, b)._replace(direction="in")):
            yield from (wire for wire, _ in spread_evenly(cluster, leaf))


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


@given(clusters(NUM_GPUS))
def test_an_exchange_among_all_loads_every_wire_as_its_messages_do(cluster: Cluster) -> None:
    """By PXN where the messages are; hashed to up-links an exchange is taken to spread evenly, which these few are not.

    Mixed nodes are left out: NCCL finds no relay in some of them."""
    assume(not cluster.network.ecmp and not cluster.is_mixed)
    everyone = tuple(range(cluster.num_gpus))
    expected: defaultdict[Wire, float] = defaultdict(float)
    for ends in permutations(everyone, 2):
        for wire, share in message_loads(cluster, *ends):
            expected[wire] += share
    assert dict(joined(inside(cluster, everyone), between(cluster, everyone, "pxn"))) == pytest.approx(expected)


@given(clusters(NUM_GPUS), gpus, gpus)
def test_a_message_alone_is_as_fast_as_its_narrowest_wire_or_its_ceiling(cluster: Cluster, a: int, b: int) -> None:
    assume(a != b)
    message = send(cluster, a, b, 1e6)
    narrowest = min(capacity(cluster, wire) / share for wire, share in message_loads(cluster, a, b, pxn=False))
    assert alone(cluster, message) == pytest.approx(message.latency + 1e6 / min(narrowest, message.ceiling))
    assert set(loaded_route(cluster, a, b)) <= set(route(cluster, a, b))


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
