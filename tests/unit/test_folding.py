"""Ranks that are alike are played once: which ones, and that nothing changes by it (to 1e-9 of the step)."""

from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import topologies
from sim import detail, folding
from sim.detail import shares_wires
from sim.folding import fold, unfolded
from sim.models import Transformer
from sim.plan import Plan
from sim.timeline import breakdown, breakdown_by_rank
from tests.clusters import BRIDGE, cluster_of, clusters, gpu, node_of
from tests.programs import plan, small, spans, train, with_node
from topologies.hardware import Cluster

LAYOUTS: dict[str, tuple[Plan, int]] = {
    "tp fills a node": (plan(8), 1),
    "tp and dp in a node, zero": (plan(2, 1, 4, zero=1), 1),
    "dp over two nodes": (plan(1, 1, 16), 1),
    "tp in nodes, dp over two": (plan(4, 1, 4, sp=True, zero=1), 1),
    "pp in a node": (plan(2, 4), 4),
    "pp and dp in a node": (plan(2, 2, 2), 2),
    "all three over nodes, zero, sp": (plan(8, 2, 2, sp=True, zero=1), 2),
    "interleaved, tied": (plan(4, 2, 2, vpp=2, schedule="interleaved"), 2),
    "three replicas of half a node: only tp folds": (plan(4, 2, 3, sp=True), 6),
    "the same interleaved, zero": (plan(4, 2, 3, vpp=2, schedule="interleaved", zero=1), 6),
    "three replicas that straddle nodes, gpipe": (plan(2, 4, 3, schedule="gpipe"), 12),
    "tp over two nodes": (plan(16), 1),
    "tp over two nodes, pp, sp": (plan(16, 2, sp=True), 2),
}
"""Plans of a GPT of four layers, and how many ranks stand for all."""
SHARED: dict[str, tuple[Plan, Cluster, int]] = {
    "a NIC for two": (plan(8, 2, 2), cluster_of((node_of(num_nics=4), 4)), 2),
    "a NIC for all": (plan(4, 2, 4, zero=1), cluster_of((node_of(num_nics=1), 4)), 2),
    "a NIC for three, which one has for two": (plan(8, 2), cluster_of((node_of(num_nics=3), 2)), 16),
    "mesh": (plan(8, 1, 2), cluster_of((node_of("mesh"), 2)), 1),
    "mesh, pipeline inside": (plan(2, 4), cluster_of((node_of("mesh"), 1)), 4),
    "PCIe switches and sockets": (
        plan(8, 2),
        cluster_of((node_of("pcie", 8, 2, gpus_per_switch=4, num_sockets=2), 2)),
        2,
    ),
    "the NIC at one of two sockets: tp ranks differ": (
        plan(8, 2),
        cluster_of((node_of("pcie", 8, 1, gpus_per_switch=2, num_sockets=2), 2)),
        16,
    ),
    "the same, replicas alike": (
        plan(8, 2, 3),
        cluster_of((node_of("pcie", 8, 1, gpus_per_switch=2, num_sockets=2), 6)),
        16,
    ),
    "bridges: every second slot carries the ring": (
        plan(4, 2),
        cluster_of((node_of("pcie", 4, 4, bridge=BRIDGE), 2)),
        8,
    ),
    "oversubscribed leaves, filled": (
        plan(8, 2, 4),
        cluster_of((node_of(), 8), wiring="fat-tree", nodes_per_leaf=2, oversubscription=3.0),
        2,
    ),
    "oversubscribed leaves, half of one left over": (
        plan(8, 2, 3),
        cluster_of((node_of(), 8), wiring="fat-tree", nodes_per_leaf=2, oversubscription=3.0),
        6,
    ),
    "a torus": (plan(8, 1, 4), cluster_of((node_of(), 4), wiring="torus", torus=(4,)), 1),
    "a torus where messages pass each other": (
        plan(8, 2, 3),
        cluster_of((node_of(), 6), wiring="torus", torus=(6,)),
        6,
    ),
    "tp over two nodes with a NIC for two": (plan(16, 2), cluster_of((node_of(num_nics=4), 4)), 2),
    "dp over two nodes of a tree": (
        plan(1, 2, 8),
        cluster_of((node_of("pcie", 4, 2, gpus_per_switch=2), 4)),
        2,
    ),
    "dp over three nodes": (plan(2, 2, 12), cluster_of((node_of(num_nics=4), 6)), 2),
    "a pool for each stage": (plan(4, 2, 2), cluster_of((node_of(), 1), (node_of(gpu=gpu(2.0)), 1)), 2),
    "a pool for each replica": (plan(8, 1, 2), cluster_of((node_of(), 1), (node_of(gpu=gpu(2.0)), 1)), 2),
}
"""Plans on wires that GPUs share or that differ: how many ranks stand for all."""
CROOKED = {"tp of three": plan(3, 1, 8, zero=1), "tp of six": plan(6, 2, 2), "tp of twelve": plan(12, 2)}
"""Groups of tp that lie on their nodes in different ways: no two ranks of a replica are surely alike."""


def nodes_of(gpus_per_node: int = 8) -> Cluster:
    cluster = topologies.load("dgx-h100")
    return with_node(cluster, num_gpus=gpus_per_node, num_nics=gpus_per_node)


def assert_folded_is_unfolded(
    layout: Plan, model: Transformer, detail: str, framework: str = "megatron-core", gpus_per_node: int = 8
) -> None:
    """Step, mean shares, each played rank's shares, and its spans on every stream."""
    cluster = nodes_of(gpus_per_node)
    folded, whole = (
        train(layout, cluster, model, detail=detail, framework=framework, folded=folding) for folding in (True, False)
    )
    assert folded.duration == pytest.approx(whole.duration, rel=1e-9)
    assert breakdown(folded) == pytest.approx(breakdown(whole), abs=1e-9)
    played, all_ranks = breakdown_by_rank(folded), breakdown_by_rank(whole)
    short = 1e-9 * whole.duration
    assert len(all_ranks) == layout.num_gpus
    for rank, parts in played.items():
        assert parts == pytest.approx(all_ranks[rank], abs=short)
    for track in folded.tracks:
        one, other = (spans(each, track.rank, track.stream, shortest=short) for each in (folded, whole))
        assert [part[:5] for part in one] == [part[:5] for part in other]
        assert [part[5] for part in one] == pytest.approx([part[5] for part in other], abs=short)
        assert [part[6] for part in one] == pytest.approx([part[6] for part in other], abs=short)


@pytest.mark.parametrize("name", LAYOUTS)
def test_folded_is_unfolded_kernel_by_kernel(name: str) -> None:
    assert_folded_is_unfolded(LAYOUTS[name][0], small(), "kernel")


@pytest.mark.parametrize("name", LAYOUTS)
def test_folded_is_unfolded_layer_by_layer_where_senders_wait(name: str) -> None:
    assert_folded_is_unfolded(LAYOUTS[name][0], small(), "layer", "megatron-lm")


@pytest.mark.parametrize("name", LAYOUTS)
def test_as_few_ranks_are_played_as_differ(name: str) -> None:
    layout, num_played = LAYOUTS[name]
    found = fold(layout, nodes_of())
    assert len(found.ranks) == num_played
    assert set(found.ranks_folded.values()) == {layout.num_gpus // num_played}


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_plain_need_not_be_looked_at(name: str) -> None:
    layout = LAYOUTS[name][0]
    plain = fold(layout, nodes_of())
    with mock.patch.object(folding, "is_plain", return_value=False):
        looked_at = folding._fold.__wrapped__(layout, nodes_of())
    with mock.patch.object(detail, "is_plain", return_value=False):
        shared = shares_wires(layout, nodes_of())
    assert (plain.ranks, plain.ranks_folded) == (looked_at.ranks, looked_at.ranks_folded)
    assert shares_wires(layout, nodes_of()) == shared


@pytest.mark.parametrize("name", SHARED)
def test_where_wires_are_shared_as_few_are_played_as_differ(name: str) -> None:
    layout, cluster, num_played = SHARED[name]
    assert len(fold(layout, cluster).ranks) == num_played
    folded, whole = (train(layout, cluster, detail="kernel", folded=folding) for folding in (True, False))
    assert folded.duration == pytest.approx(whole.duration, rel=1e-9)
    assert breakdown(folded) == pytest.approx(breakdown(whole), abs=1e-9)


@settings(max_examples=60)
@given(
    st.sampled_from([1, 2, 4, 8]), st.integers(1, 3), st.sampled_from([6, 8, 12, 24]), st.integers(1, 2), clusters(192)
)
def test_a_few_replicas_that_repeat_speak_for_all(tp: int, pp: int, dp: int, vpp: int, cluster: Cluster) -> None:
    """Looking at all of them finds the same ranks alike and the same loads."""
    layout = plan(tp, pp, min(dp, 192 // (tp * pp)), vpp=vpp if pp > 1 else 1)
    with mock.patch.object(folding, "is_plain", return_value=False):
        few = folding._fold.__wrapped__(layout, cluster)
        with mock.patch.object(folding, "repeating", lambda *whole: whole):
            whole = folding._fold.__wrapped__(layout, cluster)
    assert few.ranks == whole.ranks
    assert few.shares is not None
    assert whole.shares is not None
    assert few.shares.keys() == whole.shares.keys()
    for key, shares in few.shares.items():
        assert dict(shares) == pytest.approx(dict(whole.shares[key]))


@pytest.mark.parametrize("name", CROOKED)
def test_tp_groups_that_lie_differently_are_played_rank_by_rank(name: str) -> None:
    layout = CROOKED[name]
    found = fold(layout, nodes_of())
    assert found == unfolded(layout)
    assert_folded_is_unfolded(layout, small("gpt-1.7b"), "layer")


@settings(max_examples=20)
@given(
    tp=st.sampled_from([1, 2, 3, 4]),
    pp=st.integers(1, 3),
    dp=st.integers(1, 4),
    zero=st.booleans(),
    num=st.integers(1, 8),
)
def test_folded_is_unfolded_on_nodes_of_any_size(tp: int, pp: int, dp: int, zero: bool, num: int) -> None:
    layout = plan(tp, pp, dp, zero=int(zero), num_microbatches=3)
    assert_folded_is_unfolded(layout, small("gpt-1.7b", 6), "layer", gpus_per_node=num)


def test_a_large_cluster_folds_to_one_rank_a_stage() -> None:
    """Llama-3-405B's TP8 x PP16 x DP128: 16 of 16,384 ranks."""
    layout = plan(8, 16, 128)
    found = fold(layout, topologies.load("dgx-h100", layout.num_gpus))
    assert found.ranks == tuple(8 * 128 * stage for stage in range(16))
    assert set(found.ranks_folded.values()) == {1024}


def test_more_unequal_ranks_than_can_be_played_are_not_looked_at() -> None:
    """400,000 GPUs whose pipeline ranks end within leaves of three nodes."""
    cluster = cluster_of((node_of(), 50_000), wiring="fat-tree", nodes_per_leaf=3, oversubscription=2.0)
    layout = plan(8, 4, 12_500)
    with mock.patch.object(detail, "uses", side_effect=AssertionError):
        assert not shares_wires(layout, cluster)
    assert len(fold(layout, cluster).ranks) == layout.num_gpus


def test_replicas_whose_pipelines_cross_nodes_in_different_places_do_not_fold() -> None:
    """TP2 x PP2 x DP3 on nodes of 8: stage 1 begins at rank 6, in the node of replica 0's stage 0 (ranks 0, 1).

    Replica 0 sends from node 0 (rank 0) to node 0 (rank 6), replicas 1 and 2 to node 1 (ranks 8 and 10).
    """
    layout = plan(2, 2, 3)
    found = fold(layout, nodes_of())
    assert found.ranks == (0, 2, 4, 6, 8, 10)
    timeline = train(layout, nodes_of())
    sent = {rank: next(part for part in spans(timeline, rank) if "send F" in part) for rank in (0, 2, 4)}
    seconds = {rank: part[6] - part[5] for rank, part in sent.items()}
    assert seconds[0] < seconds[2] == pytest.approx(seconds[4])


def test_replicas_that_differ_by_nothing_but_where_their_pipeline_crosses_do_not_fold() -> None:
    """DP4 x PP3 on nodes of 6: stage 1 is ranks 4 to 7, two in each of two nodes, all alike to their dp group. But
    ranks 0 and 1 send to 4 and 5 in their own node, 2 and 3 to 6 and 7 in the next."""
    layout = plan(1, 3, 4)
    assert fold(layout, nodes_of(6)) == unfolded(layout)
    assert_folded_is_unfolded(layout, small("gpt-1.7b", 3), "layer", gpus_per_node=6)


AXES: dict[str, tuple[Plan, str, int]] = {
    "a ring of cp in a node": (plan(2, 1, 1, cp=4), "gpt-1.7b", 1),
    "a ring of cp, a node each": (plan(8, 1, 1, cp=2), "gpt-1.7b", 1),
    "a ring of cp that leaves nodes at some ranks only": (plan(2, 1, 1, cp=8), "gpt-1.7b", 8),
    "cp gathers over nodes": (plan(2, 2, 1, cp=8, cp_kind="all-gather"), "gpt-1.7b", 2),
    "cp exchanges heads": (plan(2, 2, 1, cp=4, cp_kind="all-to-all"), "gpt-1.7b", 2),
    "cp and dp": (plan(2, 2, 2, cp=4, zero=1), "gpt-1.7b", 2),
    "experts in a node": (plan(1, 2, 8, ep=8), "mixtral-8x7b", 2),
    "experts in a node, replicas in two": (plan(1, 2, 16, ep=8, zero=1), "mixtral-8x7b", 2),
    "experts over tp and dp": (plan(2, 2, 8, ep=8, etp=1, sp=True), "mixtral-8x7b", 2),
    "experts cut in two": (plan(2, 2, 8, ep=4, etp=2, sp=True), "mixtral-8x7b", 2),
    "weights sharded": (plan(1, 1, 16, zero=3), "gpt-1.7b", 1),
    "weights sharded in a node": (plan(1, 1, 16, zero=3, shard=8), "gpt-1.7b", 1),
    "a pipeline back and forth": (plan(2, 4, 2, vpp=2, schedule="zb-v", num_microbatches=8), "gpt-1.7b", 4),
    "two models": (plan(1, 4, 8, ep=8, schedule="dualpipe", num_microbatches=16), "mixtral-8x7b", 4),
}
"""Plans along the other axes, the model, and how many ranks are played."""


@pytest.mark.parametrize("num_nics", [8, 1])
@pytest.mark.parametrize("name", AXES)
def test_folded_is_unfolded_along_every_axis(name: str, num_nics: int) -> None:
    """With a NIC each, and with one NIC for all of a node."""
    layout, model, num_played = AXES[name]
    cluster = with_node(topologies.load("dgx-h100", max(8, layout.num_gpus)), num_nics=num_nics)
    assert len(fold(layout, cluster).ranks) == num_played
    folded, whole = (train(layout, cluster, small(model, 8), detail="layer", folded=each) for each in (True, False))
    assert folded.duration == pytest.approx(whole.duration, rel=1e-9)
    assert breakdown(folded) == pytest.approx(breakdown(whole), abs=1e-9)


@st.composite
def plans_of_experts(draw: st.DrawFn) -> Plan:
    tp, cp, dp = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([1, 2, 4]))
    etp = draw(st.sampled_from([each for each in (1, 2) if tp % each == 0]))
    ep = draw(st.sampled_from([each for each in (1, 2, 4, 8) if tp * cp * dp % (each * etp) == 0]))
    replicas = cp * dp
    shard = draw(st.sampled_from([None, *(each for each in range(1, replicas) if replicas % each == 0)]))
    return plan(
        tp, draw(st.integers(1, 2)), dp, cp=cp, ep=ep, etp=etp if ep > 1 else None, num_microbatches=2,
        cp_kind=draw(st.sampled_from(["ring", "all-gather"])), zero=draw(st.sampled_from([0, 1, 3])), shard=shard,
    )  # fmt: skip


@settings(max_examples=30)
@given(layout=plans_of_experts(), cluster=clusters(96))
def test_folded_is_unfolded_with_experts_on_any_cluster(layout: Plan, cluster: Cluster) -> None:
    """The wires alone: what a folded rank sees of a use, its own share of each class is what all of them make it."""
    found = fold(layout, cluster)
    assert sum(found.ranks_folded.values()) == layout.num_gpus
    assert all(found.stand_in(found.stand_in(rank)) == found.stand_in(rank) for rank in range(layout.num_gpus))
    if found.shares:
        assert {key[1] for key in found.shares} <= {*found.ranks}
