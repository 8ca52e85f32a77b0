"""A backward pass in two halves: gradients of inputs, for which the stage before waits, and of weights."""

from collections import Counter
from dataclasses import replace

import pytest

from sim import frameworks, layers, models
from sim.instructions import Collective, Compute, Instruction, Record, Wait
from sim.layers import Context, Pass, embedding, head, mtp, stage
from sim.layers.context import Half
from sim.layers.linear import column_kept_nbytes
from sim.models.transformer import Transformer
from sim.plan import Plan
from tests.programs import LLAMA

GPT = replace(LLAMA, model=models.load("gpt-22b"), framework=frameworks.load("megatron-lm"), seq_len=2048)
MLA = replace(LLAMA, model=models.load("deepseek-v3"))
PARTS = {"layer": layers, "head": head, "embedding": embedding}
HALVES: tuple[Half, ...] = ("input", "weight")


def work(*passes: Pass) -> Counter[Instruction]:
    return Counter(i for one in passes for block in one.values() for i in block if isinstance(i, Compute | Collective))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize(
    "context", [LLAMA, GPT, MLA, replace(LLAMA, sp=False), replace(LLAMA, precision="fp8"), replace(LLAMA, cp=2)]
)
def test_both_halves_run_what_the_whole_runs(context: Context, part: str, recompute: str, overlap: bool) -> None:
    framework = replace(context.framework, overlap_input_gradient=overlap)
    whole = replace(context, recompute=recompute, framework=framework)
    halves = [PARTS[part].backward(replace(whole, half=half)) for half in HALVES]
    assert work(*halves) == work(PARTS[part].backward(whole))


@pytest.mark.parametrize("context", [LLAMA, GPT, MLA])
def test_the_weight_half_is_products_of_weights_and_gathers_of_their_inputs(context: Context) -> None:
    weights = work(layers.backward(replace(context, half="weight")))
    assert all(i.name.endswith(("weight gradient", "input gather")) for i in weights)
    inputs = work(layers.backward(replace(context, half="input")))
    assert not [i for i in inputs if i.name.endswith(("weight gradient", "input gather"))]


def test_the_weight_half_gathers_beside_the_product_before() -> None:
    at = [i.name if isinstance(i, Compute) else i for i in layers.backward(replace(LLAMA, half="weight"))["compute"]]
    assert at[:4] == [
        Record("mlp up weight gather ready"),
        "mlp down weight gradient",
        Wait("mlp up weight gather done"),
        "mlp up weight gradient",
    ]


def test_the_embedding_keeps_the_gradient_of_its_output() -> None:
    """2sbh / tp, and GPT's dropout mask of a byte each; a layer that predicts looks tokens up once more."""
    assert embedding.saved_for_weights_nbytes(LLAMA) == 2 * 8192 * 8192 / 8
    plan = Plan(
        tp=8, sp=True, pp=4, vpp=1, dp=1, zero=0, recompute="none", schedule="zb-h1", micro_batch=1, global_batch=8
    )  # fmt: skip
    first, second, *_ = (stage.saved_for_weights_nbytes(LLAMA, one) for one in stage.stages(LLAMA, plan))
    assert first - second == embedding.saved_for_weights_nbytes(LLAMA)
    assert embedding.saved_for_weights_nbytes(GPT) == 3 * 2048 * GPT.model.hidden / 8
    ends = head.saved_for_weights_nbytes(MLA) + embedding.saved_for_weights_nbytes(MLA)
    rest = mtp.saved_for_weights_nbytes(MLA) - layers.saved_for_weights_nbytes(MLA) - ends
    assert rest == column_kept_nbytes(MLA, 2 * 7168, 7168)


def test_the_sum_of_the_input_gradient_has_nothing_to_hide_behind() -> None:
    assert set(layers.backward(replace(LLAMA, half="input"))) == {"compute"}


def test_between_the_halves_wait_inputs_and_output_gradients() -> None:
    """Llama-3-70B, TP8 + SP, bytes a token: qkv 8192/8 in, (8192 + 2 x 1024)/8 out; projection 8192/8 in, 8192 out
    gathered; up 8192/8 in, 2 x 28672/8 out; down 28672/8 in, 8192 out gathered; 2 bytes each."""
    numbers = (8192 + 10240 + 8192 + 8192 + 2 * 28672 + 28672) / 8 + 2 * 8192
    assert layers.saved_for_weights_nbytes(LLAMA) == 2 * 8192 * numbers
    assert head.saved_for_weights_nbytes(LLAMA) == 2 * 8192 * (8192 + 129_024) / 8


@pytest.mark.parametrize("model", [MLA.model, replace(MLA.model, mla=replace(MLA.model.mla, q_lora_rank=None))])
def test_latent_attention_keeps_what_each_product_takes(model: Transformer) -> None:
    """DeepSeek-V3, tp 1, bytes a token: query down 7168 + 1536, query up 1536 + 128 x 192, key-value down 7168 + 576,
    key-value up 512 + 128 x 256, projection 128 x 128 + 7168; straight queries 7168 + 128 x 192; dense MLP 18432."""
    context = replace(MLA, model=model, tp=1, sp=False)
    latent = 7168 + 1536 + 1536 if model.mla and model.mla.q_lora_rank else 7168
    numbers = latent + 128 * 192 + 7168 + 576 + 512 + 128 * 256 + 128 * 128 + 7168
    dense = 7168 + 2 * 18432 + 18432 + 7168
    assert layers.saved_for_weights_nbytes(context) == 2 * 8192 * (numbers + dense)


@pytest.mark.parametrize("half", ["both", "input", "weight"])
def test_flags_of_forward_and_backward_differ_and_pair_up(half: Half) -> None:
    context = replace(LLAMA, half=half, cp=2, recompute="full")
    for framework in (context.framework, replace(context.framework, overlap_tp=True)):
        seen: set[str] = set()
        for one in (layers.forward(context), layers.backward(replace(context, framework=framework))):
            everything = [i for block in one.values() for i in block]
            records = [i.flag for i in everything if isinstance(i, Record)]
            assert sorted(records) == sorted(i.flag for i in everything if isinstance(i, Wait))
            assert len(set(records)) == len(records)
            assert not seen & set(records)
            seen |= set(records)
