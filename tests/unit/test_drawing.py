"""The drawing says which GPU holds what: counted by hand for small layouts, against the plan's own grid for others."""

from dataclasses import replace

import pytest

import topologies
from sim.plan import Plan, rank
from sim.reports.drawing import MOST_CELLS, Box, Gap, coordinates, draw, representatives, used_nodes


def plan_of(tp=1, pp=1, dp=1, cp=1):
    return Plan(
        tp=tp, sp=tp > 1, pp=pp, vpp=1, dp=dp, zero=1, recompute="none", schedule="1f1b", micro_batch=1,
        global_batch=dp, cp=cp,
    )  # fmt: skip


def drawn(plan, cluster="dgx-a100"):
    return draw(topologies.load(cluster, plan.num_gpus), plan)


def cells(box):
    return [cell for row in box.rows for cell in row.cells]


def all_cells(drawing):
    return [cell for box in drawing.boxes if isinstance(box, Box) for cell in cells(box)]


def test_every_gpu_is_at_its_place_on_the_four_axes():
    plan = plan_of(tp=2, pp=3, dp=4, cp=5)
    for gpu in range(plan.num_gpus):
        tp, dp, pp, cp = coordinates(plan, gpu)
        assert rank(plan, tp, dp, pp, cp) == gpu


def test_groups_that_share_a_sequence_say_replica_and_part():
    """tp 2, cp 2, dp 2: four groups of two GPUs in a node; GPU 5 is the second of the first part of replica 1."""
    drawing = drawn(plan_of(tp=2, cp=2, dp=2))
    assert [group.text for group in drawing.boxes[0].rows[0].groups] == ["0·0", "0·1", "1·0", "1·1"]
    assert cells(drawing.boxes[0])[5].title == "GPU 5: node 0, slot 5, tp 1, cp 0, dp 1, pp 0"
    assert "each on 2 tensor-parallel groups of 2 GPUs (tp) that share each sequence (cp)" in drawing.said


def test_a_gpu_says_node_slot_and_place():
    """tp 8, dp 2, pp 2 on nodes of 8: replica 1 of pipeline rank 0 is node 1; GPU 13 is its slot 5."""
    thirteen = cells(drawn(plan_of(tp=8, pp=2, dp=2)).boxes[1])[5]
    assert thirteen.title == "GPU 13: node 1, slot 5, tp 5, dp 1, pp 0"
    assert (thirteen.gpu, thirteen.pp) == (13, 0)


def test_pipeline_ranks_in_a_node_follow_dp_and_tp():
    """tp 2, dp 2, pp 4 on 16 GPUs: a pipeline rank is 4 GPUs, so a node holds two of them."""
    drawing = drawn(plan_of(tp=2, pp=4, dp=2))
    assert [[cell.pp for cell in cells(box)] for box in drawing.boxes] == [[0] * 4 + [1] * 4, [2] * 4 + [3] * 4]
    assert [group.text for group in drawing.boxes[0].rows[0].groups] == ["dp 0", "dp 1", "dp 0", "dp 1"]
    assert [(group.first, group.length) for group in drawing.boxes[0].rows[0].groups] == [
        (0, 2),
        (2, 2),
        (4, 2),
        (6, 2),
    ]
    assert drawing.boxes[1].rows[0].groups[3].title == (
        "tensor-parallel group of GPUs 14 to 15: replica dp 1, pipeline rank 3"
    )


def test_a_tensor_parallel_group_over_two_nodes_has_open_ends():
    drawing = drawn(plan_of(tp=16))
    first, second = (box.rows[0].groups[0] for box in drawing.boxes)
    assert (first.from_before, first.goes_on) == (False, True)
    assert (second.from_before, second.goes_on) == (True, False)
    assert drawing.has_open_ends
    assert not drawn(plan_of(tp=8)).has_open_ends


def test_gpus_without_work_are_idle():
    idle = [cell.title for cell in cells(drawn(plan_of(dp=3)).boxes[0]) if cell.pp is None]
    assert idle == [f"GPU {gpu}: node 0, slot {gpu}, idle" for gpu in range(3, 8)]


def test_nodes_that_differ_only_in_their_replica_are_drawn_once():
    """tp 8, dp 64: 64 equal nodes, of which one is drawn."""
    (box,) = drawn(plan_of(tp=8, dp=64)).boxes
    assert box.repeats == "× 63 like this: nodes 1 to 63"


def test_groups_over_two_nodes_repeat_in_pairs():
    """tp 16, dp 8, pp 2: 16 nodes a pipeline rank; of each the first pair is drawn."""
    boxes = drawn(plan_of(tp=16, pp=2, dp=8)).boxes
    assert [box.title for box in boxes] == [f"Node {number}: 8 × a100-80gb-sxm" for number in (0, 1, 16, 17)]
    assert [box.repeats for box in boxes] == [
        "",
        "× 7 like these 2: nodes 2 to 15",
        "",
        "× 7 like these 2: nodes 18 to 31",
    ]


def test_a_thousand_nodes_are_drawn_by_their_ends():
    """64 pipeline ranks of 6 nodes: the first six ranks and the last two, eight nodes of eight cells."""
    boxes = drawn(plan_of(tp=8, pp=64, dp=6)).boxes
    nodes = [box for box in boxes if isinstance(box, Box)]
    assert [cells(box)[0].pp for box in nodes] == [0, 1, 2, 3, 4, 5, 62, 63]
    assert nodes[0].repeats == "× 5 like this: nodes 1 to 5"
    assert boxes[6] == Gap(text="341 more: nodes 31 to 371, pipeline ranks 5 to 61")


@pytest.mark.parametrize(
    "plan",
    [
        plan_of(tp=8, pp=2), plan_of(dp=128), plan_of(tp=16, pp=8, dp=3), plan_of(tp=4, pp=64, dp=31),
        plan_of(tp=2, pp=7, dp=1000), plan_of(tp=128, pp=4, dp=2), plan_of(tp=3, pp=5, dp=41), plan_of(dp=20_000),
    ],
)  # fmt: skip
@pytest.mark.parametrize("cluster", ["dgx-a100", "dgx-2", "gb200-nvl72", "l40s-pcie"])
def test_never_more_than_144_cells_and_every_cell_true(plan, cluster):
    found = topologies.load(cluster)
    pool = replace(found.pools[0], num_nodes=-(-plan.num_gpus // found.node.num_gpus))
    found = replace(found, pools=(pool,))
    shown = all_cells(draw(found, plan))
    assert 1 <= len(shown) <= MOST_CELLS
    assert shown[0].gpu == 0
    for cell in shown:
        assert cell.title.startswith(f"GPU {cell.gpu}: node {found.node_of(cell.gpu)}, slot {found.slot_of(cell.gpu)}")
        assert cell.pp == (coordinates(plan, cell.gpu)[2] if cell.gpu < plan.num_gpus else None)


def test_two_racks_of_72_gpus_are_drawn_whole():
    """tp 8, pp 6, dp 3 on 144 GPUs: ranks 0 to 2 in the first rack, 3 to 5 in the second."""
    drawing = drawn(plan_of(tp=8, pp=6, dp=3), "gb200-nvl72")
    assert [{cell.pp for cell in cells(box)} for box in drawing.boxes] == [{0, 1, 2}, {3, 4, 5}]
    assert "drawn" not in drawing.said


def test_what_is_not_drawn_is_counted_and_never_said_to_repeat():
    """Of three racks the first is drawn; the others hold other pipeline ranks."""
    drawing = drawn(plan_of(tp=8, pp=9, dp=3), "gb200-nvl72")
    assert drawing.boxes[1:] == (Gap(text="2 more: nodes 1 to 2, pipeline ranks 3 to 8"),)
    assert drawing.said.endswith("Of the nodes 1 is drawn; the others are counted beside them.")


def test_a_domain_larger_than_the_drawing_says_what_is_left_out():
    wide = topologies.load("dgx-h100")
    node = replace(wide.node, num_gpus=256)
    (box,) = draw(replace(wide, pools=(replace(wide.pools[0], node=node, num_nodes=1),)), plan_of(dp=256)).boxes
    assert len(cells(box)) == 144
    assert box.left_out == "and 112 more GPUs in this node"


def mixed():
    """Two nodes of 8 H100, then four of 4 A100: GPUs 0 to 15 and 16 to 31."""
    h100, a100 = topologies.load("dgx-h100").pools[0], topologies.load("dgx-a100").pools[0]
    few = replace(a100.node, num_gpus=4, num_nics=4)
    pools = (replace(h100, num_nodes=2), replace(a100, node=few, num_nodes=4))
    return replace(topologies.load("dgx-h100"), pools=pools)


def test_nodes_of_a_mixed_cluster_are_drawn_with_their_own_gpus():
    drawing = draw(mixed(), plan_of(tp=4, pp=2, dp=4))
    assert [len(cells(box)) for box in drawing.boxes] == [8, 8, 4, 4, 4, 4]
    assert drawing.boxes[2].title == "Node 2: 4 × a100-80gb-sxm"
    assert cells(drawing.boxes[2])[1].title == "GPU 17: node 2, slot 1, tp 1, dp 0, pp 1"


def test_every_kind_of_node_of_a_large_mixed_cluster_is_drawn():
    """100 nodes of each kind and no pipeline: one of each."""
    large, plan = large_mixed(), plan_of(tp=4, dp=300)
    places = used_nodes(large, plan.num_gpus)
    assert [places[index].number for index in representatives(large, plan, places)] == [0, 100]


def test_hardware_stands_below_the_slots_that_share_it():
    """A box of 8 GPUs on two switches, one a socket, with a NIC each."""
    row = draw(topologies.load("l40s-pcie", 8), plan_of(dp=8)).boxes[0].rows[0]
    assert [[bracket.text for bracket in level] for level in row.hardware] == [
        ["switch 0", "switch 1"], ["socket 0", "socket 1"], ["NIC 0", "NIC 1"],
    ]  # fmt: skip
    assert [(bracket.first, bracket.length) for bracket in row.hardware[0]] == [(0, 4), (4, 4)]


def large_mixed():
    return replace(mixed(), pools=tuple(replace(pool, num_nodes=100) for pool in mixed().pools))


@pytest.mark.parametrize(
    ("found", "plan"),
    [
        (topologies.load("dgx-a100"), plan_of(tp=8, pp=4, dp=9)),
        (topologies.load("dgx-a100"), plan_of(tp=16, pp=2, dp=7)),
        (topologies.load("dgx-a100"), plan_of(tp=3, pp=2, dp=40)),
        (large_mixed(), plan_of(tp=8, dp=150)),
    ],
)
def test_what_is_not_drawn_repeats_what_is(found, plan):
    """Slot by slot, the place on the tp and the pp axis of every node is that of some drawn node."""
    places = used_nodes(found, plan.num_gpus)

    def held(place):
        at = [coordinates(plan, place.first + slot) for slot in range(place.used)]
        return [(tp, pp) for tp, _, pp, _ in at]

    shown = [held(places[index]) for index in representatives(found, plan, places)]
    assert all(held(place) in shown for place in places)
