"""Multi-token prediction: DeepSeek-V3's one layer more, its projection, its second pass through the head."""

from collections import Counter
from dataclasses import replace

import pytest

import topologies
from sim import frameworks, layers, models
from sim.instructions import Collective, Compute, Record, Wait
from sim.layers import Context, Pass, mtp
from sim.layers.moe import kinds
from sim.models.flops import model_flops

V3 = models.load("deepseek-v3")
CONTEXT = Context(
    model=V3,
    gpu=topologies.gpu("h800"),
    framework=frameworks.load("megatron-core"),
    tp=1,
    sp=False,
    recompute="none",
    micro_batch=1,
    seq_len=4096,
    precision="bf16",
    ep=8,
)
CONTEXT = replace(CONTEXT, kind=kinds(CONTEXT)[-1])
CUT = replace(CONTEXT, tp=2, sp=True)


def compute(one: Pass) -> list[Compute]:
    return [i for block in one.values() for i in block if isinstance(i, Compute)]


def names(one: Pass) -> list[str]:
    return [kernel.name for kernel in compute(one)]


def test_v3_predicts_one_token_more_with_as_many_parameters_as_published() -> None:
    """11.5 B, embedding and head not counted [DeepSeek-V3, README_WEIGHTS]."""
    assert V3.mtp_layers == 1
    assert mtp.parameters(replace(CONTEXT, ep=1)) == pytest.approx(11.5e9, rel=0.015)
    layer = layers.parameters(CONTEXT)
    assert mtp.parameters(CONTEXT) == layer + 2 * 7168**2 + 3 * 7168


def test_embedding_and_hidden_state_are_normed_projected_and_passed_through_a_layer_and_the_head() -> None:
    told = names(mtp.forward(CONTEXT))
    at = told.index("prediction embedding norm forward")
    assert told[0] == "embedding lookup"
    assert told[at : at + 4] == [
        "prediction embedding norm forward", "prediction hidden norm forward", "prediction side by side",
        "prediction projection forward",
    ]  # fmt: skip
    assert told[at + 4 : at + 4 + len(names(layers.forward(CONTEXT)))] == names(layers.forward(CONTEXT))
    assert told[-1] == "loss forward"


def test_the_projection_s_columns_are_gathered_over_the_tp_ranks() -> None:
    """Its input, twice as wide, is gathered along the sequence; its output along its width."""
    sent = {i.name: i.nbytes for block in mtp.forward(CUT).values() for i in block if isinstance(i, Collective)}
    assert sent["prediction projection output gather"] == 2 * 4096 * 7168
    assert sent["prediction projection input gather"] == 2 * 4096 * 2 * 7168


def test_two_predictions_are_twice_one() -> None:
    two = replace(CONTEXT, model=replace(V3, mtp_layers=2))
    for made in (mtp.forward, mtp.backward):
        once, twice = Counter(names(made(CONTEXT))), Counter(names(made(two)))
        assert twice == once + once
    for quantity in (mtp.parameters, mtp.saved_nbytes, mtp.saved_for_weights_nbytes, mtp.replicated_parameters):
        assert quantity(two) == 2 * quantity(CONTEXT)


@pytest.mark.parametrize("context", [CONTEXT, CUT])
def test_both_halves_of_a_backward_pass_are_the_whole(context: Context) -> None:
    halves = [mtp.backward(replace(context, half=half)) for half in ("input", "weight")]
    parts = sum((Counter((kernel.name, kernel.duration) for kernel in compute(half)) for half in halves), Counter())
    assert parts == Counter((kernel.name, kernel.duration) for kernel in compute(mtp.backward(context)))


def test_recomputation_runs_all_but_embedding_and_head_again_and_keeps_what_goes_in() -> None:
    again = replace(CONTEXT, recompute="full")
    told = names(mtp.backward(again))
    assert "recompute prediction projection forward" in told
    assert "recompute experts up forward" in told
    assert not [name for name in told if name.startswith("recompute") and ("loss" in name or "lookup" in name)]
    assert not [name for name in names(mtp.backward(replace(again, half="weight"))) if name.startswith("recompute")]
    wide = 2 * 2 * 4096 * 7168
    dropped = layers.saved_nbytes(CONTEXT) - layers.saved_nbytes(again)
    assert mtp.saved_nbytes(CONTEXT) - mtp.saved_nbytes(again) == pytest.approx(wide + dropped, rel=1e-12)


def test_flags_of_a_pass_are_set_as_often_as_waited_for() -> None:
    for one in (mtp.forward(CUT), mtp.backward(replace(CUT, recompute="full"))):
        entries = [i for block in one.values() for i in block]
        assert Counter(i.flag for i in entries if isinstance(i, Record)) == Counter(
            i.flag for i in entries if isinstance(i, Wait)
        )


def test_a_prediction_more_counts_as_a_layer_a_projection_and_a_head() -> None:
    """FLOPs a token, times 6: attention 187.1 M, router 1.8 M, 9 experts of 44.0 M, 2 x 7,168^2, 129,280 x 7,168; and
    12 for each pair of tokens and head, (192 + 128) / 2 wide: 4,096 x 128 x 160 x 12."""
    none = replace(V3, mtp_layers=0)
    more = model_flops(V3, 1, 4096) - model_flops(none, 1, 4096)
    attention = models.attention_parameters(V3) - 1536 - 512
    weights = attention + 7168 * 256 + 9 * 3 * 7168 * 2048 + 2 * 7168**2 + 129_280 * 7168
    assert more / 4096 == pytest.approx(6 * weights + 12 * 4096 * 128 * 160, rel=1e-12)
