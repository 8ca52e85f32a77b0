"""Laws of the wiring: which wires a message takes, and what they carry."""

from hypothesis import assume, given
from hypothesis import strategies as st

import topologies
from tests.programs import with_node
from topologies.fabric import Wire, capacity, link_between, node_of, route

CLUSTER = topologies.load("dgx-h100", 32)
gpus = st.integers(0, CLUSTER.num_gpus - 1)


def test_a_message_in_a_node_stays_on_nvlink() -> None:
    assert route(CLUSTER, 8, 15) == (Wire("nvlink", "out", 8), Wire("nvlink", "in", 15))


def test_a_message_between_nodes_leaves_by_the_senders_nic() -> None:
    assert route(CLUSTER, 7, 8) == (Wire("nic", "out", 7), Wire("nic", "in", 8))


def test_nodes_hold_their_gpus_in_order() -> None:
    assert [node_of(CLUSTER, gpu) for gpu in (0, 7, 8, 31)] == [0, 0, 1, 3]


@given(gpus, gpus)
def test_the_way_back_takes_the_opposite_directions(a: int, b: int) -> None:
    assume(a != b)
    there, back = route(CLUSTER, a, b), route(CLUSTER, b, a)
    assert {(wire.medium, wire.number) for wire in there} == {(wire.medium, wire.number) for wire in back}
    assert set(there).isdisjoint(back)


@given(gpus, gpus)
def test_no_wire_on_the_way_carries_less_than_its_kind_of_link_achieves(a: int, b: int) -> None:
    link = link_between(CLUSTER, a, b)
    assert [capacity(CLUSTER, wire) for wire in route(CLUSTER, a, b)] == [link.achievable_bandwidth] * 2


def test_gpus_share_nics_evenly_where_there_are_fewer() -> None:
    """4 NICs for 8 GPUs: half a NIC each, 0.94 x 25 GB/s of NDR; NVLink does not change."""
    halved = with_node(CLUSTER, num_nics=4)
    assert capacity(halved, Wire("nic", "out", 3)) == 0.94 * 25e9
    assert capacity(halved, Wire("nvlink", "in", 3)) == capacity(CLUSTER, Wire("nvlink", "in", 3))
