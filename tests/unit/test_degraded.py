"""Wires that carry less than their kind should: their names, what is left of them, and what names no wire."""

import pytest

import topologies
from sim.scenario.cluster import ClusterSection
from tests.clusters import cluster_of, node_of
from topologies.degraded import Wrong, wires
from topologies.document import InputError
from topologies.fabric import Wire, capacity
from topologies.hardware import Cluster

RAILS = {"nodes_per_leaf": 2}


def worn(degraded: dict[str, float], **network: object) -> Cluster:
    """Four nodes of eight GPUs and NICs of 10 GB/s, on rails of two nodes."""
    whole = cluster_of((node_of(), 4), **(RAILS | network))
    return Cluster(name=whole.name, pools=whole.pools, network=whole.network, degraded=degraded)


def test_both_directions_of_a_nic_have_what_is_left() -> None:
    cluster = worn({"node 2 nic 3": 0.5})
    assert capacity(cluster, Wire("nic", "out", 19)) == capacity(cluster, Wire("nic", "in", 19)) == 5e9
    assert capacity(cluster, Wire("nic", "out", 18)) == capacity(cluster, Wire("nic", "out", 11)) == 10e9


def test_a_nic_without_a_node_is_that_of_every_node() -> None:
    cluster = worn({"NIC  3": 0.5})
    assert [capacity(cluster, Wire("nic", "out", gpu)) for gpu in (3, 11, 19, 27, 4)] == [5e9] * 4 + [10e9]


def test_a_node_is_all_its_nics() -> None:
    cluster = worn({"node 1": 0.1})
    assert sum(capacity(cluster, Wire("nic", "out", gpu)) for gpu in range(8, 16)) == pytest.approx(8e9)


def test_one_of_several_nics_of_a_gpu_takes_its_part() -> None:
    """Four NICs a GPU are one wire of 40 GB/s; one of them at half leaves 35."""
    whole = cluster_of((node_of(num_nics=32), 2))
    cluster = Cluster(name="toy", pools=whole.pools, network=whole.network, degraded={"node 0 nic 5": 0.5})
    assert capacity(cluster, Wire("nic", "out", 1)) == pytest.approx(35e9)


def test_a_leaf_is_all_its_rails_unless_one_is_named() -> None:
    leaf = Wire("leaf", "out", 16, 3)
    assert capacity(worn({"leaf 1": 0.25}), leaf) == 5e9
    assert capacity(worn({"leaf 1 rail 3": 0.25}), leaf) == 5e9
    assert capacity(worn({"leaf 1 rail 4": 0.25}), leaf) == capacity(worn({"leaf 0": 0.25}), leaf) == 20e9


def test_one_of_a_leafs_uplinks() -> None:
    cluster = worn({"leaf 0 rail 1 uplink 1": 0.5}, ecmp=2)
    assert [capacity(cluster, Wire("uplink", "in", 0, which)) for which in range(4)] == [10e9, 10e9, 10e9, 5e9]


def test_the_port_of_a_gpu_on_a_switch_and_in_a_mesh() -> None:
    assert capacity(worn({"nvlink 5": 0.5}), Wire("nvlink", "in", 5)) == 150e9
    mesh = Cluster(
        name="toy", pools=cluster_of((node_of("mesh"), 1)).pools, network=worn({}).network, degraded={"nvlink 5": 0.5}
    )
    assert capacity(mesh, Wire("mesh", "out", 2, 5)) == capacity(mesh, Wire("mesh", "out", 5, 2)) == 150e9 / 7
    assert capacity(mesh, Wire("mesh", "out", 2, 4)) == 300e9 / 7


def test_the_ways_out_of_a_node_of_a_torus() -> None:
    cluster = worn({"node 1": 0.5}, wiring="torus", torus=(4,), nodes_per_leaf=0)
    assert capacity(cluster, Wire("torus", "in", 8)) == 20e9
    assert capacity(cluster, Wire("torus", "out", 0)) == 40e9


@pytest.mark.parametrize(
    ("name", "network", "message"),
    [
        ("nic 8", {}, "there is no NIC of a node 8; they are counted from 0 to 7"),
        ("node 4 nic 0", {}, "there is no node 4; they are counted from 0 to 3"),
        ("nvlink 32", {}, "there is no GPU 32"),
        ("slot 3", {}, "write nvlink in place of slot"),
        ("leaf 2", {}, "there is no leaf 2; they are counted from 0 to 1"),
        ("leaf 0 rail 9", {}, "there is no rail 9"),
        ("leaf 0 rail 1", {"wiring": "fat-tree"}, "leave the rail out"),
        ("leaf 0 uplink 1", {}, "leave the uplink out"),
        ("leaf 0", {"wiring": "torus", "torus": (4,)}, "a torus has no leaf switches"),
        ("nic 0", {"wiring": "torus", "torus": (4,)}, 'write for example "node 2"'),
        ("the red cable", {}, 'no wire is called that; write for example "nic 3"'),
        ("nic -1", {}, "no wire is called that"),
    ],
)
def test_a_name_of_no_wire_says_what_to_write(name: str, network: dict[str, object], message: str) -> None:
    with pytest.raises(Wrong) as raised:
        wires(worn({}, **network), name)
    assert message in str(raised.value)


def test_a_cluster_file_is_told_by_field_and_name() -> None:
    with pytest.raises(InputError) as raised:
        topologies.load({"name": "dgx-h100", "degraded": {"nic 9": 0.5}})
    assert "degraded.nic 9: there is no NIC of a node 9" in str(raised.value)
    for share in (0.0, 1.5, "half"):
        with pytest.raises(InputError, match=r"degraded\.nic 3"):
            topologies.load({"name": "dgx-h100", "degraded": {"nic 3": share}})


def test_a_wire_beyond_the_nodes_that_are_used_is_no_matter() -> None:
    section = ClusterSection(name="dgx-h100", degraded={"node 100 nic 3": 0.5})
    cluster = section.with_gpus(16)
    assert not cluster.degraded_wires
    assert capacity(cluster, Wire("nic", "out", 3)) == 0.94 * 50e9
