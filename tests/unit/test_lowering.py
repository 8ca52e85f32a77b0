"""What a schedule becomes: the blocks of first, middle and last stage, the sends, the end of the step.

A GPT of four layers, TP2, 512 tokens of 6,144: a message holds 2 x 512 x 6,144 bytes.
"""

from dataclasses import replace
from functools import cache

import pytest

import topologies
from sim import frameworks
from sim.costs.memory_bound import optimizer
from sim.costs.sharing import streaming
from sim.folding import fold, seen_by, unfolded
from sim.frameworks import Framework
from sim.instructions import Basis, Block, Collective, Compute, Record, Transfer, Wait
from sim.layers import head
from sim.layers import stage as stage_of_model
from sim.layers.context import Context
from sim.lowering import Condense, lower
from sim.plan import Plan
from sim.program import Program, Stream
from sim.schedules import Action
from tests.clusters import cluster_of, gpu, node_of
from tests.programs import plan, small, with_node
from topologies.fabric import Wire

TOKENS = 512
MESSAGE = 2.0 * TOKENS * 6144
FOUR_STAGES = plan(2, 4, 2)
AS_IT_IS = Condense(piece=lambda _, work, __: work, whole=lambda _, work: work)


def plain(name: str) -> Framework:
    """A framework that sums gradients and gathers weights at the end of the step, and whose host takes no time."""
    nothing = dict.fromkeys(("launch_seconds", "host_seconds", "data_seconds"), 0.0)
    return replace(frameworks.load(name), overlap_grad_reduce=False, overlap_param_gather=False, **nothing)


def context_of(layout: Plan, framework: str = "megatron-core", model: str = "gpt-22b") -> Context:
    return Context(
        model=small(model),
        gpu=topologies.gpu("a100-80gb-sxm"),
        framework=plain(framework),
        tp=layout.tp,
        sp=layout.sp,
        recompute=layout.recompute,
        micro_batch=layout.micro_batch,
        seq_len=TOKENS,
        precision="fp16",
    )


@cache
def lowered(layout: Plan, framework: str = "megatron-core", model: str = "gpt-22b", *, folded: bool = True) -> Program:
    cluster = topologies.load("dgx-a100", max(8, layout.num_gpus))
    folding = fold(layout, cluster) if folded else unfolded(layout)
    return lower(context_of(layout, framework, model), layout, cluster, folding, AS_IT_IS)


def stream(program: Program, rank: int, name: str = "compute") -> Stream | None:
    return next((s for s in program.streams if (s.rank, s.name) == (rank, name)), None)


def block(program: Program, rank: int, action: str, name: str = "compute") -> Block:
    found = stream(program, rank, name)
    assert found is not None
    return next(block for step, block in found.steps if str(step) == action)


def frame(of: Block) -> list[str]:
    """What a block does before its first and after its last kernel or collective."""
    inner = [i for i, each in enumerate(of) if isinstance(each, Compute | Collective)]
    outer = [*of[: inner[0]], *of[inner[-1] + 1 :]]
    return [f"{type(each).__name__} {each.flag}" for each in outer if isinstance(each, Wait | Record | Transfer)]


def end_of_step(layout: Plan, rank: int, model: str = "gpt-22b") -> dict[str, Compute | Collective]:
    found = stream(lowered(layout, model=model), rank)
    assert found is not None
    action, last = found.steps[-1]
    assert action is None
    return {each.name: each for each in last if isinstance(each, Compute | Collective)}


def test_a_middle_stage_waits_for_its_input_and_hands_over_both_ways() -> None:
    """Rank 4 is stage 1 of TP2 x PP4 x DP2. A 1F1B sender waits until its message is gone."""
    program = lowered(FOUR_STAGES)
    assert frame(block(program, 4, "1F0")) == ["Wait input F1", "Transfer input F2"]
    assert frame(block(program, 4, "1B0")) == ["Wait input B1", "Transfer input B0"]


def test_the_ends_wait_and_send_on_one_side_only() -> None:
    program = lowered(FOUR_STAGES)
    assert frame(block(program, 0, "0F0")) == ["Transfer input F1"]
    assert frame(block(program, 0, "0B0")) == ["Wait input B0"]
    assert frame(block(program, 12, "3F0")) == ["Wait input F3"]
    assert frame(block(program, 12, "3B0")) == ["Transfer input B2"]


def test_a_stream_that_would_send_nothing_is_left_out() -> None:
    program = lowered(plan(2, 2, vpp=2, schedule="interleaved"))
    assert [stream(program, rank, "send B") is None for rank in (0, 2)] == [False, False]
    assert all(stream(lowered(FOUR_STAGES), rank, "send F") is None for rank in (0, 4, 8, 12))


def test_only_the_first_stage_embeds_and_only_the_last_has_a_head() -> None:
    program = lowered(FOUR_STAGES)
    names = {
        rank: {each.name for each in block(program, rank, f"{rank // 4}F0") if isinstance(each, Compute)}
        for rank in (0, 4, 12)
    }
    assert ["embedding lookup" in names[rank] for rank in (0, 4, 12)] == [True, False, False]
    assert ["loss forward" in names[rank] for rank in (0, 4, 12)] == [False, False, True]
    assert all("qkv forward" in found for found in names.values())


def test_a_message_goes_to_the_same_place_of_the_next_stage() -> None:
    """Rank 7 of TP2 x PP4 x DP2 (tp 1, dp 1, stage 1) sends forwards to 11, backwards to 3."""
    program = lowered(FOUR_STAGES, folded=False)
    forward, backward = block(program, 7, "1F0")[-1], block(program, 7, "1B0")[-1]
    send = Transfer(name="send F", axis="pp", peer=11, flag="input F2", nbytes=MESSAGE)
    assert forward == send
    assert isinstance(backward, Transfer)
    assert (backward.peer, backward.flag) == (3, "input B0")
    assert {wire for wire, _ in program.activities[send, 7].loads} == {Wire("nic", "out", 7), Wire("nic", "in", 11)}


def test_interleaved_stages_go_round_the_ranks() -> None:
    """Stage 1, on the last of two ranks, sends to stage 2 on the first; only there is nothing before or behind."""
    program = lowered(plan(2, 2, vpp=2, schedule="interleaved"))
    sent = block(program, 2, "1F0", "send F")[1]
    assert isinstance(sent, Transfer)
    assert (sent.peer, sent.flag) == (0, "input F2")
    assert frame(block(program, 0, "2F0")) == ["Wait input F2", "Record output F2"]
    assert frame(block(program, 2, "3F0")) == ["Wait input F3"]


@pytest.mark.parametrize(
    ("framework", "schedule", "waits"),
    [
        ("megatron-core", "1f1b", True),
        ("megatron-core", "gpipe", True),
        ("megatron-core", "interleaved", False),
        ("megatron-lm", "1f1b", True),
        ("megatron-lm", "interleaved", True),
    ],
)
def test_a_sender_waits_unless_the_framework_overlaps_interleaved_sends(
    framework: str, schedule: str, waits: bool
) -> None:
    layout = plan(2, 2, vpp=2 if schedule == "interleaved" else 1, schedule=schedule)
    program = lowered(layout, framework)
    assert isinstance(block(program, 0, "0F0")[-1], Transfer) is waits
    assert (stream(program, 0, "send F") is None) is waits


@pytest.mark.parametrize(
    ("framework", "sp", "share", "gathers"),
    [
        ("megatron-core", False, 1, False),
        ("megatron-core", True, 2, False),
        ("megatron-lm", False, 2, True),
        ("megatron-lm", True, 2, False),
    ],
)
def test_a_message_is_cut_over_tp_by_sequence_or_by_scatter_and_gather(
    framework: str, sp: bool, share: int, gathers: bool
) -> None:
    program = lowered(plan(2, 2, sp=sp), framework)
    sent = block(program, 0, "0F0")[-1]
    assert isinstance(sent, Transfer)
    assert sent.nbytes == MESSAGE / share
    first = block(program, 2, "1F0")[1]
    assert (isinstance(first, Collective) and first.name == "pipeline input gather") is gathers


def test_a_block_is_shared_by_all_microbatches() -> None:
    found = stream(lowered(FOUR_STAGES), 4)
    assert found is not None
    assert len({id(each) for step, each in found.steps if step and step.kind == "F"}) == 1


def test_actions_are_those_of_the_schedule_and_side_streams_have_their_part_of_them() -> None:
    program = lowered(plan(2, 2, num_microbatches=3))
    compute, aside = (stream(program, 0, name) for name in ("compute", "tp"))
    assert compute is not None
    assert aside is not None
    assert [str(action) for action in compute.actions()] == ["0F0", "0F1", "0B0", "0F2", "0B1", "0B2", "None"]
    assert aside.actions() == [Action("B", 0, m) for m in range(3)], (
        "input gradients are summed beside weight gradients"
    )
    sending = stream(lowered(plan(2, 2, vpp=2, schedule="interleaved", num_microbatches=2)), 2, "send B")
    assert sending is not None
    assert [str(action) for action in sending.actions()] == ["3B0", "3B1", "1B0", "1B1"]


def test_without_replicas_a_step_ends_with_the_optimizer_alone() -> None:
    assert list(end_of_step(plan(2), 0)) == ["optimizer"]


def test_zero_0_sums_whole_gradients_and_every_replica_steps_for_itself() -> None:
    """Gradients of 4 bytes over the wire; the optimizer works on all of the rank's parameters."""
    layout = plan(2, 1, 2)
    context = context_of(layout)
    count = sum(stage_of_model.parameters(context, stage) for stage in stage_of_model.stages(context, layout))
    end = end_of_step(layout, 0)
    assert list(end) == ["gradient scale", "gradient sum", "optimizer"]
    assert end["gradient sum"] == Collective(
        name="gradient sum", axis="dp", group="dp", operation="all_reduce", nbytes=4.0 * count
    )
    seconds = optimizer(context.gpu, count, "fp16", 4)
    assert end["optimizer"] == Compute(
        name="optimizer",
        duration=seconds,
        category="optimizer",
        load=streaming(context.gpu),
        basis=(Basis("memory bound", "extrapolated", seconds),),
    )


def test_zero_1_scatters_gradients_steps_on_a_share_and_gathers_weights() -> None:
    """Of dp = 2: half of the optimizer's work; gradients of 4 bytes in, weights of 2 bytes out."""
    layout = plan(2, 1, 2, zero=1)
    context = context_of(layout)
    count = sum(stage_of_model.parameters(context, stage) for stage in stage_of_model.stages(context, layout))
    end = end_of_step(layout, 0)
    assert list(end) == ["gradient scale", "gradient reduce-scatter", "optimizer", "weight gather"]
    scatter, gather, step = end["gradient reduce-scatter"], end["weight gather"], end["optimizer"]
    assert isinstance(scatter, Collective)
    assert isinstance(gather, Collective)
    assert isinstance(step, Compute)
    assert (scatter.operation, scatter.nbytes) == ("reduce_scatter", 4.0 * count)
    assert (gather.operation, gather.nbytes) == ("all_gather", 2.0 * count)
    assert step.duration == optimizer(context.gpu, count / 2, "fp16", 4)


def test_a_tied_embedding_is_summed_between_the_two_ends_only() -> None:
    """4 bytes of each gradient of this rank's half of the matrix; ranks 0 and 12 of TP2 x PP4 x DP2 meet."""
    ends = [end_of_step(FOUR_STAGES, rank).get("tied embedding sum") for rank in (0, 4, 8, 12)]
    assert [end is not None for end in ends] == [True, False, False, True]
    assert isinstance(ends[0], Collective)
    assert ends[0].nbytes == 4.0 * head.matrix_parameters(context_of(FOUR_STAGES))
    assert lowered(FOUR_STAGES).groups["embedding", 0] == (0, 12)


def test_without_a_pipeline_or_without_tying_there_is_no_such_sum() -> None:
    assert "tied embedding sum" not in end_of_step(plan(2, 1, 2), 0)
    assert "tied embedding sum" not in end_of_step(plan(2, 2), 0, "llama3-8b")


def test_with_interleaving_the_last_chunk_of_the_last_rank_is_the_end() -> None:
    layout = plan(2, 2, vpp=2, schedule="interleaved")
    assert all("tied embedding sum" in end_of_step(layout, rank) for rank in (0, 2))


def test_a_folded_program_keeps_the_latency_and_the_wires_of_one_rank() -> None:
    """The two ranks of a tp group are one: the sum's start-up is that of two, the wires those of rank 0."""
    layout = plan(2)
    folding = fold(layout, topologies.load("dgx-a100", 8))
    folded, whole = lowered(layout), lowered(layout, folded=False)
    assert folded.groups["tp", 0] == (0,)
    assert whole.groups["tp", 0] == (0, 1)
    for (instruction, rank), activity in folded.activities.items():
        assert isinstance(instruction, Collective)
        of_both = whole.activities[instruction, rank]
        assert activity == seen_by(folding, of_both, instruction.group, rank)
        assert dict(activity.loads) == {wire: nbytes for wire, nbytes in of_both.loads if wire.number == 0}
        assert activity.latency == of_both.latency > 0
    assert folded.ranks_folded == {0: 2}


def test_a_folded_message_loads_a_shared_nic_with_all_that_it_stands_for() -> None:
    """Eight ranks of a node with four NICs: on NIC 0 go the messages of ranks 0 and 1, as fast as before."""
    layout = plan(8, 2)
    cluster = with_node(topologies.load("dgx-a100", 16), num_nics=4)
    program = lower(context_of(layout), layout, cluster, fold(layout, cluster), AS_IT_IS)
    sent = block(program, 0, "0F0")[-1]
    assert isinstance(sent, Transfer)
    activity = program.activities[sent, 0]
    assert dict(activity.loads) == {Wire("nic", "out", 0): 2 * MESSAGE, Wire("nic", "in", 8): 2 * MESSAGE}
    assert activity.nbytes == MESSAGE


def test_each_pipeline_rank_computes_as_fast_as_the_gpu_that_it_stands_on() -> None:
    """Stage 0 on an A100, stage 1 on one of half its rate; tied to no other pool's memory or kernels."""
    layout = plan(4, 2)
    cluster = cluster_of((node_of(num_gpus=4), 1), (node_of(num_gpus=4, gpu=gpu(2.0)), 1))
    program = lower(context_of(layout), layout, cluster, fold(layout, cluster), AS_IT_IS)
    fast, slow = (
        next(each.duration for each in block(program, 4 * p, f"{p}F0") if getattr(each, "name", "") == "qkv forward")
        for p in (0, 1)
    )
    assert 1.5 < slow / fast <= 2.0
