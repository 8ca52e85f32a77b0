"""A layer with experts: what runs, how long, what is kept and held. Mixtral 8x7B, and one with shared experts."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

import topologies
from sim import frameworks, layers, models
from sim.costs.grouped_gemm import grouped_gemm
from sim.costs.memory_bound import kernel
from sim.instructions import Collective, Compute
from sim.layers import Context, Pass, moe
from sim.layers.stage import Stage, backward, forward, stages
from sim.models.transformer import LayerKind, Moe, Transformer, layer_parameters
from sim.plan import Plan, Recompute

MIXTRAL = replace(
    models.load("llama3-8b"), name="mixtral-8x7b", vocab=32_000, ffn=14_336, moe=Moe(num_experts=8, top_k=2, ffn=14_336)
)
SHARED = replace(
    MIXTRAL, moe=Moe(num_experts=64, top_k=6, ffn=1_408, shared_ffn=2_816, num_dense_layers=1), name="shared"
)
EXPERTS = LayerKind(has_experts=True)
GATHERING = replace(frameworks.load("megatron-core"), token_dispatcher="all-gather", moe_sync_seconds=0.0)
CONTEXT = Context(
    model=MIXTRAL,
    gpu=topologies.gpu("h100-80gb-sxm"),
    framework=GATHERING,
    tp=4,
    sp=True,
    recompute="none",
    micro_batch=2,
    seq_len=4096,
    precision="bf16",
    kind=EXPERTS,
    etp=4,
)
TOKENS, HIDDEN = 8192, 4096


def seconds(one: Pass, name: str) -> float:
    (kernel,) = [i for i in one["compute"] if isinstance(i, Compute) and i.name == name]
    return kernel.duration


def names(one: Pass) -> list[str]:
    return [i.name for i in one["compute"] if isinstance(i, Compute)]


def of_experts(one: Pass) -> list[tuple[str, str, float]]:
    collectives = [i for block in one.values() for i in block if isinstance(i, Collective)]
    ours = ("token", "probability", "choice")
    return [(i.name, i.operation, i.nbytes) for i in collectives if i.name.startswith(ours)]


def test_the_parts_run_in_the_order_of_the_data() -> None:
    assert names(moe.forward(CONTEXT)) == [
        "router forward", "router top-k", "router softmax forward",
        "permute", "experts up forward", "activation forward", "experts down forward", "unpermute",
    ]  # fmt: skip
    assert names(moe.backward(CONTEXT)) == [
        "unpermute gradient",
        "experts down input gradient", "experts down weight gradient", "activation backward",
        "experts up input gradient", "experts up weight gradient",
        "permute gradient", "router softmax backward", "router input gradient", "router weight gradient",
        "expert gradient sum",
    ]  # fmt: skip


def test_with_sequence_parallelism_tokens_are_gathered_before_and_summed_where_they_belong_after() -> None:
    """2 bytes x 8192 tokens x 4096; per token and expert a byte of choice and four of probability."""
    hidden, routing = 2 * TOKENS * HIDDEN, TOKENS * 8
    assert of_experts(layers.forward(CONTEXT)) == [
        ("choice gather", "all_gather", routing),
        ("probability gather", "all_gather", 4 * routing),
        ("token gather", "all_gather", hidden),
        ("token sum", "reduce_scatter", hidden),
    ]
    assert of_experts(layers.backward(CONTEXT)) == [
        ("token gradient gather", "all_gather", hidden),
        ("token gradient sum", "reduce_scatter", hidden),
        ("probability gradient sum", "reduce_scatter", 4 * routing),
    ]


def test_without_sequence_parallelism_every_rank_has_the_tokens_and_sums_are_all_reduces() -> None:
    plain = replace(CONTEXT, sp=False)
    assert [(name, operation) for name, operation, _ in of_experts(layers.forward(plain))] == [
        ("token sum", "all_reduce")
    ]
    assert {operation for _, operation, _ in of_experts(layers.backward(plain))} == {"all_reduce"}


def test_one_tp_rank_talks_to_nobody() -> None:
    alone = replace(CONTEXT, tp=1, etp=1, sp=False, model=SHARED)
    for one in (layers.forward(alone), layers.backward(alone)):
        assert all(isinstance(i, Compute) for block in one.values() for i in block)


def test_an_expert_multiplies_its_share_of_the_tokens_by_its_share_of_the_width() -> None:
    """8192 tokens x 2 / 8 experts = 2048 rows each; gate and up 2 x 14336 / 4, down 14336 / 4."""
    gpu, one = CONTEXT.gpu, layers.forward(CONTEXT)
    assert seconds(one, "experts up forward") == grouped_gemm(gpu, (2048,) * 8, 2 * 3584, HIDDEN, "bf16")
    assert seconds(one, "experts down forward") == grouped_gemm(gpu, (2048,) * 8, HIDDEN, 3584, "bf16")


def test_two_experts_per_token_cost_about_two_dense_mlps() -> None:
    """The same FLOPs in kernels of two libraries, each fitted by itself; permuting and routing are well below 15 %."""
    alone = replace(CONTEXT, tp=1, etp=1, sp=False)

    def total(context: Context, parts: Iterable[str]) -> float:
        return sum(seconds(layers.forward(context), part) for part in parts)

    experts = total(alone, ("experts up forward", "experts down forward"))
    dense = total(replace(alone, kind=LayerKind()), ("mlp up forward", "mlp down forward"))
    assert experts == pytest.approx(2 * dense, rel=0.25)
    around = ("router forward", "router top-k", "router softmax forward", "permute", "unpermute")
    assert 0 < total(alone, around) < 0.15 * experts


def test_tokens_are_copied_once_per_expert_they_go_to() -> None:
    rows = TOKENS * 2 * HIDDEN
    one = layers.forward(CONTEXT)
    assert seconds(one, "permute") == kernel(CONTEXT.gpu, "permute", rows)
    assert seconds(one, "unpermute") == kernel(CONTEXT.gpu, "unpermute", rows)


def test_few_tokens_touch_few_experts() -> None:
    """Memory bound: one token goes to 6 of 64 experts and reads their weights only, 16 tokens to 64 (16 x 6 > 64)."""
    model = replace(SHARED, moe=replace(SHARED.moe, ffn=14_336))
    latency = CONTEXT.gpu.fit["kernel_latency"]

    def up(num_tokens: int) -> float:
        context = replace(CONTEXT, model=model, tp=1, etp=1, sp=False, micro_batch=1, seq_len=num_tokens)
        return seconds(layers.forward(context), "experts up forward") - latency

    assert up(16) / up(1) == pytest.approx(64 / 6, rel=0.02)


def test_every_expert_s_gradient_is_read_and_written_every_microbatch() -> None:
    """64 experts x 4096 x 2 x 1408 gradients, 4 bytes read and 4 written, take longer than the products of few rows: at
    most all of the HBM's bandwidth, at least two thirds of it."""
    context = replace(CONTEXT, model=SHARED, tp=1, etp=1, sp=False, micro_batch=1, seq_len=64)
    nbytes = 64 * HIDDEN * 2 * 1408 * 8
    bound = nbytes / context.gpu.memory_bandwidth
    assert bound < seconds(layers.backward(context), "experts up weight gradient") < 1.5 * bound


def test_shared_experts_are_a_dense_mlp_beside() -> None:
    context = replace(CONTEXT, model=SHARED)
    dense = replace(context, model=replace(SHARED, ffn=2816), kind=LayerKind())
    assert seconds(layers.forward(context), "shared expert up forward") == seconds(
        layers.forward(dense), "mlp up forward"
    )
    assert names(layers.backward(context)).count("expert gradient sum") == 2


def test_permuted_tokens_are_kept_whole_on_every_tp_rank() -> None:
    """Bytes. Norm and input 2 x 2 x 8192/4 x 4096. Router: 8 experts x (4 x 8192/4 + 5 x 8192). Rows: 16384 x 4096 x 2
    for the permuted tokens, 16384 x 3 x 14336/4 x 2 for gate, up and product."""
    expected = 4 * TOKENS / 4 * HIDDEN + 8 * (4 * TOKENS / 4 + 5 * TOKENS)
    expected += 2 * 16_384 * HIDDEN + 2 * 16_384 * 3 * 14_336 / 4
    attention = layers.saved_nbytes(replace(CONTEXT, kind=LayerKind())) - (
        4 * TOKENS / 4 * HIDDEN + 2 * TOKENS * 3 * 14_336 / 4
    )
    assert layers.saved_nbytes(CONTEXT) - attention == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("recompute", ["selective", "full"])
def test_recomputation_keeps_what_it_keeps_of_a_dense_layer(recompute: Recompute) -> None:
    """Selective recomputation drops the attention core only; full keeps the layer's input."""
    none, again = (layers.saved_nbytes(replace(CONTEXT, recompute=chosen)) for chosen in ("none", recompute))
    dense = replace(CONTEXT, kind=LayerKind())
    if recompute == "full":
        assert again == 2 * TOKENS / 4 * HIDDEN
        assert "recompute experts up forward" in names(layers.backward(replace(CONTEXT, recompute="full")))
    else:
        assert none - again == layers.saved_nbytes(dense) - layers.saved_nbytes(replace(dense, recompute=recompute))


@pytest.mark.parametrize("model", [MIXTRAL, SHARED, replace(SHARED, bias=True, norm="layernorm")])
@pytest.mark.parametrize("tp", [1, 2, 4])
def test_tp_ranks_hold_the_experts_once_and_the_router_each(model: Transformer, tp: int) -> None:
    context = replace(CONTEXT, model=model, tp=tp, etp=tp)
    held = tp * layers.parameters(context) - (tp - 1) * layers.replicated_parameters(context)
    assert held == layer_parameters(model, EXPERTS)


def test_a_layer_of_mixtral_has_as_many_parameters_as_published() -> None:
    """46,702,792,704 in all: 32 layers, two matrices of 32,000 x 4096, a norm."""
    layer = layers.parameters(replace(CONTEXT, tp=1, etp=1, sp=False))
    assert 32 * layer + 2 * 32_000 * HIDDEN + HIDDEN == 46_702_792_704


def plan_of(pp: int, vpp: int = 1) -> Plan:
    return Plan(
        tp=1, etp=1, sp=False, pp=pp, vpp=vpp, dp=1, zero=0, recompute="none",
        schedule="1f1b" if vpp == 1 else "interleaved", micro_batch=1, global_batch=8,
    )  # fmt: skip


def kinds_of(stage: Stage) -> str:
    return "".join("e" if kind.has_experts else "d" for kind in stage.kinds)


def test_stages_have_the_layers_that_come_next() -> None:
    """32 layers on 4 stages, the first dense; and every second one with experts."""
    context = replace(CONTEXT, model=SHARED)
    assert [kinds_of(stage) for stage in stages(context, plan_of(4))] == ["d" + 7 * "e", 8 * "e", 8 * "e", 8 * "e"]
    other = replace(context, model=replace(MIXTRAL, moe=replace(MIXTRAL.moe, every=2)))
    assert {kinds_of(stage) for stage in stages(other, plan_of(4))} == {4 * "de"}


def test_equal_layers_share_a_pass_and_equal_stages_are_equal() -> None:
    every_second = replace(CONTEXT, model=replace(MIXTRAL, moe=replace(MIXTRAL.moe, every=2)))
    _, second, third, _ = stages(every_second, plan_of(4))
    assert second == third
    for passes in (forward, backward):
        pieces = [piece.work for piece in passes(every_second, second)]
        assert len(pieces) == 8
        assert len({id(piece) for piece in pieces}) == 2


def test_a_backward_pass_meets_the_layers_last_to_first() -> None:
    first = stages(replace(CONTEXT, model=SHARED), plan_of(4))[0]
    told = [piece.name for piece in backward(replace(CONTEXT, model=SHARED), first)]
    assert told == [*["expert layer backward"] * 7, "layer backward", "embedding backward"]
