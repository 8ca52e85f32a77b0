"""What a layer runs, keeps and holds, for the GPT of 22 billion parameters that Korthikanti et al. (2022) time."""

from collections import Counter
from dataclasses import replace

import pytest

import topologies
from sim import frameworks, layers, models
from sim.costs.law import TIMED
from sim.instructions import Collective, Compute, Record, Wait
from sim.layers import Context, Pass, embedding, head
from sim.layers import stage as stage_of_model
from sim.models.transformer import LayerKind, layer_parameters, num_parameters
from sim.plan import Plan, Recompute, split_layers, tensor_problems
from topologies.hardware import Fit
from topologies.quantity import GIB

GPT = Context(
    model=models.load("gpt-22b"),
    gpu=topologies.gpu("a100-80gb-sxm"),
    framework=frameworks.load("megatron-lm"),
    tp=8,
    sp=False,
    recompute="none",
    micro_batch=4,
    seq_len=2048,
    precision="fp16",
)
LLAMA = replace(GPT, model=models.load("llama3-70b"), framework=frameworks.load("megatron-core"), precision="bf16")
H100 = topologies.gpu("h100-80gb-sxm")
SBH = 2048 * 4 * 6144
PASSES = {"forward": layers.forward, "backward": layers.backward}
PARTS = {"embedding": embedding, "layer": layers, "head": head}


def collectives(one: Pass, stream: str) -> list[tuple[str, float]]:
    return [(i.operation, i.nbytes) for i in one.get(stream, ()) if isinstance(i, Collective)]


def kernel_seconds(one: Pass, prefix: str = "") -> float:
    return sum(i.duration for i in one["compute"] if isinstance(i, Compute) and i.name.startswith(prefix))


def names(one: Pass) -> list[str]:
    return [i.name for i in one["compute"] if isinstance(i, Compute)]


def test_tensor_parallel_sums_twice_forward_and_twice_backward() -> None:
    """Two all-reduces of 2sbh bytes each way; those of backward run beside the weight gradients."""
    assert collectives(layers.forward(GPT), "compute") == [("all_reduce", 2 * SBH)] * 2
    assert collectives(layers.backward(GPT), "compute") == []
    assert collectives(layers.backward(GPT), "tp") == [("all_reduce", 2 * SBH)] * 2


def test_sequence_parallel_gathers_and_scatters_instead_and_gathers_the_inputs_again() -> None:
    sp = replace(GPT, sp=True)
    gather, scatter = ("all_gather", 2 * SBH), ("reduce_scatter", 2 * SBH)
    assert collectives(layers.forward(sp), "compute") == [gather, scatter] * 2
    assert collectives(layers.backward(sp), "compute") == [gather] * 2
    assert collectives(layers.backward(sp), "tp") == [gather, scatter] * 2


def test_without_overlap_everything_runs_on_the_compute_stream() -> None:
    plain = replace(GPT, sp=True, framework=replace(GPT.framework, overlap_input_gradient=False))
    backward = layers.backward(plain)
    assert set(backward) == {"compute"}
    assert Counter(collectives(backward, "compute")) == {("all_gather", 2 * SBH): 4, ("reduce_scatter", 2 * SBH): 2}


@pytest.mark.parametrize("seq_len", [1024, 16_384])
@pytest.mark.parametrize(("which", "per_pair"), [("forward", 4), ("backward", 10)])
def test_flash_kernels_do_the_flops_of_the_pairs_in_their_mask(seq_len: int, which: str, per_pair: int) -> None:
    """Four sequences, 8 heads on a rank, 128 wide: 4 FLOPs a pair and number forward, 10 backward. Long sequences reach
    the data sheet's share of the peak, short ones less."""
    context = replace(LLAMA, seq_len=seq_len)
    name = f"flash {which}"
    (core,) = [i for i in PASSES[which](context)["compute"] if isinstance(i, Compute) and i.name == name]
    done = core.load.math * context.gpu.peak_flops["bf16"] * core.duration
    assert done == pytest.approx(4 * 8 * per_pair * 128 * seq_len * (seq_len + 1) / 2)
    share = core.load.math / context.gpu.fit[f"flash_{which}_efficiency"]
    assert share < 0.95 if seq_len == 1024 else share == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize(("which", "operation"), [("forward", "attention forward"), ("backward", "attention backward")])
def test_a_level_that_calibrate_run_timed_is_of_pytorchs_own_kernel(which: str, operation: str) -> None:
    """FSDP2 runs that kernel: it takes just what was timed. Megatron's, 1 / 0.6 times as fast on Hopper, keeps that
    ratio. What somebody else charted stays of the kernels that papers speak of, as does what a relative lends."""

    def core(framework: str, fit: Fit | None) -> Compute:
        gpu = replace(H100, fits={**H100.fits, operation: fit} if fit else H100.fits)
        block = PASSES[which](replace(LLAMA, gpu=gpu, framework=frameworks.load(framework)))["compute"]
        return next(one for one in block if isinstance(one, Compute) and one.name == f"flash {which}")

    timed = Fit(values={"level": 1.0}, sources={"level": f"{TIMED} on X, 2026-11-21"}, origin="interpolated")
    before, after = (core("fsdp2", fit) for fit in (None, timed))
    assert after.duration == pytest.approx(0.6 * before.duration)
    assert [one.basis[0][:2] for one in (before, after)] == [
        ("flash attention", "datasheet"),
        (operation, "interpolated"),
    ]
    megatron = core("megatron-core", timed)
    assert megatron.duration == pytest.approx(0.6 * after.duration)
    assert megatron.basis[0][:2] == (operation, "extrapolated")
    charted = replace(timed, sources={"level": "a chart"})
    assert core("fsdp2", charted).duration == before.duration
    far, lent = replace(timed, domain={"seq_len": (1.0, 2.0)}), replace(timed, part="b200-sxm")
    assert core("fsdp2", far).basis[0].origin == "extrapolated"
    assert [core(name, lent).basis[0].origin for name in ("fsdp2", "megatron-core")] == ["datasheet"] * 2


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("which", ["forward", "backward"])
def test_one_tp_rank_talks_to_nobody(part: str, which: str) -> None:
    one = getattr(PARTS[part], which)(replace(GPT, tp=1))
    assert all(isinstance(i, Compute) for block in one.values() for i in block)


@pytest.mark.parametrize("context", [GPT, replace(GPT, sp=True), replace(LLAMA, sp=True)])
@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
def test_every_flag_is_recorded_once_and_waited_for_once(context: Context, recompute: Recompute) -> None:
    for part in PARTS.values():
        backward = part.backward(replace(context, recompute=recompute))
        everything = [i for block in backward.values() for i in block]
        records = [i.flag for i in everything if isinstance(i, Record)]
        waits = [i.flag for i in everything if isinstance(i, Wait)]
        assert len(set(records)) == len(records)
        assert sorted(records) == sorted(waits)


def test_overlap_lasts_from_the_input_gradient_to_the_end_of_the_weight_gradient() -> None:
    block = layers.backward(GPT)["compute"]
    at = [i.name if isinstance(i, Compute) else i for i in block]
    begin = at.index("qkv input gradient")
    assert at[begin + 1 : begin + 4] == [
        Record("qkv sum ready"),
        "qkv weight gradient",
        Wait("qkv sum done"),
    ]


def test_full_recomputation_runs_the_forward_again_with_its_collectives() -> None:
    forward, plain = layers.forward(GPT), layers.backward(GPT)
    full = layers.backward(replace(GPT, recompute="full"))
    assert kernel_seconds(full) == pytest.approx(kernel_seconds(plain) + kernel_seconds(forward))
    assert kernel_seconds(full, "recompute") == pytest.approx(kernel_seconds(forward))
    assert collectives(full, "compute") == collectives(forward, "compute")


def test_selective_recomputation_runs_the_attention_core_again() -> None:
    again = layers.backward(replace(GPT, recompute="selective"))
    extra = [name for name in names(again) if name.startswith("recompute")]
    core = ["scores forward", "softmax forward", "attention dropout forward", "context forward"]
    assert extra == [f"recompute {name}" for name in core]
    assert kernel_seconds(again) - kernel_seconds(again, "recompute") == pytest.approx(
        kernel_seconds(layers.backward(GPT))
    )


def test_backward_multiplies_twice_for_each_product_of_forward() -> None:
    forward, backward = names(layers.forward(GPT)), names(layers.backward(GPT))
    for linear in ("qkv", "projection", "mlp up", "mlp down"):
        assert forward.count(f"{linear} forward") == 1
        assert backward.count(f"{linear} input gradient") == backward.count(f"{linear} weight gradient") == 1


def test_flash_writes_no_scores_and_a_model_without_dropout_has_none() -> None:
    forward = names(layers.forward(LLAMA))
    assert forward.count("flash forward") == forward.count("rotary forward") == 1
    assert not [name for name in forward if "scores" in name or "dropout" in name]
    assert "mlp residual" in forward


def test_norms_and_dropout_shrink_with_sequence_parallelism() -> None:
    """1/8 of the tokens: all but the start of the kernels; more where only the eighth is still in the L2."""
    one, eighth = (kernel_seconds(layers.forward(replace(GPT, sp=sp)), "mlp norm forward") for sp in (False, True))
    latency = GPT.gpu.fit["kernel_latency"]
    assert 8 <= (one - latency) / (eighth - latency) < 8 * 2


@pytest.mark.parametrize(
    ("sp", "recompute", "expected"),
    [
        (False, "none", SBH * (10 + 24 / 8 + 5 * 64 * 2048 / (6144 * 8))),
        (True, "none", SBH / 8 * (34 + 5 * 64 * 2048 / 6144)),
        (False, "selective", SBH * (10 + 24 / 8)),
        (True, "selective", SBH * 34 / 8),
        (False, "full", SBH * 2),
        (True, "full", SBH * 2 / 8),
    ],
)
def test_saved_activations_are_those_of_table_two(sp: bool, recompute: Recompute, expected: float) -> None:
    """Korthikanti et al. 2022, table 2: sbh(10 + 24/t + 5as/ht), sbh/t(34 + 5as/h), without 5as/h selectively, 2sbh."""
    assert layers.saved_nbytes(replace(GPT, sp=sp, recompute=recompute)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "micro_batch", "layers_in_flight", "unsharded", "selective_sp"),
    [
        ("gpt-22b", 4, 48, 59.25, 9.5625),
        ("gpt3-175b", 1, 96 * (1 + 7 / 24), 66.84375, 12.3515625),
        ("gpt-530b", 1, 105 * (1 + 34 / 105), 114.0234375, 23.076171875),
        ("gpt-1t", 1, 128, 131.25, 26.5625),
    ],
)
def test_first_stage_keeps_what_figure_one_shows(
    name: str, micro_batch: int, layers_in_flight: float, unsharded: float, selective_sp: float
) -> None:
    """GiB of activations, Korthikanti et al. 2022, figure 1: L layers in flight, L (1 + (p-1)/(p v)) interleaved.

    With sequence parallelism the figure counts the embedding's dropout mask too, sbhp/t.
    """
    context = replace(GPT, model=models.load(name), micro_batch=micro_batch)
    plain = layers_in_flight * layers.saved_nbytes(context) / GIB
    assert plain == pytest.approx(unsharded, rel=1e-9)
    chosen = replace(context, sp=True, recompute="selective")
    assert layers_in_flight * layers.saved_nbytes(chosen) / GIB == pytest.approx(selective_sp, rel=1e-9)


def test_flash_with_grouped_queries_keeps_no_scores() -> None:
    """Llama-3-70B, TP8 + SP, per token: norms and inputs 2 x 4 x 8192, q, k, v and context 2 x (2 x 8192 + 2 x 1024),
    gate, up and product 2 x 3 x 28672, an eighth of each; 4 bytes a head and row."""
    tokens = 2048 * 4
    expected = tokens / 8 * (8 * 8192 + 2 * (2 * 8192 + 2 * 1024) + 6 * 28672) + 4 * 8 * tokens
    assert layers.saved_nbytes(replace(LLAMA, sp=True)) == pytest.approx(expected)


@pytest.mark.parametrize("context", [GPT, LLAMA])
def test_tp_ranks_hold_the_layer_once_and_what_is_replicated_each(context: Context) -> None:
    """Norms and the biases of the row-parallel products are on every rank."""
    model = context.model
    replicated = (2 * 2 if model.norm == "layernorm" else 2) * model.hidden + (2 * model.hidden if model.bias else 0)
    assert 8 * layers.parameters(context) == layer_parameters(model) + 7 * replicated
    assert layers.parameters(replace(context, tp=1)) == layer_parameters(model)


def test_head_and_embedding_share_the_vocabulary() -> None:
    """Vocabulary 51,200 over 8 ranks: 6,400 rows of 6,144, and 2,048 learned positions on each rank."""
    assert head.matrix_parameters(GPT) == 6400 * 6144
    assert embedding.parameters(GPT) == (6400 + 2048) * 6144
    assert head.final_norm_parameters(GPT) == 2 * 6144


def test_head_keeps_its_inputs_and_the_probabilities() -> None:
    """Korthikanti et al. 2022, section 4.3: 4sbh/t (1 + v/h)."""
    expected = 4 * SBH / 8 * (1 + 51200 / 6144)
    assert head.saved_nbytes(replace(GPT, sp=True)) == pytest.approx(expected)
    assert embedding.saved_nbytes(replace(GPT, sp=True)) == pytest.approx(SBH / 8)


def test_the_loss_reduces_three_numbers_a_token() -> None:
    assert collectives(head.forward(GPT), "compute") == [("all_reduce", 4 * 8192)] * 3


def test_norms_of_queries_and_keys_are_kept_and_run_before_the_rotation() -> None:
    """Per token the queries and keys before their norms, 8192 + 1024 wide, an eighth of each; two norms of a head, on
    every tp rank."""
    normed = replace(LLAMA, model=replace(LLAMA.model, qk_norm=True))
    tokens = 2048 * 4
    assert layers.saved_nbytes(normed) - layers.saved_nbytes(LLAMA) == 2 * tokens * (8192 + 1024) / 8
    assert layers.parameters(normed) - layers.parameters(LLAMA) == 2 * 128
    assert layers.replicated_parameters(normed) - layers.replicated_parameters(LLAMA) == 2 * 128
    forward, backward = names(layers.forward(normed)), names(layers.backward(normed))
    at = forward.index("query norm forward")
    assert forward[at - 1 : at + 3] == ["qkv forward", "query norm forward", "key norm forward", "rotary forward"]
    at = backward.index("query norm backward")
    assert backward[at - 1 : at + 2] == ["rotary backward", "query norm backward", "key norm backward"]


def test_a_bias_of_queries_keys_and_values_alone_has_a_gradient_and_is_cut() -> None:
    biased = replace(LLAMA, model=replace(LLAMA.model, qkv_bias=True))
    added = [name for name in names(layers.backward(biased)) if name not in names(layers.backward(LLAMA))]
    assert added == ["qkv bias gradient"]
    assert layers.parameters(biased) - layers.parameters(LLAMA) == (8192 + 2 * 1024) / 8
    assert layers.replicated_parameters(biased) == layers.replicated_parameters(LLAMA)


def test_alibi_needs_no_kernel_of_its_own() -> None:
    alibi = names(layers.forward(replace(LLAMA, model=replace(LLAMA.model, position="alibi"))))
    assert alibi == [name for name in names(layers.forward(LLAMA)) if name != "rotary forward"]


def test_a_window_shortens_the_core_and_nothing_else() -> None:
    context = replace(LLAMA, seq_len=8192)
    windowed = replace(context, kind=LayerKind(window=1024))
    for direction in PASSES.values():
        for full, short in zip(direction(context)["compute"], direction(windowed)["compute"], strict=True):
            if isinstance(full, Compute) and full.name.startswith("flash"):
                assert isinstance(short, Compute)
                assert short.duration < 0.5 * full.duration
            else:
                assert short == full
    assert layers.saved_nbytes(windowed) == layers.saved_nbytes(context)


@pytest.mark.parametrize("name", models.names())
@pytest.mark.parametrize("tp", [1, 4])
@pytest.mark.parametrize("pp", [1, 2])
def test_the_stages_of_all_ranks_hold_every_parameter_once(name: str, tp: int, pp: int) -> None:
    """What is replicated counted once; the vocabulary padded to a multiple of 128 tp, in the embedding and in the head;
    a tied matrix is held twice where the head is not on the embedding's rank. Every model of the catalogue, but for
    what predicts further tokens."""
    model = replace(models.load(name), mtp_layers=0)
    if list(tensor_problems(tp, model)) or split_layers(model.num_layers, pp) is None:
        pytest.skip("the plan is refused")
    plan = Plan(
        tp=tp, sp=False, pp=pp, vpp=1, dp=1, zero=0, recompute="none", schedule="1f1b", micro_batch=1, global_batch=8
    )
    context = replace(LLAMA, model=model, tp=tp, etp=tp)
    stages = stage_of_model.stages(context, plan)
    held = sum(tp * stage_of_model.parameters(context, stage) for stage in stages)
    replicated = sum(stage_of_model.replicated_parameters(context, stage) for stage in stages)
    positions = model.max_seq_len * model.hidden if model.position == "learned" else 0
    padding = (128 * tp * -(-model.vocab // (128 * tp)) - model.vocab) * model.hidden
    copies = 1 if model.tied_embedding and pp == 1 else 2
    expected = num_parameters(model) + copies * padding
    if model.tied_embedding and pp > 1:
        expected += model.vocab * model.hidden
    assert held - (tp - 1) * (replicated + positions) == expected


def test_the_vocabulary_is_padded_to_a_multiple_of_the_framework_s_times_tp() -> None:
    """50,257 words over 8 ranks in multiples of 128: 51,200, so 6,400 each; logits of the padding are computed too."""
    odd = replace(GPT, model=replace(GPT.model, vocab=50_257))
    assert head.matrix_parameters(odd) == 6400 * 6144
    assert head.forward(odd) == head.forward(GPT)


def test_a_fused_loss_reads_the_logits_once_and_gathers_once() -> None:
    """Three fp32 numbers a token and rank; 16-bit logits wait for the backward pass in place of fp32 probabilities."""
    fused = replace(GPT, framework=replace(GPT.framework, fused_cross_entropy=True, logits_nbytes=2))
    assert collectives(head.forward(fused), "compute") == [("all_gather", 3 * 4 * 8 * 8192)]
    for direction in (head.forward, head.backward):
        assert kernel_seconds(direction(fused), "loss") < kernel_seconds(direction(GPT), "loss")
    logits = 8192 * 6400
    assert head.saved_nbytes(GPT) - head.saved_nbytes(fused) == (GPT.framework.logits_nbytes - 2) * logits


def test_a_compiled_loss_on_fp32_logits_meets_twice_and_keeps_what_separate_kernels_keep() -> None:
    """One maximum a token, then its target and its sum together, in fp32."""
    compiled = replace(GPT, framework=replace(GPT.framework, fused_cross_entropy=True))
    assert collectives(head.forward(compiled), "compute") == [("all_reduce", 4 * 8192), ("all_reduce", 2 * 4 * 8192)]
    assert kernel_seconds(head.forward(compiled), "loss") < kernel_seconds(head.forward(GPT), "loss")
    assert head.saved_nbytes(compiled) == head.saved_nbytes(GPT)
