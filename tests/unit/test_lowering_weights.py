"""Gradients behind the backward pass, weights ahead of the forward: who waits for what, and how many bytes go over.

A Llama of four layers, TP1 x DP4, two microbatches; toy parts hold one weight each unless said.
"""

from dataclasses import replace
from functools import cache

import pytest

import topologies
from sim import frameworks
from sim.folding import fold
from sim.frameworks import Framework
from sim.instructions import Block, Collective, Compute, Record, Wait
from sim.layers import stage as stage_of_model
from sim.layers.context import Context
from sim.layers.stage import Weights
from sim.lowering import Condense, lower
from sim.lowering.offload import IN, OUT, copied_in, copied_out
from sim.lowering.parts import Part, interleaved, merged, played
from sim.lowering.weights import Sharding, agreed_magnitudes
from sim.plan import Plan, group_of
from sim.program import COMPUTE, Program, Stream
from sim.workload import Precision
from tests.programs import plan, small

AS_IT_IS = Condense(piece=lambda _, work, __: work, whole=lambda _, work: work)
OVERLAPS = {"overlap_grad_reduce": True, "overlap_param_gather": True}
GPU = topologies.gpu("h100-80gb-sxm")


def framework(**facts: object) -> Framework:
    quiet = dict.fromkeys(("launch_seconds", "host_seconds", "data_seconds", "bucket_parameters_per_replica"), 0)
    return replace(frameworks.load("megatron-core"), **{**quiet, **facts})  # type: ignore[arg-type]


def sharding(layout: Plan, **facts: object) -> Sharding:
    return Sharding(plan=layout, framework=framework(**facts), gpu=GPU, width=4096)


def parts(*weights: int) -> list[Part]:
    return [
        Part(f"layer {number}", {COMPUTE: (Compute(name=f"layer {number}", duration=1.0),)}, Weights(count, 0))
        for number, count in enumerate(weights)
    ]


def told(block: Block) -> list[str]:
    """Flags by what is done to them, all else by name."""
    return [f"{type(one).__name__} {one.flag}" if isinstance(one, Record | Wait) else one.name for one in block]


@cache
def lowered(
    layout: Plan, model: str = "llama3-8b", precision: Precision = "bf16", **facts: object
) -> tuple[Program, Context]:
    cluster = topologies.load("dgx-h100", 8)
    context = Context(
        model=small(model),
        gpu=cluster.gpu,
        framework=framework(**facts),
        tp=layout.tp,
        sp=layout.sp,
        recompute=layout.recompute,
        micro_batch=1,
        seq_len=512,
        precision=precision,
    )
    return lower(context, layout, cluster, fold(layout, cluster), AS_IT_IS), context


def test_delayed_scaling_agrees_on_magnitudes_after_each_pass_over_tp_and_over_the_replicas() -> None:
    """Four layers of twelve fp32 numbers. Nothing of the kind with current scaling, in 16 bits, or on one GPU."""
    context = replace(lowered(plan(dp=4))[1], precision="fp8")
    layout = plan(tp=2, dp=4)
    agreed = agreed_magnitudes(context, layout, 4)
    assert [(one.group, one.nbytes) for one in agreed if isinstance(one, Collective)] == [("tp", 192), ("dp", 192)]
    current = replace(context, framework=framework(fp8_scaling="current"))
    assert agreed_magnitudes(current, layout, 4) == agreed_magnitudes(context, plan(), 4) == ()
    assert agreed_magnitudes(replace(context, precision="bf16"), layout, 4) == ()


def test_the_magnitudes_of_every_microbatch_are_agreed_on_forward_and_backward() -> None:
    """Two microbatches, both ways."""
    layout = plan(dp=4, num_microbatches=2)
    program, _ = lowered(layout, precision="fp8")
    names = [one.name for _, block in stream(program, "compute").steps for one in block if isinstance(one, Collective)]
    assert names.count("largest magnitudes") == 4


def stream(program: Program, name: str) -> Stream:
    return next(one for one in program.streams if (one.rank, one.name) == (0, name))


def sent(program: Program, operation: str) -> float:
    blocks = (block for _, block in stream(program, "dp").steps)
    return sum(
        one.nbytes for block in blocks for one in block if isinstance(one, Collective) and one.operation == operation
    )


def whole(context: Context, layout: Plan) -> int:
    return sum(stage_of_model.parameters(context, stage) for stage in stage_of_model.stages(context, layout))


def test_weights_of_a_layer_are_asked_for_so_many_layers_ahead() -> None:
    """prefetch 1: as layer 0 begins, its own and layer 1's are asked for; layer 2's as layer 1 begins."""
    made, asked = sharding(plan(1, 1, 4, zero=3), prefetch=1).gathered(parts(1, 1, 1), "F0")
    assert told(played(made)[COMPUTE]) == [
        "Record F0 weights 0 asked",
        "Record F0 weights 1 asked",
        "Wait F0 weights 0 here",
        "layer 0",
        "Record F0 weights 2 asked",
        "Wait F0 weights 1 here",
        "layer 1",
        "Wait F0 weights 2 here",
        "layer 2",
    ]
    assert told(asked)[:3] == ["Wait F0 weights 0 asked", "weight gather", "Record F0 weights 0 here"]


def test_without_prefetch_weights_are_asked_for_when_they_are_needed() -> None:
    made, _ = sharding(plan(1, 1, 4, zero=3), prefetch=0).gathered(parts(1, 1), "F0")
    assert told(made[1].before) == ["Record F0 weights 1 asked", "Wait F0 weights 1 here"]


def test_a_bucket_goes_when_it_is_full_and_the_last_with_what_is_left() -> None:
    """Buckets of 5 parameters out of parts with 3, 2, 4, 0: full after the second, and the rest with the third."""
    made, asked = sharding(plan(1, 1, 4, zero=1), bucket_parameters=5).reduced(parts(3, 2, 4, 0), "B0")
    assert [told(part.after) for part in made] == [
        [],
        ["gradient scale", "Record B0 gradients 0 ready"],
        ["gradient scale", "Record B0 gradients 1 ready"],
        [],
    ]
    assert [one.nbytes for one in asked if isinstance(one, Collective)] == [
        5.0 * framework().gradient_reduce_nbytes,
        4.0 * framework().gradient_reduce_nbytes,
    ]


def test_ahead_of_the_first_forward_the_bucket_is_waited_for_where_it_begins() -> None:
    """Buckets are those of the backward pass, from behind: 4 + 2 make one, 3 the other, which is gathered first."""
    made, asked = sharding(plan(1, 1, 4, zero=1), bucket_parameters=5).ahead(parts(3, 2, 4), "0")
    assert [told(part.before) for part in made] == [["Wait 0 bucket 0 here"], ["Wait 0 bucket 1 here"], []]
    assert [one.nbytes for one in asked if isinstance(one, Collective)] == [2.0 * 3, 2.0 * 6]


@pytest.mark.parametrize("zero", [1, 2, 3])
def test_every_gradient_is_reduced_and_every_weight_gathered_as_often_as_the_sharding_says(zero: int) -> None:
    """ZeRO 1: once a step. ZeRO 2 reduces in each of two microbatches. ZeRO 3 gathers for each forward and backward."""
    layout = plan(1, 1, 4, zero=zero, num_microbatches=2)
    program, context = lowered(layout, **OVERLAPS)
    count = whole(context, layout)
    reductions, gathers = {1: (1, 1), 2: (2, 1), 3: (2, 4)}[zero]
    assert sent(program, "reduce_scatter") == pytest.approx(
        reductions * count * context.framework.gradient_reduce_nbytes
    )
    assert sent(program, "all_gather") == pytest.approx(gathers * count * 2)


def test_only_the_last_microbatch_gives_its_gradients_away() -> None:
    program, _ = lowered(plan(1, 1, 4, zero=1, num_microbatches=3), **OVERLAPS)
    steps = stream(program, "dp").steps
    assert [str(action) for action, _ in steps] == ["0F0", "0B2", "None"]


def test_hybrid_sharding_scatters_in_its_group_and_sums_the_shares_across() -> None:
    """Of DP 4 in groups of 2: reduce-scatter over 2, all-reduce of half the bytes over the other 2."""
    own = sharding(replace(plan(1, 1, 4, zero=3), shard=2))
    scatter, across = own.reduce(Weights(100, 0))
    assert isinstance(scatter, Collective)
    assert isinstance(across, Collective)
    assert (scatter.group, scatter.operation, across.group, across.operation) == (
        "shard",
        "reduce_scatter",
        "replica",
        "all_reduce",
    )
    assert across.nbytes == scatter.nbytes / 2


def test_experts_are_reduced_over_those_that_hold_them_alone() -> None:
    """EP 2 of DP 4: dense gradients over four ranks, those of experts over two."""
    dense, experts = sharding(replace(plan(1, 1, 4, zero=1), ep=2)).reduce(Weights(10, 6))
    assert isinstance(dense, Collective)
    assert isinstance(experts, Collective)
    assert (dense.group, experts.group) == ("dp", "edp")
    assert experts.nbytes == pytest.approx(0.6 * dense.nbytes)


def test_two_passes_compute_by_turns_where_they_wait_for_bytes() -> None:
    """a1 asks for bytes and waits; b1 computes meanwhile, asks and waits; then a2, b2."""

    def work(name: str) -> dict[str, Block]:
        ask, have = f"{name} asked", f"{name} here"
        meet = Collective(name=name, axis="ep", group="ep", operation="all_to_all", nbytes=1.0)
        first, second = (Compute(name=f"{name}{part}", duration=1.0) for part in (1, 2))
        return {COMPUTE: (first, Record(ask), Wait(have), second), "ep": (Wait(ask), meet, Record(have))}

    both = interleaved(work("a"), work("b"))
    order = ["a1", "Record a asked", "b1", "Record b asked", "Wait a here", "a2", "Wait b here", "b2"]
    assert told(both[COMPUTE]) == order
    assert told(both["ep"]) == ["Wait a asked", "a", "Record a here", "Wait b asked", "b", "Record b here"]


def test_a_stream_does_what_it_is_asked_for_in_that_order() -> None:
    late, early = (Wait("late"),), (Wait("early"),)
    assert merged([late, early], (Record("early"), Record("late"))) == (*early, *late)


def test_activations_come_back_as_the_layer_behind_begins_its_backward_pass() -> None:
    """Of two layers backwards, the first is waited for at once; the second is asked for with it and comes meanwhile."""
    kept = [part._replace(saved_nbytes=1e6) for part in parts(0, 0)]
    made, work = copied_in(GPU, kept, "B0")
    asked = [flag for flag in told(played(made)[COMPUTE]) if flag.startswith("Record")]
    assert asked == ["Record B0 kept 0 asked", "Record B0 kept 1 asked"]
    assert told(played(made)[COMPUTE])[2:] == ["Wait B0 kept 0 here", "layer 0", "Wait B0 kept 1 here", "layer 1"]
    assert told(work[IN])[:3] == ["Wait B0 kept 0 asked", "copy in", "Record B0 kept 0 here"]


def test_what_a_layer_keeps_is_copied_out_behind_it() -> None:
    made, work = copied_out(GPU, [part._replace(saved_nbytes=1e6) for part in parts(0)], "F0")
    assert told(played(made)[COMPUTE]) == ["layer 0", "Record F0 kept 0"]
    assert told(work[OUT]) == ["Wait F0 kept 0", "copy out"]


def test_gradients_in_int8_send_a_quarter_of_fp32_and_a_little_for_their_scales() -> None:
    """1 + 4/256 bytes a gradient once each way, in place of 4: reduce-scatter as an all-to-all."""
    block = sharding(replace(plan(1, 1, 4, zero=1), compression="int8")).all_at_once(Weights(1_000_000, 0))
    sent = [one for one in block if isinstance(one, Collective)]
    assert [(one.operation, one.nbytes) for one in sent] == [("all_to_all", pytest.approx(1e6 * (1 + 4 / 256)))]
    assert [one.name for one in block if isinstance(one, Compute)][1:] == ["gradient quantise", "int8 gradient sum"]


def test_with_hybrid_sharding_experts_share_among_fewer_too() -> None:
    """16 replicas in groups of 4, EP 2: of an expert's 8 ranks 2 share, and 4 hold the same part."""
    layout = replace(plan(1, 1, 16, zero=1), ep=2, shard=4)
    scatter, across = sharding(layout).reduce(Weights(0, 80))
    assert isinstance(scatter, Collective)
    assert isinstance(across, Collective)
    assert (layout.expert_sharing, scatter.group, across.group) == (2, "eshard", "ereplica")
    assert across.nbytes == scatter.nbytes / 2
    assert [len(group_of(layout, axis, 0)) for axis in ("edp", "eshard", "ereplica")] == [8, 2, 4]


def test_experts_alone_may_be_sharded() -> None:
    """TP 4 with whole experts on every rank: dense weights have one replica, experts four, and ZeRO 3 gathers them."""
    own = sharding(replace(plan(4, 1, 1, zero=3), etp=1))
    assert own.by_layer
    assert [one.group for one in own.gather(Weights(10, 10)) if isinstance(one, Collective)] == ["edp"]
