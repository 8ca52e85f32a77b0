"""Several groups on one NIC, several jobs on one fabric: who shares which wire, worked out by hand."""

from dataclasses import replace

import pytest

from sim.costs.collectives import all_reduce, alone
from sim.engine import Engine
from sim.instructions import Activity, Collective, Transfer
from sim.messages import play_activities
from sim.program import Stream
from tests.clusters import cluster_of, node_of
from tests.programs import program
from topologies.fabric import message_loads
from topologies.hardware import Cluster

TREE = cluster_of((node_of(), 4), wiring="fat-tree", nodes_per_leaf=2, oversubscription=4.0)
"""Leaves of two nodes with a way up of 16 NICs of 10 GB/s over 4: 40 GB/s."""


def message(cluster: Cluster, source: int, target: int, nbytes: float = 10e9) -> Activity:
    """Of 10 GB: one second over a NIC alone."""
    loads = tuple((wire, share * nbytes) for wire, share in message_loads(cluster, source, target))
    return Activity(latency=0.0, loads=loads)


def test_nothing_starts_and_nothing_ends() -> None:
    assert play_activities(TREE, []) == []


def test_each_starts_at_its_time_and_alone_takes_what_it_takes() -> None:
    lone = message(TREE, 0, 8)
    assert play_activities(TREE, [(2.0, lone)]) == [2.0 + alone(TREE, lone)] == [3.0]


def test_groups_of_one_node_share_its_one_nic() -> None:
    """Four GPUs of a node with one NIC send to four of another: a quarter of 10 GB/s each. One alone comes later."""
    single = cluster_of((node_of(num_gpus=4, num_nics=1), 2))
    groups = [(0.0, message(single, gpu, 4 + gpu)) for gpu in range(4)]
    assert play_activities(single, groups) == [4.0] * 4
    assert play_activities(single, [*groups, (4.0, message(single, 0, 5))])[-1] == 5.0


def test_two_jobs_on_one_leaf_share_its_way_to_the_spine() -> None:
    """Job one sends from node 0 to node 2 by eight NICs, job two from node 1 to node 3: 160 GB/s over 40. Each alone
    has half of what it wants, 2 s; together a quarter, 4 s."""
    one = [(0.0, message(TREE, gpu, 16 + gpu)) for gpu in range(8)]
    two = [(0.0, message(TREE, 8 + gpu, 24 + gpu)) for gpu in range(8)]
    assert play_activities(TREE, one) == pytest.approx([2.0] * 8)
    assert play_activities(TREE, one + two) == pytest.approx([4.0] * 16)


def test_two_jobs_below_leaves_of_their_own_do_not_notice_each_other() -> None:
    one = [(0.0, message(TREE, gpu, 8 + gpu)) for gpu in range(8)]
    two = [(0.0, message(TREE, 16 + gpu, 24 + gpu)) for gpu in range(8)]
    assert play_activities(TREE, one + two) == [1.0] * 16


def test_two_programs_in_one_play_share_the_wires_as_activities_do() -> None:
    """The same two jobs as streams of one program: each sender is done after 4 s."""
    streams: list[Stream] = []
    activities: dict[tuple[Collective | Transfer, int], Activity] = {}
    for rank in range(16):
        send = Transfer(name="send", axis="pp", peer=rank + 16, flag="there", nbytes=10e9)
        streams.append(Stream(rank=rank, name="compute", steps=[(None, (send,))]))
        activities[send, rank] = message(TREE, rank, rank + 16)
    timeline = Engine(TREE).play(program(streams, activities))
    assert timeline.duration == pytest.approx(4.0)


def test_two_all_reduces_over_the_same_nics_take_twice_as_long_as_one() -> None:
    """Large, and with all ceilings away, so that bytes are all that counts."""
    plain = cluster_of((node_of(), 2))
    ring = replace(all_reduce(plain, range(16), 1e9), latency=0.0, ceiling=float("inf"))
    (one,) = play_activities(plain, [(0.0, ring)])
    assert play_activities(plain, [(0.0, ring), (0.0, ring)]) == pytest.approx([2 * one, 2 * one])


def test_what_others_take_of_the_spine_is_as_good_as_a_job_that_takes_it() -> None:
    """A quarter of 40 GB/s is gone: eight NICs that want 80 get 30 in place of 40."""
    busy = replace(TREE, network=replace(TREE.network, background=0.25))
    sent = [(0.0, message(busy, gpu, 16 + gpu)) for gpu in range(8)]
    assert play_activities(busy, sent) == pytest.approx([80 / 30] * 8)


def test_messages_that_hash_to_one_uplink_share_it_while_another_is_idle() -> None:
    """Two up-links of 20 GB/s; 16 NICs of 10 GB/s send up. With k of 16 messages on an up-link each has 20 / k, and the
    busier one is done last: its k x 10 GB at 20 GB/s."""
    hashed = replace(TREE, network=replace(TREE.network, ecmp=2, qps=1))
    sent = [message(hashed, gpu, 16 + gpu) for gpu in range(16)]
    first = sum(wire.which == 0 for one in sent for wire, _ in one.loads if wire[:2] == ("uplink", "out"))
    assert 0 < first < 16
    assert first != 8
    done = play_activities(hashed, [(0.0, one) for one in sent])
    assert max(done) == pytest.approx(max(first, 16 - first) * 10 / 20)
    assert max(play_activities(TREE, [(0.0, message(TREE, gpu, 16 + gpu)) for gpu in range(16)])) == pytest.approx(4.0)


def test_pxn_keeps_a_message_off_a_narrow_spine() -> None:
    """From rail 0 to rail 5 below the same leaves: 1 s by PXN; over an up-link of 2 NICs / 4 = 5 GB/s it is 2 s."""
    rails = cluster_of((node_of(), 4), nodes_per_leaf=2, oversubscription=4.0)
    without = replace(rails, network=replace(rails.network, pxn=False))
    assert play_activities(rails, [(0.0, message(rails, 0, 13))]) == [1.0]
    assert play_activities(without, [(0.0, message(without, 0, 13))]) == [2.0]


def test_one_slow_nic_slows_the_whole_ring() -> None:
    """A ring spreads its bytes evenly over the NICs of a node, and waits for the slowest."""
    whole = cluster_of((node_of(), 4))
    worn = replace(whole, degraded={"node 2 nic 3": 0.5})
    sound, slow = (
        play_activities(each, [(0.0, replace(all_reduce(each, range(32), 1e9), latency=0.0, ceiling=float("inf")))])[0]
        for each in (whole, worn)
    )
    assert slow == pytest.approx(2 * sound)
